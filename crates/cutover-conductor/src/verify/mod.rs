//! Is the new release bad? Sequential tests on counts, and a judge that reads them.
//!
//! Guarantees, whatever the counts and however often one looks:
//! - a good release is failed with chance at most the declared one, over all metrics, routes, stages and attempts;
//! - missing, empty or impossible data never make a pass;
//! - the same samples give the same judgement: nothing here reads a clock, draws a random number or waits.
//!
//! ```text
//!                        errors, slow requests           errors, requests slower than the old p99
//! declared limit ──────► Sprt (accepts and rejects)      EProcess (only rejects) ◄────── old release beside
//!                                        └── stakes of one Budget ──┘
//!                                                   Watch ──► Judgement { Pass | Fail | Undecided, reasons }
//! ```
//! Why these tests, and what they do not do: `docs/design/verification.md`.

mod budget;
mod count;
mod criteria;
mod eprocess;
mod judgement;
mod meter;
pub mod quality;
mod sprt;
mod trial;
mod watch;

pub use budget::{Budget, InvalidChance};
pub use count::{Counts, Routes, Sample, Tally};
pub use criteria::{Criteria, InvalidCriteria, SlowLimit, ThanOld};
pub use eprocess::{EProcess, Pairing, bound};
pub use judgement::{Finding, Judgement, Metric, Reason, Verdict};
pub use sprt::{Decision, InvalidLimit, Limit, Sprt, divergence};
pub use watch::{MAX_ROUTES, OTHER_ROUTES, SUSPICIOUS, Watch};
