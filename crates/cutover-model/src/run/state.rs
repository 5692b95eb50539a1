//! The state of a run: a fold of its events that admits only what can follow.

use super::{Cause, Decision, Event, Identity, Note, Outcome, Plan, Record, Seq, Step, Waiting, decide};
use crate::{config::Approval, id::RunNumber};

/// Why an event can't follow in this run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Illegal(String);

fn illegal<T>(why: impl Into<String>) -> Result<T, Illegal> {
    Err(Illegal(why.into()))
}

/// A step in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// Which.
    pub step: Step,
    /// From 1.
    pub attempt: u32,
}

/// All that decisions need to know of the past.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    /// Steps of the plan that are done, in its order.
    pub done: usize,
    /// The step whose outcome is not known yet.
    pub open: Option<Open>,
    /// The latest step that was begun, and how often in a row.
    pub latest: Option<Open>,
    /// Replicas of the new release may exist.
    pub advanced: bool,
    /// The first failure.
    pub failure: Option<Cause>,
    /// Somebody wants to go back.
    pub abort: Option<Cause>,
    /// The old release has all traffic again.
    pub reverted: bool,
    /// This driver's failed attempts at going back or finishing: there is nothing to fall back to from either.
    pub stubborn_failures: u32,
    /// Why the watch ended undecided, until somebody decides.
    pub held: Option<String>,
    /// Drivers so far, the present one included.
    pub drivers: u32,
    /// The driver and its fence.
    pub driver: Option<(Identity, u64)>,
    /// What the migrations left behind.
    pub migrated: Option<Note>,
    /// How it ended.
    pub ended: Option<Outcome>,
}

impl State {
    /// Why the run goes back, if it does.
    pub fn going_back(&self) -> Option<Cause> {
        self.failure.clone().or_else(|| self.abort.clone())
    }

    /// How often in a row this step was begun and not finished.
    pub fn attempts_at(&self, step: Step) -> u32 {
        self.latest.filter(|latest| latest.step == step).map_or(0, |latest| latest.attempt)
    }
}

/// A run as its events tell it.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its number.
    pub number: RunNumber,
    /// What it shall do.
    pub plan: Plan,
    /// How far it is.
    pub state: State,
    /// The latest event in it.
    pub last: Seq,
    /// When it began, by its first event.
    pub began_ms: i64,
    /// When its latest event happened.
    pub latest_ms: i64,
}

impl Run {
    /// Begins with a run's first record.
    ///
    /// # Errors
    /// [`Illegal`] unless that is `Planned`.
    pub fn begin(first: &Record) -> Result<Self, Illegal> {
        let Event::Planned { plan } = &first.event else {
            return illegal(format!("{} does not begin with its plan", first.run));
        };
        Ok(Self {
            number: first.run,
            plan: plan.as_ref().clone(),
            state: State::default(),
            last: first.seq,
            began_ms: first.at_ms,
            latest_ms: first.at_ms,
        })
    }

    /// Folds all of one run's records, the first being its plan.
    ///
    /// # Errors
    /// [`Illegal`] where there is none, or one of them can't follow.
    pub fn replay(records: &[Record]) -> Result<Self, Illegal> {
        let Some((first, rest)) = records.split_first() else { return illegal("a run without events") };
        let mut run = Self::begin(first)?;
        rest.iter().try_for_each(|record| run.apply(record))?;
        Ok(run)
    }

    /// Admits a record, or says why it can't follow; then nothing has changed.
    ///
    /// # Errors
    /// [`Illegal`]: the record is of another run, out of order, or impossible now.
    pub fn apply(&mut self, record: &Record) -> Result<(), Illegal> {
        if record.run != self.number || record.seq <= self.last {
            return illegal(format!(
                "event {} of {} is out of place in {}",
                record.seq.0, record.run, self.number
            ));
        }
        self.state = self.follow(&record.event)?;
        self.last = record.seq;
        self.latest_ms = record.at_ms;
        Ok(())
    }

    /// What to do next.
    pub fn decide(&self) -> Decision {
        decide(&self.plan, &self.state)
    }

    /// The state after an event that may follow.
    ///
    /// # Errors
    /// [`Illegal`], with the reason, where it may not.
    pub fn follow(&self, event: &Event) -> Result<State, Illegal> {
        let mut next = self.state.clone();
        if next.ended.is_some() {
            return illegal(format!("{} has ended", self.number));
        }
        match event {
            Event::Planned { .. } => return illegal(format!("{} has its plan already", self.number)),
            Event::Driving { driver, fence } => self.taken(&mut next, driver, *fence)?,
            Event::Intended { step, attempt } => self.intended(&mut next, *step, *attempt)?,
            Event::Succeeded { step, note } => self.succeeded(&mut next, *step, note)?,
            Event::Failed { step, cause } => {
                close(&mut next, *step)?;
                match (step, cause) {
                    // The new release is down before the old one was touched: there is something to fall back to.
                    (Step::Finish, Cause::Bad { .. }) => next.failure = Some(cause.clone()),
                    (Step::Revert | Step::Finish, _) => next.stubborn_failures += 1,
                    _ => next.failure = Some(cause.clone()),
                }
            }
            Event::Held { why } => match next.open.take() {
                Some(Open { step: Step::Verify { .. }, .. }) => next.held = Some(why.clone()),
                _ => return illegal("only a watch can end undecided"),
            },
            Event::Approved { by } => self.approved(&mut next, by)?,
            Event::AbortRequested { by, reason } => self.abort(&mut next, by, reason)?,
            Event::Ended { outcome } => match self.decide() {
                Decision::End(decided) if decided == *outcome => next.ended = Some(decided),
                _ => return illegal("the run is not at that end"),
            },
        }
        Ok(next)
    }

    fn taken(&self, next: &mut State, driver: &Identity, fence: u64) -> Result<(), Illegal> {
        if self.state.driver.as_ref().is_some_and(|(_, held)| fence <= *held) {
            return illegal("a later driver has taken the run");
        }
        next.driver = Some((driver.clone(), fence));
        next.drivers = next.drivers.saturating_add(1);
        // What an earlier driver left open is begun again, and what it gave up on is tried again.
        next.open = None;
        next.held = None;
        next.stubborn_failures = 0;
        Ok(())
    }

    fn intended(&self, next: &mut State, step: Step, attempt: u32) -> Result<(), Illegal> {
        if next.driver.is_none() {
            return illegal("nobody drives the run");
        }
        if let Some(open) = next.open {
            return illegal(format!("`{}` is still in hand", open.step));
        }
        if self.decide() != Decision::Perform(step, attempt) {
            return illegal(format!("`{step}`, attempt {attempt}, is not what comes next"));
        }
        next.open = Some(Open { step, attempt });
        next.latest = next.open;
        next.advanced |= matches!(step, Step::Advance { .. });
        Ok(())
    }

    fn succeeded(&self, next: &mut State, step: Step, note: &Note) -> Result<(), Illegal> {
        close(next, step)?;
        match step {
            Step::Revert => next.reverted = true,
            _ => next.done += 1,
        }
        if matches!(note, Note::Migrated { .. }) {
            next.migrated = Some(note.clone());
        }
        next.latest = None;
        Ok(())
    }

    fn approved(&self, next: &mut State, by: &Identity) -> Result<(), Illegal> {
        match self.decide() {
            Decision::Wait(Waiting::Approval) => {
                if self.plan.settings.place.approval == Approval::AnotherPerson && *by == self.plan.by {
                    return illegal(format!("{by} began this run; another person has to approve it"));
                }
            }
            Decision::Wait(Waiting::Held) => next.held = None,
            _ => return illegal("nothing waits for an approval"),
        }
        next.done += 1;
        next.latest = None;
        Ok(())
    }

    fn abort(&self, next: &mut State, by: &Identity, reason: &str) -> Result<(), Illegal> {
        if self.state.going_back().is_some() {
            return illegal("the run is already going back");
        }
        let finishing = self.state.latest.is_some_and(|latest| latest.step == Step::Finish);
        if finishing || matches!(self.decide(), Decision::End(_)) {
            return illegal(
                "the release serves already; when the run has ended, `cutover rollback` goes back",
            );
        }
        next.abort = Some(Cause::Aborted { by: by.clone(), reason: reason.to_owned() });
        Ok(())
    }
}

fn close(next: &mut State, step: Step) -> Result<(), Illegal> {
    match next.open.take() {
        Some(open) if open.step == step => Ok(()),
        _ => illegal(format!("`{step}` was not in hand")),
    }
}
