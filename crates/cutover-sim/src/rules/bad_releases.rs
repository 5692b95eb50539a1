//! Of verdicts: what the watch is for.

use std::collections::BTreeSet;

use cutover_model::{
    RunNumber,
    run::{Event, Kind, Outcome, Step},
};

use super::{BAD_RELEASES, Rule, holds};
use crate::{fact::Fact, scenario::Behaviour, world::World};

/// **A grossly bad release is not passed.** Where three in ten requests fail or are slow against a declared limit of two in a
/// hundred, the run does not end as done, unless a person said so on a watch that was held.
#[derive(Debug, Default)]
pub(crate) struct BadReleases {
    held: BTreeSet<RunNumber>,
}

impl Rule for BadReleases {
    fn name(&self) -> &'static str {
        BAD_RELEASES
    }

    fn see(&mut self, fact: &Fact, world: &World) -> Result<(), String> {
        let Fact::Recorded { record, .. } = fact else { return Ok(()) };
        if matches!(record.event, Event::Held { .. }) {
            self.held.insert(record.run);
        }
        if record.event != (Event::Ended { outcome: Outcome::Done }) || self.held.contains(&record.run) {
            return Ok(());
        }
        let Some(run) = world.store.runs.last() else { return Ok(()) };
        let (plan, bad) = (&run.plan, &run.plan.settings.bad);
        let behaviour = world.making(plan).behaviour;
        let watched =
            plan.kind == Kind::Release && plan.steps().iter().any(|step| matches!(step, Step::Verify { .. }));
        let declared = match behaviour {
            Behaviour::Slow(_) => bad.slower_than.is_some() || bad.than_old,
            _ => true,
        };
        holds(!(watched && declared && behaviour.is_grossly_bad()), || {
            format!("{} was passed and {behaviour:?}", plan.release)
        })
    }

    fn end(&mut self, _: &World) -> Result<(), String> {
        Ok(())
    }
}
