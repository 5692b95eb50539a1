//! A run: one execution of a plan, as values and rules.
//!
//! ```text
//! Plan ─┐
//!       ├──► decide() ──► perform a step │ wait for somebody │ end
//! State ┘        ▲
//!                └── fold of the run's events, each admitted by apply() or refused
//! ```
//!
//! [`Run::apply`] is the only way a state changes, and recovery replays through it: what could not have happened is not
//! believed, even if it stands in the journal.

mod decide;
mod event;
mod plan;
mod state;
#[cfg(test)]
mod tests;

pub use decide::{Decision, Waiting, decide};
pub use event::{Cause, Event, Identity, Note, Outcome, Record, Seq};
pub use plan::{Commit, Kind, Plan, Portion, Step};
pub use state::{Illegal, Open, Run, State};
