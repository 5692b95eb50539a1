//! Drives a run to its end: decide, journal the intent, perform, journal the outcome, and again.
//!
//! ```text
//!        ┌──────────── catch up: events that operators wrote meanwhile ◄───────────┐
//!        ▼                                                                         │ Behind
//!   decide(plan, state) ──► Intended ──► perform through a port ──► Succeeded │ Failed │ Held
//!        ▲                  durable                                 durable   │
//!        └────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The driver holds no knowledge that isn't in the journal: kill it anywhere, and the next one replays the events, finds
//! the step that was in hand, and performs it again, which every step bears. A journal that can't be written stops it
//! before the next effect.

mod perform;
mod replicas;
mod watching;

use std::time::Duration;

use cutover_model::run::{Decision, Event, Identity, Outcome, Plan, Portion, Record, Run, Step, Waiting};

use crate::{
    history::{self, History},
    ports::{JournalError, Lease, Ports, Progress},
};
use perform::{Done, Performance};
use watching::Watching;

/// How often the journal is asked for what operators want, and the fleet for how it is.
const POLL: Duration = Duration::from_millis(200);

/// The pause after a failed attempt at a step that must not be given up.
const STUBBORN_PAUSE: Duration = Duration::from_secs(2);

/// How a driver left its run.
#[derive(Debug, Clone, PartialEq)]
pub enum Left {
    /// Over.
    Ended(Outcome),
    /// It waits for somebody, and the driver was told not to.
    Waiting(Waiting),
}

/// Whether a driver stays while the run waits for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Stay until the word comes.
    Stay,
    /// Leave; a later driver goes on.
    Leave,
}

/// One driver of one run.
#[derive(Debug)]
pub struct Driver<'a> {
    ports: Ports<'a>,
    lease: &'a dyn Lease,
    run: Run,
    history: History,
    /// The watch over the release, and the stage it was begun for.
    watching: Option<(Stage, Watching)>,
}

/// The two parts of a rollout, each of which has to pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The first replica, with the canary's share.
    Canary,
    /// From the second replica to the last verdict.
    Rest,
}

impl<'a> Driver<'a> {
    /// Begins a new run and takes it.
    ///
    /// # Errors
    /// [`JournalError`]: nothing was begun, except that after the run's first event a later driver may take it.
    pub async fn begin(
        ports: Ports<'a>,
        lease: &'a dyn Lease,
        driver: &Identity,
        plan: &Plan,
    ) -> Result<Self, JournalError> {
        let history = History::read(ports.journal, &plan.settings.environment).await?;
        let first = ports.journal.begin(lease, ports.clock.now_ms(), plan).await?;
        ports.notify.notify(Progress::Recorded(first.clone()));
        Self { ports, lease, run: Run::begin(&first)?, history, watching: None }.taken(driver).await
    }

    /// Takes the environment's open run, if there is one, where an earlier driver left it.
    ///
    /// # Errors
    /// [`JournalError`]: the run is as it was.
    pub async fn resume(
        ports: Ports<'a>,
        lease: &'a dyn Lease,
        driver: &Identity,
        environment: &cutover_model::EnvironmentName,
    ) -> Result<Option<Self>, JournalError> {
        let history = History::read(ports.journal, environment).await?;
        let Some(run) = history.open_run().cloned() else { return Ok(None) };
        Self { ports, lease, run, history, watching: None }.taken(driver).await.map(Some)
    }

    async fn taken(mut self, driver: &Identity) -> Result<Self, JournalError> {
        self.record(Event::Driving { driver: driver.clone(), fence: self.lease.fence() }).await?;
        Ok(self)
    }

    /// The run as this driver knows it.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Goes on until the run ends or waits. Dropping the future is as good as a crash: a later driver goes on.
    ///
    /// # Errors
    /// [`JournalError`]: the driver must stop; what is running stays as it is.
    pub async fn drive(&mut self, patience: Patience) -> Result<Left, JournalError> {
        let mut waiting = None;
        loop {
            match self.run.decide() {
                Decision::Ended => return Ok(Left::Ended(self.outcome())),
                Decision::End(outcome) => self.try_record(Event::Ended { outcome }).await?,
                Decision::Perform(step, attempt) => self.step(step, attempt).await?,
                Decision::Wait(what) if patience == Patience::Leave || what == Waiting::Stuck => {
                    return Ok(Left::Waiting(what));
                }
                Decision::Wait(what) => {
                    if waiting.replace(what) != Some(what) {
                        self.ports.notify.notify(Progress::Waiting(what));
                    }
                    self.ports.clock.sleep(POLL).await;
                    self.catch_up().await?;
                }
            }
        }
    }

    fn outcome(&self) -> Outcome {
        let ended = self.run.state.ended.clone();
        ended.expect("decide() says Ended only of a run that has")
    }

    async fn step(&mut self, step: Step, attempt: u32) -> Result<(), JournalError> {
        let last = self.run.last;
        self.try_record(Event::Intended { step, attempt }).await?;
        let in_hand = self.run.state.open.is_some_and(|open| open.step == step) && self.run.last > last;
        if !in_hand {
            return Ok(()); // Somebody's event came first: decide again.
        }
        self.watch_for(step);
        let watching = self.watching.as_mut().map(|(_, watching)| watching);
        let performance = Performance::of(self.ports, &self.run, &self.history, self.lease.fence());
        let done = performance.step(step, watching).await?;
        let event = match done {
            Done::Succeeded(note) => Event::Succeeded { step, note },
            Done::Failed(cause) => Event::Failed { step, cause },
            Done::Held(why) => Event::Held { why },
        };
        let failed = matches!(event, Event::Failed { .. });
        self.record(event).await?;
        if failed && matches!(step, Step::Revert | Step::Finish) {
            self.ports.clock.sleep(STUBBORN_PAUSE).await;
        }
        Ok(())
    }

    /// Has the watch ready that belongs to a step; none where nothing is watched yet or any more. A later driver's watch
    /// begins anew with what is left of the false-alarm budget.
    fn watch_for(&mut self, step: Step) {
        let steps = self.run.plan.steps();
        let (past, ahead) = steps.split_at(self.run.state.done.min(steps.len()));
        let is_verify = |step: &Step| matches!(step, Step::Verify { .. });
        let stage = if past.iter().any(is_verify) { Stage::Rest } else { Stage::Canary };
        let watches = is_verify(&step) || (stage == Stage::Rest && matches!(step, Step::Advance { .. }));
        if !watches || !ahead.iter().any(is_verify) {
            self.watching = None;
            return;
        }
        let (of, watching) = self
            .watching
            .get_or_insert_with(|| (stage, Watching::new(&self.run.plan, self.run.state.drivers)));
        if *of != stage {
            *of = stage;
            watching.next_stage();
        }
        let portion = past.iter().rev().find_map(|step| match step {
            Step::Advance { portion, .. } => Some(*portion),
            _ => None,
        });
        watching.beside(portion.is_some_and(|portion| portion < Portion::ALL));
    }

    /// Journals an event that stays true whatever operators wrote meanwhile.
    async fn record(&mut self, event: Event) -> Result<(), JournalError> {
        let mut before = None;
        // Each turn of this loop applies at least one event of another writer, so it ends.
        while before != Some(self.run.last) {
            before = Some(self.run.last);
            if self.append(&event).await? {
                return Ok(());
            }
            self.catch_up().await?;
        }
        Err(JournalError::Behind)
    }

    /// Journals an event that decide() asked for, unless operators wrote something meanwhile; then only catches up.
    async fn try_record(&mut self, event: Event) -> Result<(), JournalError> {
        if !self.append(&event).await? {
            self.catch_up().await?;
        }
        Ok(())
    }

    /// False: the journal has moved on, and nothing was written.
    async fn append(&mut self, event: &Event) -> Result<bool, JournalError> {
        let now = self.ports.clock.now_ms();
        let environment = &self.run.plan.settings.environment;
        let appended = self
            .ports
            .journal
            .append(Some(self.lease), self.run.number, environment, self.run.last, now, event)
            .await;
        match appended {
            Ok(record) => self.admit(record).map(|()| true),
            Err(JournalError::Behind) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn catch_up(&mut self) -> Result<(), JournalError> {
        let environment = self.run.plan.settings.environment.clone();
        for record in self.ports.journal.events(&environment, self.run.number, self.run.last).await? {
            self.admit(record)?;
        }
        Ok(())
    }

    fn admit(&mut self, record: Record) -> Result<(), JournalError> {
        self.run.apply(&record)?;
        self.ports.notify.notify(Progress::Recorded(record));
        Ok(())
    }
}

/// Writes an operator's event into the environment's open run, without a lease, and returns the run with it.
///
/// # Errors
/// [`JournalError::Illegal`] with the reason where there is no open run or the event can't follow now.
pub async fn say(
    journal: &dyn crate::ports::Journal,
    environment: &cutover_model::EnvironmentName,
    at_ms: i64,
    event: &Event,
) -> Result<Run, JournalError> {
    loop {
        let Some(number) = journal.runs(environment).await?.pop() else {
            return Err(JournalError::NoRun(environment.clone()));
        };
        let mut run = history::read_run(journal, environment, number).await?;
        if run.state.ended.is_some() {
            return Err(JournalError::NoRun(environment.clone()));
        }
        match journal.append(None, number, environment, run.last, at_ms, event).await {
            Ok(record) => {
                run.apply(&record)?;
                return Ok(run);
            }
            Err(JournalError::Behind) => {} // Another writer was quicker: look again.
            Err(error) => return Err(error),
        }
    }
}
