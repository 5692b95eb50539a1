//! The world outside of the conductor: host, database, journal store, artifacts, traffic and the processes themselves.
//!
//! It is stricter than a real one: whatever it is asked to do that a rule forbids is noticed at once, by the rules that see
//! every [`Fact`]. It changes only through the methods here and in its parts, at one moment of virtual time each.

mod artifacts;
mod database;
mod host;
mod store;
mod traffic;

use std::{
    collections::BTreeMap,
    fmt,
    hash::{DefaultHasher, Hasher},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

pub(crate) use artifacts::Artifacts;
pub(crate) use database::{Database, NotApplied};
pub(crate) use host::{Host, Kind as WriteKind, Write};
pub use store::FaultAt;
pub(crate) use store::{Store, Writer};
pub(crate) use traffic::Traffic;

use crate::{
    fact::{Fact, Pid},
    rules::{Rule, Violation},
    sabotage::Sabotage,
    scenario::Repository,
    time::{Kernel, TaskId, lock},
    weather::Weather,
};

/// A thing that happens later, whoever is still alive by then.
type Act = Box<dyn FnOnce(&mut World) + Send>;

/// A process, alive or not.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) task: Option<TaskId>,
    pub(crate) alive: bool,
    pub(crate) died: Option<Duration>,
    /// Of its lease, once it had one.
    pub(crate) fence: Option<u64>,
    /// How wrong its clock is.
    pub(crate) skew_ms: i64,
    pub(crate) paused: bool,
}

/// Lines of the trace that a report shows.
const TAIL: usize = 120;

/// What happened, whole or as its end and a fingerprint of all.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    pub(crate) whole: bool,
    pub(crate) lines: std::collections::VecDeque<String>,
    pub(crate) hasher: DefaultHasher,
    pub(crate) facts: u64,
}

impl Trace {
    fn add(&mut self, line: String) {
        self.hasher.write(line.as_bytes());
        self.facts += 1;
        self.lines.push_back(line);
        if !self.whole && self.lines.len() > TAIL {
            self.lines.pop_front();
        }
    }
}

/// Everything outside of the conductor.
pub(crate) struct World {
    pub(crate) kernel: Kernel,
    pub(crate) rng: fastrand::Rng,
    pub(crate) repository: Arc<Repository>,
    pub(crate) weather: Weather,
    pub(crate) sabotage: Option<Sabotage>,
    pub(crate) host: Host,
    pub(crate) database: Database,
    pub(crate) store: Store,
    pub(crate) artifacts: Artifacts,
    pub(crate) traffic: Traffic,
    pub(crate) processes: BTreeMap<Pid, Process>,
    pub(crate) trace: Trace,
    pub(crate) tally: crate::simulation::Tally,
    /// Faults have stopped for good.
    pub(crate) calm: bool,
    /// Operators have said all they wanted.
    pub(crate) wishes_said: bool,
    /// A run can't end without a person: what it would go back to can't run.
    pub(crate) hopeless: bool,
    /// Nothing more will happen.
    pub(crate) over: bool,
    pub(crate) violation: Option<Violation>,
    rules: Vec<Box<dyn Rule>>,
    agenda: BTreeMap<(Duration, u64), Act>,
    acts: u64,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "World at {:?}", self.now())
    }
}

impl World {
    pub(crate) fn new(kernel: Kernel, seed: u64, repository: Arc<Repository>, weather: Weather) -> Self {
        Self {
            kernel,
            rng: fastrand::Rng::with_seed(seed),
            repository,
            weather,
            sabotage: None,
            host: Host::default(),
            database: Database::default(),
            store: Store::default(),
            artifacts: Artifacts::default(),
            traffic: Traffic::default(),
            processes: BTreeMap::new(),
            trace: Trace::default(),
            tally: crate::simulation::Tally::default(),
            calm: false,
            wishes_said: false,
            hopeless: false,
            over: false,
            violation: None,
            rules: crate::rules::all(),
            agenda: BTreeMap::new(),
            acts: 0,
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.kernel.now()
    }

    /// Tells everybody what happened: the trace, and every rule.
    #[allow(clippy::needless_pass_by_value, reason = "a fact is told once")]
    pub(crate) fn tell(&mut self, fact: Fact) {
        let now = self.now();
        self.trace.add(format!("{:>10.3} {fact}", now.as_secs_f64()));
        self.count_fact(&fact);
        let mut rules = std::mem::take(&mut self.rules);
        for rule in &mut rules {
            if let Err(why) = rule.see(&fact, self) {
                self.violate(rule.name(), why);
            }
        }
        self.rules = rules;
    }

    fn count_fact(&mut self, fact: &Fact) {
        let counter = match fact {
            Fact::Killed { .. } => &mut self.tally.killed,
            Fact::Written { accepted: false, .. } => &mut self.tally.writes_refused,
            Fact::JournalRefused { driving: true, why, .. } if why.contains("taken over") => {
                &mut self.tally.fenced
            }
            Fact::Recorded { record, .. }
                if matches!(record.event, cutover_model::run::Event::Held { .. }) =>
            {
                &mut self.tally.held
            }
            _ => return,
        };
        *counter += 1;
    }

    /// The simulation is over, and every rule looks at what is left.
    pub(crate) fn conclude(&mut self) {
        let mut rules = std::mem::take(&mut self.rules);
        for rule in &mut rules {
            if let Err(why) = rule.end(self) {
                self.violate(rule.name(), why);
            }
        }
        self.rules = rules;
    }

    /// The first one counts; what follows from it would only confuse.
    pub(crate) fn violate(&mut self, rule: &'static str, why: String) {
        if self.violation.is_none() {
            self.trace.add(format!("{:>10.3} VIOLATION of {rule}: {why}", self.now().as_secs_f64()));
            self.violation = Some(Violation { rule, why });
        }
    }

    /// Lets something happen later, whoever is alive by then.
    pub(crate) fn after(&mut self, delay: Duration, act: impl FnOnce(&mut Self) + Send + 'static) {
        self.acts += 1;
        self.agenda.insert((self.now() + delay, self.acts), Box::new(act));
    }

    /// The moment of the next thing that will happen by itself.
    pub(crate) fn next_act(&self) -> Option<Duration> {
        self.agenda.keys().next().map(|(at, _)| *at)
    }

    /// Lets the next thing happen; time is there already.
    pub(crate) fn act(&mut self) {
        if let Some((_, act)) = self.agenda.pop_first() {
            act(self);
        }
    }

    pub(crate) fn is_sabotaged(&self, by: Sabotage) -> bool {
        self.sabotage == Some(by)
    }

    /// A whole number of milliseconds between the two.
    pub(crate) fn between(&mut self, low_ms: u64, high_ms: u64) -> Duration {
        Duration::from_millis(self.rng.u64(low_ms..=high_ms.max(low_ms)))
    }

    pub(crate) fn chance(&mut self, chance: f64) -> bool {
        chance > 0.0 && self.rng.f64() < chance
    }

    // Processes

    pub(crate) fn alive(&self, pid: Pid) -> bool {
        self.processes.get(&pid).is_some_and(|process| process.alive)
    }

    /// kill -9: the process's future is dropped, its connections break some time later, and what it sent is on its way.
    pub(crate) fn kill(&mut self, pid: Pid) {
        let now = self.now();
        let Some(process) = self.processes.get_mut(&pid).filter(|process| process.alive) else { return };
        (process.alive, process.died) = (false, Some(now));
        if let Some(task) = process.task {
            self.kernel.kill(task);
        }
        self.tell(Fact::Killed { pid });
        self.connections_break(pid);
        let delay = if self.rng.bool() { Duration::ZERO } else { self.between(0, 3000) };
        self.after(delay, move |world| world.release_lease(pid));
    }

    /// SIGSTOP, or a machine that sleeps: it goes on later as if nothing had been.
    pub(crate) fn pause(&mut self, pid: Pid, for_: Duration) {
        let Some(process) = self.processes.get_mut(&pid).filter(|process| process.alive && !process.paused)
        else {
            return;
        };
        process.paused = true;
        let Some(task) = process.task else { return };
        self.kernel.pause(task);
        self.tell(Fact::Paused { pid, for_ });
        self.after(for_, move |world| world.unpause(pid));
    }

    pub(crate) fn unpause(&mut self, pid: Pid) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.paused = false;
            if let Some(task) = process.task {
                self.kernel.unpause(task);
            }
        }
    }

    /// The process ended by itself.
    pub(crate) fn leave(&mut self, pid: Pid, how: String) {
        let now = self.now();
        if let Some(process) = self.processes.get_mut(&pid) {
            (process.alive, process.died) = (false, Some(now));
        }
        self.tell(Fact::Left { pid, how });
        self.connections_break(pid);
        self.release_lease(pid);
    }

    /// Living processes that hold or held the lease, with the newest fence last.
    pub(crate) fn drivers(&self) -> Vec<Pid> {
        let mut drivers: Vec<_> = self
            .processes
            .iter()
            .filter(|(_, p)| p.alive)
            .filter_map(|(pid, p)| Some((p.fence?, *pid)))
            .collect();
        drivers.sort_unstable();
        drivers.into_iter().map(|(_, pid)| pid).collect()
    }
}

/// The world as processes share it.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) kernel: Kernel,
    world: Arc<Mutex<World>>,
}

impl Shared {
    pub(crate) fn new(world: World) -> Self {
        Self { kernel: world.kernel.clone(), world: Arc::new(Mutex::new(world)) }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    /// Starts a process and returns its number.
    pub(crate) fn start<F: Future<Output = String> + Send + 'static>(
        &self,
        name: String,
        body: impl FnOnce(Pid) -> F,
    ) -> Pid {
        let pid = {
            let mut world = self.world();
            let pid = Pid(world.processes.len() as u32 + 1);
            let skew_ms = world.rng.i64(-5000..=5000);
            let process =
                Process { task: None, alive: true, died: None, fence: None, skew_ms, paused: false };
            world.processes.insert(pid, process);
            world.tell(Fact::Started { pid, name });
            pid
        };
        let (shared, body) = (self.clone(), body(pid));
        let task = self.kernel.spawn(async move {
            let how = body.await;
            shared.world().leave(pid, how);
        });
        if let Some(process) = self.world().processes.get_mut(&pid) {
            process.task = Some(task);
        }
        pid
    }
}
