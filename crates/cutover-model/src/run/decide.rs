//! What a run does next: a pure, total function of plan and state.

use super::{Cause, Outcome, Plan, State, Step};

/// What a run does next.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Journal the intent with this attempt's number, then perform the step.
    Perform(Step, u32),
    /// Nothing, until an event comes.
    Wait(Waiting),
    /// Journal the end.
    End(Outcome),
    /// It is over.
    Ended,
}

/// What a run waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// Somebody's approval.
    Approval,
    /// Somebody's word on a watch that ended undecided.
    Held,
    /// A new driver: going back, or finishing, failed so often that the cause needs a person.
    Stuck,
}

/// Attempts of one driver at a step that must not be given up (going back, finishing) before it leaves the run to a
/// person.
pub(super) const ATTEMPTS: u32 = 5;

/// What to do next. Total: every state that [`super::Run::apply`] can reach has an answer.
pub fn decide(plan: &Plan, state: &State) -> Decision {
    if state.ended.is_some() {
        return Decision::Ended;
    }
    if let Some(cause) = state.going_back() {
        return go_back(state, cause);
    }
    let stuck = state.stubborn_failures >= ATTEMPTS;
    match plan.steps().get(state.done) {
        None => Decision::End(Outcome::Done),
        Some(Step::Approval) => Decision::Wait(Waiting::Approval),
        Some(Step::Verify { .. }) if state.held.is_some() => Decision::Wait(Waiting::Held),
        Some(Step::Finish) if stuck => Decision::Wait(Waiting::Stuck),
        Some(step) => Decision::Perform(*step, state.attempts_at(*step) + 1),
    }
}

fn go_back(state: &State, cause: Cause) -> Decision {
    if !state.advanced {
        return Decision::End(Outcome::Stopped { cause });
    }
    if state.reverted {
        return Decision::End(Outcome::Reverted { cause });
    }
    if state.stubborn_failures >= ATTEMPTS {
        return Decision::Wait(Waiting::Stuck);
    }
    Decision::Perform(Step::Revert, state.attempts_at(Step::Revert) + 1)
}
