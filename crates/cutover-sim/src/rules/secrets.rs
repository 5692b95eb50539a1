//! Rule 7.

use super::{Rule, SECRETS, holds};
use crate::{fact::Fact, scenario::CANARY, world::World};

/// **Secrets never appear**: not in logs, errors, journal, dashboards, child output passed through, process arguments or panics.
///
/// Here: the canary that stands in every port's memory is in nothing that is journalled, shown or said at the end.
#[derive(Debug)]
pub(crate) struct Secrets;

impl Rule for Secrets {
    fn name(&self) -> &'static str {
        SECRETS
    }

    fn see(&mut self, fact: &Fact, _: &World) -> Result<(), String> {
        let (where_, text) = match fact {
            Fact::Recorded { text, .. } => ("journal", text),
            Fact::Notified { text, .. } => ("progress", text),
            Fact::Left { how, .. } => ("last words", how),
            Fact::JournalRefused { why, .. } => ("journal's error", why),
            _ => return Ok(()),
        };
        holds(!text.contains(CANARY), || format!("a secret stands in the {where_}"))
    }

    fn end(&mut self, _: &World) -> Result<(), String> {
        Ok(())
    }
}
