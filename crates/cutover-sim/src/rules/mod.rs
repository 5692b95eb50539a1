//! What must always hold, one file a rule. Every rule sees every [`Fact`] as it happens, with the world as it then is, and
//! the end. Rules keep their own memory and believe no port.

mod artifacts;
mod bad_releases;
mod journal_first;
mod next_step;
mod no_data;
mod old_code;
mod one_owner;
mod schema_first;
mod secrets;
mod traffic;

use crate::{fact::Fact, world::World};

pub(crate) const ONE_OWNER: &str = "rule 1: one migration owner";
pub(crate) const SCHEMA_FIRST: &str = "rule 2: schema before code";
pub(crate) const OLD_CODE: &str = "rule 3: old code survives the window";
pub(crate) const TRAFFIC: &str = "rule 4: traffic only when ready";
pub(crate) const NO_DATA: &str = "rule 5: no data is not good news";
pub(crate) const JOURNAL: &str = "rule 6: the journal comes first";
pub(crate) const SECRETS: &str = "rule 7: secrets never appear";
pub(crate) const NEXT_STEP: &str = "rule 8: an error tells the next step";
pub(crate) const LIVENESS: &str = "liveness: with faults stopped, a run ends";
pub(crate) const ARTIFACTS: &str = "artifacts: what runs, or may run, is there";
pub(crate) const BAD_RELEASES: &str = "verdicts: a grossly bad release is not passed";

/// What did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The rule's name.
    pub rule: &'static str,
    /// What was seen.
    pub why: String,
}

/// A checker.
pub(crate) trait Rule: Send {
    fn name(&self) -> &'static str;
    /// Called after every change of the world.
    fn see(&mut self, fact: &Fact, world: &World) -> Result<(), String>;
    /// Called once, when nothing more will happen.
    fn end(&mut self, world: &World) -> Result<(), String>;
}

pub(crate) fn all() -> Vec<Box<dyn Rule>> {
    vec![
        Box::new(one_owner::OneOwner::default()),
        Box::new(schema_first::SchemaFirst::default()),
        Box::new(old_code::OldCode),
        Box::new(traffic::TrafficWhenReady::default()),
        Box::new(no_data::NoData::default()),
        Box::new(journal_first::JournalFirst::default()),
        Box::new(secrets::Secrets),
        Box::new(next_step::NextStep),
        Box::new(artifacts::ArtifactsAreThere),
        Box::new(bad_releases::BadReleases::default()),
    ]
}

/// `Err` with a text, unless the condition holds.
fn holds(condition: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(why()) }
}
