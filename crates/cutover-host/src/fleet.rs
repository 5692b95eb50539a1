//! One fleet: a task that owns its state, looks at it after everything that happens, and does what [`converge`] says.
//!
//! ```text
//! API ──Put, Freeze──► ┌────────── fleet ───────────┐ ──record, spawn, signal──► attempts ──► processes
//!                      │ desired ─┐                 │ ◄──Launched, Ended──────── attempts
//!                      │ actual ──┴► converge ──► … │ ◄──Ready, Unready, Dead─── probes
//! API ◄──Observed───── └────────────────────────────┘ ──pools──► front (gate)
//! ```
//!
//! The order in each look: first the state changes, then the gate gets the routes that follow, and only then begin the
//! waits and signals that rely on those routes. So no replica is waited for or signalled while the gate may still send it a
//! new request.

mod act;
mod show;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::TcpListener,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use cutover_model::fleet::{Desired, FleetName, Generation, Observed};
use tokio::{
    sync::{OwnedMutexGuard, mpsc, oneshot, watch},
    task::AbortHandle,
};

use self::act::{Effect, random_part};
use crate::{
    attempt::{self, Ended, Happening},
    check,
    converge::{Actual, converge},
    front::{self, Front},
    output::Log,
    probe::Finding,
    process::{Process, boot_id},
    replica::{Replica, ReplicaId},
    sockets::Sockets,
    state::{FleetFiles, Record, Recorder, StateError},
};

/// How long a host that starts again waits for the first answers of the replicas it has adopted before it opens the gate.
const FIRST_ANSWERS: Duration = Duration::from_secs(2);

/// A port may be taken by somebody else this often in a row before it counts as a failure.
const PORT_RETRIES: u32 = 5;

/// Messages that wait for a fleet; who sends more waits.
pub(crate) const INBOX: usize = 256;

/// What a fleet is told.
pub(crate) enum Message {
    /// Have this state from now on.
    Put(Box<Desired>, oneshot::Sender<Result<Observed, Refused>>),
    /// Something became of that attempt of a replica.
    Happened(ReplicaId, u32, Happening),
    /// Start and stop nothing from now on. The answer comes when nothing is under way any more.
    Freeze(oneshot::Sender<Frozen>),
    /// Go on as before the freeze.
    Thaw,
    /// The host that handed over has finished its requests.
    PredecessorGone,
}

/// A fleet that stands still for another host.
pub(crate) struct Frozen {
    /// Lines of output that have begun, raw.
    pub(crate) unfinished: Vec<(ReplicaId, Vec<u8>)>,
}

/// Why a desired state was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the desired state is not above the one held, {}.{}", held.fence, held.write)]
    Stale { held: Generation },
    #[error("the desired state can't be honoured: {}", reasons.join("; "))]
    Unable { reasons: Vec<String> },
    #[error("the desired state could not be written to {path}: {cause}")]
    Unwritten { path: PathBuf, cause: std::io::Error },
    #[error("another host is taking over")]
    HandingOver,
}

/// What lies behind a replica's pure state.
struct Body {
    log: Arc<Log>,
    process: Option<Process>,
    probing: Option<AbortHandle>,
    /// Why this host stops it, which explains its end better than the signal.
    stopped_because: Option<String>,
    port_retries: u32,
}

impl Body {
    fn new(log: Log) -> Self {
        Self { log: Arc::new(log), process: None, probing: None, stopped_because: None, port_retries: 0 }
    }

    fn stop_probing(&mut self) {
        if let Some(probing) = self.probing.take() {
            probing.abort();
        }
    }
}

/// One fleet.
pub(crate) struct Fleet {
    name: FleetName,
    files: FleetFiles,
    recorder: Recorder,
    sockets: Arc<Sockets>,
    desired: Desired,
    actual: Actual,
    bodies: BTreeMap<ReplicaId, Body>,
    records: BTreeMap<ReplicaId, Record>,
    boot_id: String,
    front: Arc<Front>,
    /// Adopted replicas that have not answered a probe yet, and until when the gate waits for them.
    unheard: BTreeSet<ReplicaId>,
    open_by: Instant,
    opened: watch::Sender<bool>,
    observed: watch::Sender<Observed>,
    inbox: mpsc::Sender<Message>,
    freezing: Option<oneshot::Sender<Frozen>>,
    frozen: bool,
    held: Vec<OwnedMutexGuard<()>>,
    /// What happened while frozen and would change files or processes.
    postponed: Vec<(ReplicaId, u32, Happening)>,
}

/// How the rest of the host holds a fleet.
#[derive(Clone)]
pub(crate) struct FleetHandle {
    pub(crate) inbox: mpsc::Sender<Message>,
    pub(crate) observed: watch::Receiver<Observed>,
    /// Becomes true when the gate accepts.
    pub(crate) opened: watch::Receiver<bool>,
    pub(crate) front: Arc<Front>,
    pub(crate) files: FleetFiles,
}

/// What a fleet starts from.
pub(crate) struct Beginning {
    pub(crate) name: FleetName,
    pub(crate) files: FleetFiles,
    pub(crate) sockets: Arc<Sockets>,
    pub(crate) listener: TcpListener,
    pub(crate) desired: Desired,
    pub(crate) records: Vec<Record>,
    /// Lines that the host before has begun to read.
    pub(crate) unfinished: Vec<(ReplicaId, Vec<u8>)>,
    /// The host before still answers requests.
    pub(crate) predecessor: bool,
}

impl Fleet {
    /// Adopts what runs and starts the fleet's task. A fleet with a predecessor stays frozen until it is thawed.
    pub(crate) fn start(beginning: Beginning) -> Result<FleetHandle, StateError> {
        let Beginning { name, files, sockets, listener, desired, records, unfinished, predecessor } =
            beginning;
        let boot_id = boot_id().map_err(|cause| StateError::Unreadable { path: "/proc".into(), cause })?;
        let front = Front::new(name.clone(), listener, desired.gate.clone());
        let (inbox, mail) = mpsc::channel(INBOX);
        let observed =
            Observed { generation: desired.generation, version: first_version(), releases: Vec::new() };
        let (opened, opening) = watch::channel(false);
        let (observed, observing) = watch::channel(observed);
        let mut fleet = Self {
            name,
            files: files.clone(),
            recorder: Recorder::start(),
            sockets,
            desired,
            actual: Actual { predecessor, ..Actual::default() },
            bodies: BTreeMap::new(),
            records: BTreeMap::new(),
            boot_id,
            front: Arc::clone(&front),
            unheard: BTreeSet::new(),
            open_by: Instant::now() + FIRST_ANSWERS,
            opened,
            observed,
            inbox: inbox.clone(),
            freezing: None,
            frozen: predecessor,
            held: Vec::new(),
            postponed: Vec::new(),
        };
        let mut unfinished: BTreeMap<ReplicaId, Vec<u8>> = unfinished.into_iter().collect();
        for record in records {
            let line = unfinished.remove(&record.id);
            fleet.adopt(record, line)?;
        }
        fleet.prune();
        tokio::spawn(fleet.run(mail));
        Ok(FleetHandle { inbox, observed: observing, opened: opening, front, files })
    }

    async fn run(mut self, mut mail: mpsc::Receiver<Message>) {
        loop {
            self.settle();
            let look = self.next_look();
            let sleep = async {
                match look {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                message = mail.recv() => match message {
                    Some(message) => self.receive(message).await,
                    None => return,
                },
                () = sleep => {}
            }
        }
    }

    async fn receive(&mut self, message: Message) {
        match message {
            Message::Put(desired, answer) => {
                let put = self.put(*desired).await;
                let _ = answer.send(put);
            }
            Message::Happened(id, attempt, happening) => self.happened(id, attempt, happening),
            Message::Freeze(answer) => {
                self.frozen = true;
                self.freezing = Some(answer);
                self.try_freeze().await;
            }
            Message::Thaw => {
                self.frozen = false;
                self.freezing = None;
                self.held.clear();
                for (id, attempt, happening) in std::mem::take(&mut self.postponed) {
                    self.happened(id, attempt, happening);
                }
            }
            Message::PredecessorGone => self.actual.predecessor = false,
        }
        if self.freezing.is_some() {
            self.try_freeze().await;
        }
    }

    /// Takes a desired state: durable first, then in force, and in the gate before this returns.
    async fn put(&mut self, desired: Desired) -> Result<Observed, Refused> {
        if self.frozen {
            return Err(Refused::HandingOver);
        }
        let held = self.desired.generation;
        if desired == self.desired {
            return Ok(self.observed.borrow().clone());
        }
        if desired.generation <= held {
            return Err(Refused::Stale { held });
        }
        let (mut reasons, page) = check::within_patience(&desired, &self.actual).await;
        let moves = desired.listen != self.desired.listen;
        let listener = moves.then(|| self.sockets.bind(desired.listen)).transpose().unwrap_or_else(|error| {
            reasons.push(error.to_string());
            None
        });
        if !reasons.is_empty() {
            return Err(Refused::Unable { reasons });
        }
        let path = self.files.desired();
        let written = self.recorder.write(path.clone(), &desired).await;
        written.map_err(|cause| Refused::Unwritten { path, cause })?;
        match self.front.reconfigure(&desired.gate, page, listener) {
            Ok(None) => {}
            Ok(Some(before)) => drop(tokio::spawn(Arc::clone(&self.front).retire(before))),
            Err(error) => {
                tracing::error!(%error, fleet = %self.name, "the gate can't take its new configuration");
            }
        }
        self.desired = desired;
        self.settle();
        Ok(self.observed.borrow().clone())
    }

    /// Does what is to be done until nothing is, and tells gate and watchers.
    fn settle(&mut self) {
        let now = Instant::now();
        // A frozen fleet still routes by what its replicas answer.
        while !self.frozen {
            let actions = converge(&self.desired, &self.actual, now);
            if actions.is_empty() {
                break;
            }
            let effects: Vec<Effect> = actions.iter().filter_map(|action| self.change(action, now)).collect();
            self.route();
            effects.into_iter().for_each(|effect| self.perform(effect));
        }
        self.route();
        self.publish();
    }

    fn happened(&mut self, id: ReplicaId, attempt: u32, happening: Happening) {
        let current = self.records.get(&id).is_some_and(|record| record.attempt == attempt);
        if !current || !self.actual.replicas.contains_key(&id) {
            return;
        }
        let now = Instant::now();
        match happening {
            Happening::NotLaunched(_) | Happening::Ended(_) if self.frozen && self.freezing.is_none() => {
                self.postponed.push((id, attempt, happening));
            }
            Happening::Launched(process) => {
                let identity = process.identity().clone();
                self.save(&id, |record| record.identity = Some(identity));
                self.with(&id, |replica| replica.launched(now));
                self.begin_probing(&id);
                if let Some(body) = self.bodies.get_mut(&id) {
                    body.process = Some(process);
                }
            }
            Happening::NotLaunched(reason) => {
                tracing::warn!(replica = %id, reason, "not started");
                self.ended(&id, reason, false, now);
            }
            Happening::Found(finding) => {
                self.unheard.remove(&id);
                self.with(&id, |replica| match finding {
                    Finding::Ready => replica.probed_ready(now),
                    Finding::Unready(reason) => replica.probed_unready(reason, now),
                    Finding::Dead(reason) => replica.probed_dead(reason),
                });
            }
            Happening::Drained if self.front.in_flight(&front::upstream(&id, attempt)) > 0 => {
                // It was taken back in between and left again.
                self.await_drained(&id);
            }
            Happening::Drained => self.with(&id, Replica::drained),
            Happening::Ending => {
                self.unheard.remove(&id);
                self.bodies.get_mut(&id).into_iter().for_each(Body::stop_probing);
                self.with(&id, |replica| replica.ending(now));
            }
            Happening::Ended(Ended { reason, port_taken }) => {
                let because = self.bodies.get_mut(&id).and_then(|body| body.stopped_because.take());
                let reason = because.unwrap_or_else(|| attempt::with_last_output(&reason, &self.files, &id));
                self.ended(&id, reason, port_taken, now);
            }
        }
    }

    fn ended(&mut self, id: &ReplicaId, reason: String, port_taken: bool, now: Instant) {
        let (Some(body), Some(replica)) = (self.bodies.get_mut(id), self.actual.replicas.get_mut(id)) else {
            return;
        };
        body.process = None;
        body.stop_probing();
        let innocent = port_taken && body.port_retries < PORT_RETRIES;
        body.port_retries = if innocent { body.port_retries + 1 } else { 0 };
        let gone = if innocent {
            replica.ended_innocent(format!("its port was taken by another process: {reason}"), now)
        } else {
            replica.ended(reason, random_part(), now)
        };
        if gone {
            self.remove(id);
        }
    }
}

impl Fleet {
    fn with(&mut self, id: &ReplicaId, change: impl FnOnce(&mut Replica)) {
        if let Some(replica) = self.actual.replicas.get_mut(id) {
            change(replica);
        }
    }
}

/// Versions begin with the clock, so that they rise over restarts of the host as well.
fn first_version() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(0)
}
