//! Rule 8.

use cutover_model::run::{Cause, Event};

use super::{NEXT_STEP, Rule, holds};
use crate::{fact::Fact, world::World};

/// **An error tells the next step**: what failed, what is still serving, what was not changed, and the command to run next.
///
/// Here: every cause that is journalled says what, and what to do about it; a verdict says why.
#[derive(Debug)]
pub(crate) struct NextStep;

impl Rule for NextStep {
    fn name(&self) -> &'static str {
        NEXT_STEP
    }

    fn see(&mut self, fact: &Fact, _: &World) -> Result<(), String> {
        let Fact::Recorded { record, .. } = fact else { return Ok(()) };
        match &record.event {
            Event::Failed { cause, .. } => says_enough(cause),
            Event::Ended { outcome } => outcome.cause().map_or(Ok(()), says_enough),
            Event::Held { why } => {
                holds(!why.trim().is_empty(), || "a watch is held and doesn't say why".into())
            }
            _ => Ok(()),
        }
    }

    fn end(&mut self, _: &World) -> Result<(), String> {
        Ok(())
    }
}

fn says_enough(cause: &Cause) -> Result<(), String> {
    let enough = match cause {
        Cause::Bad { findings } => {
            !findings.is_empty() && findings.iter().all(|finding| !finding.trim().is_empty())
        }
        Cause::Broken { message, help } | Cause::Refused { message, help } => {
            !message.trim().is_empty() && !help.trim().is_empty()
        }
        Cause::Aborted { by, .. } => !by.0.is_empty(),
    };
    holds(enough, || format!("{cause:?} leaves the reader alone"))
}
