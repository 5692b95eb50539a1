//! One thread of the gate: its own event loop, connections, buffers and counts. Workers share the listening socket, the
//! table and each replica's load, and nothing else on a request's way.
//!
//! Each worker accepts from its own duplicate of the one listening socket. `SO_REUSEPORT` would spread accepts better,
//! but gives each socket its own backlog, and closing one resets the connections that wait in it: a hand-over would
//! lose some. With one backlog, what this process does not accept its successor does.

use std::{
    cell::{Cell, RefCell},
    io,
    net::SocketAddr,
    os::fd::AsFd,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use rustix::net::RecvFlags;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::{Builder, LocalOptions},
};

use crate::{
    client::Client,
    exchange::Connection,
    replica::Replica,
    routes::{Routes, ServiceRoutes},
    serve,
    shared::{Shared, Stage},
    tally::Cell as TallyCell,
};

/// Bytes read at once, from clients and replicas alike.
const SCRATCH: usize = 32 * 1024;
/// After the process ran out of descriptors or memory, accepting pauses.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A worker's own state; never leaves its thread.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) index: usize,
    /// Where reads go first. Borrowed only while one socket is read.
    pub(crate) scratch: RefCell<Box<[u8]>>,
    /// Where a request's head is written. Borrowed only while one is sent.
    pub(crate) head: RefCell<Vec<u8>>,
    routes: RefCell<InForce>,
    kept: RefCell<Vec<Kept>>,
    clients: RefCell<Vec<Option<Rc<Client>>>>,
    vacant: RefCell<Vec<usize>>,
    clock: Cell<Instant>,
    next_id: Cell<u64>,
    id_seed: u64,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("index", &self.index).finish_non_exhaustive()
    }
}

/// The table as a worker's requests hold it: an `Arc`'s count would be shared by all workers, this one is not.
pub(crate) type InForce = Rc<Arc<Routes>>;

/// Unused connections to one replica, the latest used last.
struct Kept {
    replica: Arc<Replica>,
    connections: Vec<(Connection, Instant)>,
}

/// Where an attempt is counted: a service of a table, its pool, and the route.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    pub(crate) routes: InForce,
    pub(crate) service: usize,
    pub(crate) pool: usize,
    pub(crate) route: usize,
    pub(crate) worker: usize,
}

impl Mark {
    pub(crate) fn service(&self) -> &ServiceRoutes {
        self.routes.service(self.service)
    }

    pub(crate) fn cell(&self) -> &TallyCell {
        self.service().pools[self.pool].tally.cell(self.worker, self.route)
    }
}

impl Worker {
    fn new(shared: Arc<Shared>, index: usize) -> Self {
        let id_seed =
            shared.epoch.rotate_left(17).wrapping_add(index as u64 + 1).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        Self {
            shared,
            index,
            scratch: RefCell::new(vec![0; SCRATCH].into()),
            head: RefCell::new(Vec::with_capacity(4096)),
            routes: RefCell::default(),
            kept: RefCell::default(),
            clients: RefCell::default(),
            vacant: RefCell::default(),
            clock: Cell::new(Instant::now()),
            next_id: Cell::new(0),
            id_seed,
        }
    }

    /// A recent time: of the latest request's begin or of the sweep.
    pub(crate) fn now(&self) -> Instant {
        self.clock.get()
    }

    pub(crate) fn set_now(&self, now: Instant) {
        self.clock.set(now);
    }

    /// The table in force. A table installed before the call is seen.
    pub(crate) fn routes(&self) -> InForce {
        let mut own = self.routes.borrow_mut();
        if own.generation != self.shared.generation() {
            *own = Rc::new(self.shared.routes());
        }
        Rc::clone(&own)
    }

    /// 128 bits that no other request of this gate gets: a counter, scrambled (SplitMix64), beside the worker's seed.
    pub(crate) fn fresh_id(&self) -> u128 {
        let next = self.next_id.get() + 1;
        self.next_id.set(next);
        let mut bits = next.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(self.id_seed);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        u128::from(self.id_seed) << 64 | u128::from(bits ^ (bits >> 31))
    }

    /// An unused connection that the replica has not closed. `certain` looks into the socket itself; otherwise what the
    /// event loop knows is enough.
    pub(crate) fn take_kept(&self, replica: &Arc<Replica>, certain: bool) -> Option<Connection> {
        let mut kept = self.kept.borrow_mut();
        let own = kept.iter_mut().find(|kept| kept.replica.key == replica.key)?;
        while let Some((connection, _)) = own.connections.pop() {
            if is_open(&connection.stream) && (!certain || is_silent(&connection.stream)) {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection for later requests, if the replica may get any.
    pub(crate) fn park(&self, replica: &Arc<Replica>, connection: Connection) {
        if !replica.is_listed() {
            return;
        }
        let mut kept = self.kept.borrow_mut();
        let position = kept.iter().position(|kept| kept.replica.key == replica.key).unwrap_or_else(|| {
            kept.push(Kept { replica: Arc::clone(replica), connections: Vec::new() });
            kept.len() - 1
        });
        let connections = &mut kept[position].connections;
        if connections.len() < self.shared.options.max_idle_upstream {
            connections.push((connection, self.now()));
        }
    }

    fn close_old(&self, now: Instant) {
        let limit = self.shared.options.upstream_keep_alive;
        let fresh = |since: &Instant| limit.is_zero() || now.saturating_duration_since(*since) < limit;
        let mut kept = self.kept.borrow_mut();
        for own in kept.iter_mut() {
            let listed = own.replica.is_listed();
            own.connections
                .retain(|(connection, since)| listed && fresh(since) && is_open(&connection.stream));
        }
        kept.retain(|own| !own.connections.is_empty());
    }

    /// Registers a connection until the returned place is left.
    pub(crate) fn enter(self: &Rc<Self>, client: Rc<Client>) -> Place {
        self.shared.connections.fetch_add(1, Ordering::SeqCst);
        let mut clients = self.clients.borrow_mut();
        let position = self.vacant.borrow_mut().pop().unwrap_or(clients.len());
        if position == clients.len() {
            clients.push(None);
        }
        clients[position] = Some(client);
        Place { worker: Rc::clone(self), position }
    }

    fn sweep(&self) {
        let now = Instant::now();
        self.set_now(now);
        self.close_old(now);
        let draining = self.shared.draining_since();
        for client in self.clients.borrow().iter().flatten() {
            client.sweep(now, &self.shared.options, draining);
        }
    }

    fn cut(&self) {
        for replica in self.shared.cut_replicas() {
            self.clients.borrow().iter().flatten().for_each(|client| client.cut(replica));
        }
    }
}

/// A connection's place in its worker's list.
pub(crate) struct Place {
    pub(crate) worker: Rc<Worker>,
    position: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.worker.clients.borrow_mut()[self.position] = None;
        self.worker.vacant.borrow_mut().push(self.position);
        self.worker.shared.left();
    }
}

/// What the event loop has heard of a connection between requests: anything but silence means that it is of no use.
fn is_open(stream: &TcpStream) -> bool {
    matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// Asks the kernel, which may know of a close before the event loop does.
fn is_silent(stream: &TcpStream) -> bool {
    let peeked = rustix::net::recv(stream.as_fd(), &mut [0_u8][..], RecvFlags::PEEK | RecvFlags::DONTWAIT);
    matches!(peeked, Err(rustix::io::Errno::AGAIN))
}

/// Runs one worker until the gate ends. Returns an error only if its event loop cannot be made.
pub(crate) fn run(shared: Arc<Shared>, index: usize, listener: std::net::TcpListener) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let worker = Rc::new(Worker::new(shared, index));
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        let accepting = Rc::clone(&worker);
        tokio::task::spawn_local(async move {
            accept(&accepting, listener).await;
            accepting.shared.acceptor_left();
        });
        tend(&worker).await;
        Ok(())
    })
}

/// Sweeps, cuts, and returns when the gate ends.
async fn tend(worker: &Rc<Worker>) {
    let mut tick = tokio::time::interval(worker.shared.options.sweep_every());
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let knock = worker.shared.knocks[worker.index].notified();
        if worker.shared.stage() == Stage::Ended {
            return;
        }
        tokio::select! {
            () = knock => worker.cut(),
            _ = tick.tick() => worker.sweep(),
        }
    }
}

async fn accept(worker: &Rc<Worker>, listener: TcpListener) {
    while worker.shared.stage() == Stage::Serving {
        tokio::select! {
            () = worker.shared.room() => {}
            () = worker.shared.stopped() => break,
        }
        tokio::select! {
            accepted = listener.accept() => admit(worker, accepted).await,
            () = worker.shared.stopped() => break,
        }
    }
    if worker.shared.is_handed_over() {
        return;
    }
    // Nobody comes after us: what waits in the backlog is still ours.
    let Ok(listener) = listener.into_std() else { return };
    while let Ok((stream, peer)) = listener.accept() {
        let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
        admit(worker, stream.map(|stream| (stream, peer))).await;
    }
}

async fn admit(worker: &Rc<Worker>, accepted: io::Result<(TcpStream, SocketAddr)>) {
    match accepted {
        Ok((stream, peer)) => {
            // Without it the last, short segment of a response may wait for an acknowledgement.
            let _ = stream.set_nodelay(true);
            let client = Rc::new(Client::new(peer, worker.now()));
            let place = worker.enter(Rc::clone(&client));
            tokio::task::spawn_local(serve::connection(place, client, stream));
        }
        Err(error) if is_of_one_connection(&error) => {}
        Err(error) => {
            tracing::warn!(%error, "cannot accept connections; trying again");
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
