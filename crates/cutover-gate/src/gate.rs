//! The handle of a running gate.

use std::{
    collections::{BTreeMap, hash_map::RandomState},
    hash::{BuildHasher, Hasher},
    io,
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use cutover_model::measure::{Measures, ReleaseMeasure};

use crate::{
    options::GateOptions,
    prometheus,
    shared::{Shared, Stage},
    table::{RouteTable, StaleGeneration},
    worker,
};

/// A running gate. Clones are handles of the same one; when the last is dropped, the gate ends at once.
///
/// The futures it gives run on any executor with a tokio timer.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.enter(Stage::Ended);
    }
}

impl Gate {
    /// Starts to accept from a bound and listening socket. Until a table is installed, requests get 503; with a
    /// predecessor's socket use [`Gate::start_with`].
    ///
    /// # Errors
    /// The socket is of no use or a thread cannot be started.
    pub fn start(listener: TcpListener, options: GateOptions) -> io::Result<Self> {
        Self::start_with(listener, options, RouteTable::default())
    }

    /// Starts to accept, with a table that the first connection already sees.
    ///
    /// # Errors
    /// The socket is of no use, a thread cannot be started, or the table's generation is 0 and it is not empty.
    pub fn start_with(
        listener: TcpListener,
        mut options: GateOptions,
        table: RouteTable,
    ) -> io::Result<Self> {
        options.workers = options.workers.max(1);
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let sockets = (0..options.workers).map(|_| listener.try_clone()).collect::<io::Result<Vec<_>>>()?;
        let shared = Arc::new(Shared::new(options, epoch(), listener));
        shared.install(table).map_err(io::Error::other)?;
        // Made first: should a thread not start, dropping the handle ends those that did.
        let gate = Self(Arc::new(Handle { shared: Arc::clone(&shared), address }));
        for (index, socket) in sockets.into_iter().enumerate() {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name(format!("gate-{index}")).spawn(move || {
                let leaving = Leaving(Arc::clone(&shared));
                if let Err(error) = worker::run(shared, index, socket) {
                    tracing::error!(%error, "a gate thread ended");
                }
                drop(leaving);
            })?;
        }
        Ok(gate)
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.0.address
    }

    /// Routes by this table from now on: every request that begins after the return sees it. The same table again is
    /// fine.
    ///
    /// # Errors
    /// A table of the same or an older generation that is not the one in force is refused, and nothing changes.
    /// Generations begin at 1.
    pub fn install(&self, table: RouteTable) -> Result<(), StaleGeneration> {
        self.0.shared.install(table)
    }

    /// The generation in force; 0 = no table yet.
    pub fn generation(&self) -> u64 {
        self.0.shared.generation()
    }

    /// Requests in flight on a replica, upgraded connections among them; 0 for one that is not known.
    pub fn in_flight(&self, upstream_id: &str) -> usize {
        self.0.shared.state().registry.replicas(upstream_id).iter().map(|replica| replica.active()).sum()
    }

    /// Resolves when nothing is in flight on a replica. Call it after a table without the replica was installed: while
    /// it is listed, the next request may follow at once. Without a limit of time; cancel safe.
    pub async fn drained(&self, upstream_id: &str) {
        let replicas = self.0.shared.state().registry.replicas(upstream_id);
        for replica in replicas {
            replica.drained().await;
        }
    }

    /// Ends what is still in flight on a replica that left the table: requests without a response head get 504, bodies
    /// and upgraded connections break off. [`Gate::drained`] resolves soon after. For a listed replica it does nothing.
    pub fn cut(&self, upstream_id: &str) {
        let replicas = self.0.shared.state().registry.replicas(upstream_id);
        replicas.iter().filter(|replica| !replica.is_listed()).for_each(|replica| replica.cut());
        self.0.shared.knock();
    }

    /// All counts since the start, of all services together. With one service in the table this is what a conductor
    /// judges by; with more, releases of different services that share a number are added up: see
    /// [`Gate::measures_of`].
    pub fn measures(&self) -> Measures {
        self.collect(|_| true)
    }

    /// One service's counts since the start.
    pub fn measures_of(&self, service: &str) -> Measures {
        self.collect(|name| name == service)
    }

    fn collect(&self, wanted: impl Fn(&str) -> bool) -> Measures {
        let tallies = self.0.shared.state().registry.tallies().to_vec();
        let mut releases = BTreeMap::<_, ReleaseMeasure>::new();
        for tally in tallies.iter().filter(|tally| wanted(&tally.service)) {
            releases.entry(tally.release).or_default().merge(&tally.measure());
        }
        Measures { epoch: self.0.shared.epoch, releases }
    }

    /// Everything as Prometheus text (exposition format 0.0.4).
    pub fn prometheus(&self) -> String {
        prometheus::render(&self.0.shared)
    }

    /// Open client connections.
    pub fn connections(&self) -> usize {
        self.0.shared.connections.load(Ordering::SeqCst)
    }

    /// A duplicate of the listening socket for a successor. It shares one backlog with this gate's: after the successor
    /// accepts from it, call [`Gate::shutdown`], which then leaves waiting connections to the successor.
    ///
    /// # Errors
    /// No descriptor is left, or the gate is shutting down.
    pub fn listener(&self) -> io::Result<OwnedFd> {
        let listener = self.0.shared.listener();
        let listener = listener.as_ref().ok_or_else(|| io::Error::other("the gate is shutting down"))?;
        let duplicate = listener.try_clone()?;
        self.0.shared.hand_over();
        Ok(duplicate.into())
    }

    /// Stops accepting, lets what is open finish, and ends. Every further response says `Connection: close`; a silent
    /// connection is closed after [`GateOptions::idle_on_shutdown`]; what is left after `grace` is cut.
    ///
    /// Resolves when all threads have ended. When cancelled the gate goes on draining, without a limit; call again.
    pub async fn shutdown(&self, grace: Duration) {
        let shared = &self.0.shared;
        shared.enter(Stage::Draining);
        let finished = async {
            shared.accepted_all().await;
            shared.empty().await;
        };
        let _ = tokio::time::timeout(grace, finished).await;
        shared.enter(Stage::Ended);
        shared.ended().await;
    }
}

/// Tells that a worker ended, however it did.
struct Leaving(Arc<Shared>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.worker_left();
    }
}

/// A number that hardly ever repeats from one start to the next.
fn epoch() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    hasher
        .write_u128(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos());
    hasher.write_u32(std::process::id());
    // JSON numbers are exact only to 2⁵³.
    hasher.finish() >> 11
}
