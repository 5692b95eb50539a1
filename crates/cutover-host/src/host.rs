//! The host itself: one a state directory, the fleets it holds, and how it begins and ends.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    future::Future,
    io::{self, Read as _, Seek as _, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{fs::OpenOptionsExt as _, net::UnixListener, net::UnixStream},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use cutover_model::fleet::{Desired, FleetName};
use rustix::{
    fs::{FlockOperation, flock},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use tokio::{
    sync::{Mutex as Turn, oneshot, watch},
    task::JoinSet,
};

use crate::{
    api, check,
    converge::Actual,
    durable,
    fleet::{Beginning, Fleet, FleetHandle, Frozen, Message, Refused},
    handover::{self, Inheritance, Predecessor},
    options::{HostError, HostOptions},
    sockets::{self, Sockets},
    state::{FleetFiles, Recorder},
};

/// Fleets of one host: their sockets fit into one hand-over.
const MOST_FLEETS: usize = 200;

/// For a replica that is being started when a host stops or hands over.
const FREEZE_WITHIN: Duration = Duration::from_secs(10);

/// A running host.
pub(crate) struct Host {
    state_dir: PathBuf,
    sockets: Arc<Sockets>,
    fleets: Mutex<BTreeMap<FleetName, FleetHandle>>,
    /// One fleet is created at a time, and none while the host stands still.
    creating: Turn<bool>,
    lock: OwnedFd,
    api: UnixListener,
    successor: watch::Sender<Option<Arc<UnixStream>>>,
}

/// Runs a host until `stop` resolves or another one takes over, then finishes requests in flight within the grace. Replicas
/// go on running in either case, and the next host adopts them.
///
/// Needs a tokio runtime with timer and I/O; one thread is enough. Not cancel safe: dropping it leaves the gates'
/// requests unfinished.
///
/// # Errors
/// See [`HostError`]; nothing is changed then, and no replica is touched.
pub async fn run(options: HostOptions, stop: impl Future<Output = ()>) -> Result<(), HostError> {
    raise_descriptor_limit();
    let Begun { host, predecessor } = begin(&options).await?;
    let (stopping, stopped) = watch::channel(false);
    if let Some(predecessor) = predecessor {
        host.opened().await;
        let predecessor = predecessor.replace().await?;
        host.thaw().await;
        let host = Arc::clone(&host);
        tokio::spawn(async move {
            predecessor.ended().await;
            host.tell_all(|| Message::PredecessorGone).await;
        });
    }
    let listener = host.api.try_clone().and_then(|api| {
        api.set_nonblocking(true)?;
        tokio::net::UnixListener::from_std(api)
    });
    let listener = listener.map_err(|cause| HostError::Socket { path: options.socket(), cause })?;
    let serving = tokio::spawn(api::serve(Arc::clone(&host), listener, stopped));
    let mut successor = host.successor.subscribe();
    let taken_over = tokio::select! {
        () = stop => false,
        _ = successor.wait_for(Option::is_some) => true,
    };
    if !taken_over {
        host.freeze().await;
        // The next host finds no socket rather than one that nobody listens on.
        let _ = std::fs::remove_file(options.socket());
    }
    stopping.send_replace(true);
    host.finish(options.grace).await;
    let _ = serving.await;
    Ok(())
}

struct Begun {
    host: Arc<Host>,
    predecessor: Option<Predecessor>,
}

async fn begin(options: &HostOptions) -> Result<Begun, HostError> {
    let state_dir = prepare(&options.state_dir)?;
    let socket = options.socket();
    // Before any other thread may look at the environment.
    let (passed, passed_api) = Sockets::from_systemd();
    let held = || HostError::Held { path: state_dir.clone(), pid: holder(&state_dir) };
    let (lock, inheritance) = match lock(&state_dir)? {
        Some(lock) => (lock, None),
        None if !options.takeover => return Err(held()),
        None => match handover::take(&socket).await? {
            Some(Inheritance { lock, api, sockets, unfinished, predecessor }) => {
                (lock, Some((api, sockets, unfinished, predecessor)))
            }
            None => return Err(held()),
        },
    };
    sign(&lock);
    let (api, sockets, unfinished, predecessor) = match inheritance {
        Some((api, sockets, unfinished, predecessor)) => {
            (api, Sockets::new(sockets), unfinished, Some(predecessor))
        }
        None => {
            let api = passed_api.map_or_else(|| sockets::listen_privately(&socket), Ok);
            let api = api.map_err(|cause| HostError::Socket { path: socket, cause })?;
            (api, passed, Vec::new(), None)
        }
    };
    let host = Arc::new(Host {
        state_dir,
        sockets: Arc::new(sockets),
        fleets: Mutex::default(),
        creating: Turn::new(false),
        lock,
        api,
        successor: watch::channel(None).0,
    });
    host.load(&unfinished, predecessor.is_some())?;
    Ok(Begun { host, predecessor })
}

impl Host {
    pub(crate) fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    pub(crate) fn fleet(&self, name: &FleetName) -> Option<FleetHandle> {
        self.held_fleets().get(name).cloned()
    }

    pub(crate) fn names(&self) -> Vec<FleetName> {
        self.held_fleets().keys().cloned().collect()
    }

    pub(crate) fn fleets(&self) -> Vec<(FleetName, FleetHandle)> {
        self.held_fleets().iter().map(|(name, fleet)| (name.clone(), fleet.clone())).collect()
    }

    /// The fleet of that name; created with this desired state where there is none.
    pub(crate) async fn fleet_for(
        &self,
        name: &FleetName,
        desired: &Desired,
    ) -> Result<FleetHandle, Refused> {
        if let Some(fleet) = self.fleet(name) {
            return Ok(fleet);
        }
        let still = self.creating.lock().await;
        if *still {
            return Err(Refused::HandingOver);
        }
        if let Some(fleet) = self.fleet(name) {
            return Ok(fleet);
        }
        let (mut reasons, _) = check::within_patience(desired, &Actual::default()).await;
        if self.held_fleets().len() >= MOST_FLEETS {
            reasons.push(format!("this host holds {MOST_FLEETS} fleets already"));
        }
        if !reasons.is_empty() {
            return Err(Refused::Unable { reasons });
        }
        let listener = self
            .sockets
            .bind(desired.listen)
            .map_err(|error| Refused::Unable { reasons: vec![error.to_string()] })?;
        let files = FleetFiles::new(&self.state_dir, name);
        let unwritten = |cause| Refused::Unwritten { path: files.desired(), cause };
        files.create().map_err(unwritten)?;
        Recorder::start().write(files.desired(), desired).await.map_err(unwritten)?;
        let beginning = Beginning {
            name: name.clone(),
            files: files.clone(),
            sockets: Arc::clone(&self.sockets),
            listener,
            desired: desired.clone(),
            records: Vec::new(),
            unfinished: Vec::new(),
            predecessor: false,
        };
        let fleet =
            Fleet::start(beginning).map_err(|error| Refused::Unable { reasons: vec![error.to_string()] })?;
        self.held_fleets().insert(name.clone(), fleet.clone());
        Ok(fleet)
    }

    /// Starts every fleet that the state directory holds.
    fn load(
        &self,
        unfinished: &[(crate::replica::ReplicaId, Vec<u8>)],
        predecessor: bool,
    ) -> Result<(), HostError> {
        let mut loaded = Vec::new();
        for name in FleetFiles::list(&self.state_dir)? {
            let files = FleetFiles::new(&self.state_dir, &name);
            // All is read before anything is acted upon, so that damage anywhere changes nothing.
            let (desired, records) = (files.load_desired()?, files.load_records()?);
            let bound = self.sockets.bind(desired.listen);
            let listener =
                bound.map_err(|cause| HostError::Gate { fleet: name.clone(), cause: cause.to_string() })?;
            files.create().map_err(|cause| HostError::StateDir { path: files.desired(), cause })?;
            let (sockets, unfinished) = (Arc::clone(&self.sockets), unfinished.to_vec());
            loaded.push(Beginning {
                name,
                files,
                sockets,
                listener,
                desired,
                records,
                unfinished,
                predecessor,
            });
        }
        for beginning in loaded {
            let name = beginning.name.clone();
            let fleet = Fleet::start(beginning)?;
            self.held_fleets().insert(name, fleet);
        }
        Ok(())
    }

    /// Stands still: from the answer on, nothing is written, started or stopped. `None` where it already stands still, or a
    /// replica is being started for too long; then all goes on.
    pub(crate) async fn freeze(&self) -> Option<Vec<Frozen>> {
        let mut still = self.creating.lock().await;
        if *still {
            return None;
        }
        let mut answers = Vec::new();
        for (_, fleet) in self.fleets() {
            let (answer, answered) = oneshot::channel();
            let _ = fleet.inbox.send(Message::Freeze(answer)).await;
            answers.push(answered);
        }
        let all = async {
            let mut frozen = Vec::new();
            for answer in answers {
                frozen.push(answer.await.ok()?);
            }
            Some(frozen)
        };
        let frozen = tokio::time::timeout(FREEZE_WITHIN, all).await.ok().flatten();
        *still = frozen.is_some();
        drop(still);
        if frozen.is_none() {
            self.thaw().await;
        }
        frozen
    }

    /// Goes on after standing still.
    pub(crate) async fn thaw(&self) {
        self.tell_all(|| Message::Thaw).await;
        *self.creating.lock().await = false;
    }

    /// The lock, the API's socket and the gates' sockets.
    pub(crate) fn descriptors(&self) -> io::Result<Vec<OwnedFd>> {
        let mut descriptors = vec![self.lock.try_clone()?, self.api.try_clone()?.into()];
        for (_, fleet) in self.fleets() {
            descriptors.push(fleet.front.listener()?);
        }
        Ok(descriptors)
    }

    /// Another host is in charge. It waits on `stream` for this one's end.
    pub(crate) fn succeeded_by(&self, stream: UnixStream) {
        self.successor.send_replace(Some(Arc::new(stream)));
    }

    /// Returns when every gate accepts.
    async fn opened(&self) {
        for (_, mut fleet) in self.fleets() {
            let _ = fleet.opened.wait_for(|opened| *opened).await;
        }
    }

    async fn tell_all(&self, message: impl Fn() -> Message) {
        for (_, fleet) in self.fleets() {
            let _ = fleet.inbox.send(message()).await;
        }
    }

    /// Finishes the requests that the gates have.
    async fn finish(&self, grace: Duration) {
        let mut gates = JoinSet::new();
        for (_, fleet) in self.fleets() {
            gates.spawn(async move { fleet.front.shutdown(grace).await });
        }
        gates.join_all().await;
    }

    fn held_fleets(&self) -> MutexGuard<'_, BTreeMap<FleetName, FleetHandle>> {
        self.fleets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client's connection takes two descriptors, and the usual soft limit is 1024. Replicas inherit the raised one.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

/// The directory, made absolute: replicas run elsewhere.
fn prepare(path: &Path) -> Result<PathBuf, HostError> {
    let unusable = |cause| HostError::StateDir { path: path.to_owned(), cause };
    let absolute = std::path::absolute(path).map_err(unusable)?;
    durable::private_directory(&absolute).map_err(unusable)?;
    Ok(absolute)
}

/// `None` where another host holds it.
fn lock(state_dir: &Path) -> Result<Option<OwnedFd>, HostError> {
    let path = state_dir.join("lock");
    let opened =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = opened.map_err(|cause| HostError::StateDir { path: path.clone(), cause })?;
    match flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file.into())),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(HostError::StateDir { path, cause: error.into() }),
    }
}

/// Who holds the lock, for people; the lock itself does not depend on it.
fn sign(lock: &OwnedFd) {
    let signed = lock.try_clone().map(File::from).and_then(|mut file| {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    });
    if let Err(error) = signed {
        tracing::debug!(%error, "the lock could not be signed");
    }
}

fn holder(state_dir: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(state_dir.join("lock")).ok()?.take(20).read_to_string(&mut text).ok()?;
    Some(text.trim().to_owned()).filter(|pid| !pid.is_empty())
}
