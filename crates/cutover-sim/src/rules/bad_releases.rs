//! Of verdicts: what the watch is for.

use std::{collections::BTreeSet, time::Duration};

use cutover_model::{
    RunNumber,
    run::{Event, Kind, Outcome, Step},
};

use super::{BAD_RELEASES, Rule, holds};
use crate::{fact::Fact, scenario::Behaviour, world::World};

/// A replica that was down for so long before a verdict was sent to the journal could be seen to be.
const SEEN_WITHIN: Duration = Duration::from_millis(700);

/// **A grossly bad release is not passed.** Where three in ten requests fail or are slow against a declared limit of two in a
/// hundred, the run does not end as done, unless a person said so on a watch that was held. And no watch passes while a replica
/// of the release is down.
#[derive(Debug, Default)]
pub(crate) struct BadReleases {
    held: BTreeSet<RunNumber>,
}

impl Rule for BadReleases {
    fn name(&self) -> &'static str {
        BAD_RELEASES
    }

    fn see(&mut self, fact: &Fact, world: &World) -> Result<(), String> {
        let Fact::Recorded { sent, record, .. } = fact else { return Ok(()) };
        if matches!(record.event, Event::Held { .. }) {
            self.held.insert(record.run);
        }
        if matches!(record.event, Event::Succeeded { step: Step::Verify { .. }, .. }) {
            all_up(*sent, world)?;
        }
        if record.event != (Event::Ended { outcome: Outcome::Done }) || self.held.contains(&record.run) {
            return Ok(());
        }
        let Some(run) = world.store.runs.last() else { return Ok(()) };
        let (plan, bad) = (&run.plan, &run.plan.settings.bad);
        let behaviour = world.making(plan).behaviour;
        let watched =
            plan.kind == Kind::Release && plan.steps().iter().any(|step| matches!(step, Step::Verify { .. }));
        // A comparison tells nothing where the old release is slow itself.
        let quick = plan.from.is_some_and(|from| world.behaviour(from).slow_rate() < 0.01);
        let declared = match behaviour {
            Behaviour::Slow(_) => bad.slower_than.is_some() || (bad.than_old && quick),
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

fn all_up(sent: Duration, world: &World) -> Result<(), String> {
    let Some(run) = world.store.open_run() else { return Ok(()) };
    let seen = sent.saturating_sub(SEEN_WITHIN);
    let down = world.host.replicas.iter().find(|(_, replica)| {
        replica.release == run.plan.release
            && replica.state != cutover_model::fleet::ReplicaState::Ready
            && replica.lost.is_some_and(|at| at < seen)
    });
    holds(down.is_none(), || format!("a watch of {} passed with {down:?}", run.plan.release))
}
