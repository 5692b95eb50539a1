//! One simulation: a scenario and a seed in, a report out.

use std::{fmt, hash::Hasher, sync::Arc, time::Duration};

use cutover_conductor::drive::Patience;
use cutover_model::run::{Identity, Outcome};

use crate::{
    acts::{self, Command, Storm},
    rules::{LIVENESS, Violation},
    sabotage::Sabotage,
    scenario::{Repository, Rules, Wish},
    time::{Executor, Kernel},
    weather::Weather,
    world::{FaultAt, Shared, World},
};

/// How long after the last fault all runs have to be over.
const ENDS_WITHIN: Duration = Duration::from_secs(2 * 3600);

/// Polls after which a simulation is held to spin.
const SPINS: u64 = 5_000_000;

/// Who acts, and what goes wrong.
#[derive(Debug, Clone)]
pub enum Script {
    /// One wish after another in calm weather, with kills at exact places.
    Exact {
        /// Where the driver is killed.
        faults: Vec<FaultAt>,
        /// The driver is killed after it was polled so often: between any two of its instructions that could wait.
        kill_at_poll: Option<u64>,
        /// Somebody aborts once so many records are stored.
        abort_after: Option<usize>,
    },
    /// Anything at any time, until the weather is calm.
    Wild {
        /// Faults of the world.
        storm: Storm,
        /// When they stop.
        calm_at: Duration,
        /// The share of operators' words that are aborts.
        aborts: f64,
        /// How likely faults of single messages and calls are.
        roughness: Roughness,
    },
}

/// How likely faults of single messages and calls are, each 0 to 1.
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs, reason = "each field is the fault of its name in the crate's fault model")]
pub struct Roughness {
    pub lost: f64,
    pub late: f64,
    pub broken: f64,
    pub lies: f64,
    pub refused: f64,
    pub empty: f64,
    pub journal: f64,
    pub session: f64,
}

impl Roughness {
    fn weather(self) -> Weather {
        let Self { lost, late, broken, lies, refused, empty, journal, session } = self;
        Weather { lost, late, broken, lies, refused, empty, journal, session, ..Weather::default() }
    }
}

/// All that a simulation depends on.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The arguments that replay it.
    pub name: String,
    /// Every draw comes from it.
    pub seed: u64,
    /// What can be released.
    pub repository: Repository,
    /// Under which rules.
    pub rules: Rules,
    /// What operators want, in order.
    pub wishes: Vec<Wish>,
    /// Who acts, and what goes wrong.
    pub script: Script,
    /// A part that is broken on purpose.
    pub sabotage: Option<Sabotage>,
    /// Keep the whole trace, not only its end.
    pub whole_trace: bool,
}

/// How often what happened, to show that a simulation tried something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Drivers and other processes killed.
    pub killed: u64,
    /// Runs that were driven by more than one driver.
    pub taken_over: u64,
    /// Writes of late or superseded drivers that the host refused.
    pub writes_refused: u64,
    /// Journal writes refused because the lease was given on.
    pub fenced: u64,
    /// Runs by how they ended.
    pub done: u64,
    /// See [`Outcome::Reverted`].
    pub reverted: u64,
    /// See [`Outcome::Stopped`].
    pub stopped: u64,
    /// Watches that ended undecided.
    pub held: u64,
}

impl Tally {
    /// Adds all of another.
    pub fn add(&mut self, other: &Self) {
        self.killed += other.killed;
        self.taken_over += other.taken_over;
        self.writes_refused += other.writes_refused;
        self.fenced += other.fenced;
        self.done += other.done;
        self.reverted += other.reverted;
        self.stopped += other.stopped;
        self.held += other.held;
    }
}

/// What came of a simulation.
#[derive(Debug, Clone)]
pub struct Report {
    /// The arguments that replay it.
    pub name: String,
    /// Of the scenario.
    pub seed: u64,
    /// What did not hold.
    pub violation: Option<Violation>,
    /// The trace, or its end.
    pub trace: Vec<String>,
    /// A fingerprint of the whole trace.
    pub fingerprint: u64,
    /// Records stored.
    pub records: usize,
    /// Polls of the drivers' tasks and all others.
    pub polls: u64,
    /// Virtual time.
    pub lasted: Duration,
    /// How often what happened.
    pub tally: Tally,
    /// How each run ended, oldest first.
    pub outcomes: Vec<Option<Outcome>>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        match &self.violation {
            None => write!(f, "{}: all rules held over {:?}, {:?}", self.name, self.lasted, self.tally),
            Some(Violation { rule, why }) => write!(
                f,
                "{name}: violation of {rule}\n  {why}\nreplay: cargo run -p cutover-sim -- {name} --trace",
                name = self.name
            ),
        }
    }
}

/// Runs a scenario to its end, or to the first violation.
pub fn simulate(scenario: &Scenario) -> Report {
    let kernel = Kernel::default();
    let weather = match &scenario.script {
        Script::Exact { .. } => Weather::default(),
        Script::Wild { roughness, .. } => roughness.weather(),
    };
    let repository = Arc::new(scenario.repository.clone());
    let mut world = World::new(kernel.clone(), scenario.seed, repository, weather);
    world.sabotage = scenario.sabotage;
    world.trace.whole = scenario.whole_trace;
    let shared = Shared::new(world);
    let ends = cast(&shared, scenario) + ENDS_WITHIN;
    let mut executor = Executor::new(kernel.clone(), scenario.seed ^ 0x5eed);
    let mut polls = 0;
    loop {
        {
            let world = shared.world();
            if world.violation.is_some() || world.over {
                break;
            }
        }
        if polls >= SPINS || kernel.now() > ends {
            let run =
                shared.world().store.open_run().map(|run| format!("{} is in {:?}", run.number, run.state));
            let what = format!("after {polls} polls and {:?}: {run:?}", kernel.now());
            shared.world().violate(LIVENESS, what);
            break;
        }
        if executor.turn() {
            polls += 1;
            if matches!(scenario.script, Script::Exact { kill_at_poll: Some(at), .. } if at == polls) {
                let mut world = shared.world();
                if let Some(driver) = world.drivers().last().copied() {
                    world.kill(driver);
                }
            }
            continue;
        }
        if !step_in_time(&shared, &executor) {
            shared.world().violate(LIVENESS, "nothing will ever happen again".into());
            break;
        }
    }
    report(&shared, scenario, polls)
}

/// Lets the next thing happen by itself, or the next timer end.
fn step_in_time(shared: &Shared, executor: &Executor) -> bool {
    let (act, timer) = (shared.world().next_act(), executor.next_timer());
    match (act, timer) {
        (Some(act), timer) if timer.is_none_or(|timer| act <= timer) => {
            executor.advance_to(act);
            shared.world().act();
        }
        (_, Some(timer)) => executor.advance_to(timer),
        _ => return false,
    }
    true
}

/// Puts everybody in place; returns when the weather will be calm.
fn cast(shared: &Shared, scenario: &Scenario) -> Duration {
    let (kernel, settings) = (&shared.kernel, scenario.rules.settings());
    let wishes = scenario.wishes.clone();
    match &scenario.script {
        Script::Exact { faults, abort_after, .. } => {
            shared.world().store.faults.clone_from(faults);
            kernel.spawn(acts::methodical(shared.clone(), wishes, settings.clone()));
            kernel.spawn(acts::caretaker(shared.clone(), settings, Duration::ZERO, *abort_after));
            Duration::ZERO
        }
        Script::Wild { storm, calm_at, aborts, .. } => {
            kernel.spawn(acts::impatient(shared.clone(), wishes, settings.clone()));
            kernel.spawn(acts::restless(shared.clone(), *aborts, *calm_at));
            let again = settings.clone();
            let resume = move |shared: &Shared| {
                let by = Identity("dan".into());
                let (wish, patience) = (Wish::Resume, Patience::Stay);
                acts::start(shared, &Command { wish, patience, settings: again.clone(), by });
            };
            kernel.spawn(acts::storm(shared.clone(), storm.clone(), *calm_at, resume));
            kernel.spawn(acts::caretaker(shared.clone(), settings, *calm_at, None));
            *calm_at
        }
    }
}

fn report(shared: &Shared, scenario: &Scenario, polls: u64) -> Report {
    let mut world = shared.world();
    if world.violation.is_none() {
        world.conclude();
    }
    let outcomes: Vec<_> = world.store.runs.iter().map(|run| run.state.ended.clone()).collect();
    let mut tally = world.tally;
    for run in &world.store.runs {
        tally.taken_over += u64::from(run.state.drivers > 1);
        match &run.state.ended {
            Some(Outcome::Done) => tally.done += 1,
            Some(Outcome::Reverted { .. }) => tally.reverted += 1,
            Some(Outcome::Stopped { .. }) => tally.stopped += 1,
            None => {}
        }
    }
    Report {
        name: scenario.name.clone(),
        seed: scenario.seed,
        violation: world.violation.clone(),
        trace: world.trace.lines.iter().cloned().collect(),
        fingerprint: world.trace.hasher.finish(),
        records: world.store.records.len(),
        polls,
        lasted: shared.kernel.now(),
        tally,
        outcomes,
    }
}
