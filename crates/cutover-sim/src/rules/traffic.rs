//! Rule 4.

use std::time::Duration;

use cutover_model::{
    fleet::ReplicaState,
    run::{Event, Kind, Step},
};

use super::{Rule, TRAFFIC, holds};
use crate::{
    fact::{Change, Fact},
    world::World,
};

/// How long nothing may serve while something could, in calm weather and with a driver at work.
const OUTAGE: Duration = Duration::from_secs(45);

/// **Traffic only when ready.** A replica gets requests only after readiness succeeded, and none once it is draining.
/// In-flight requests finish (up to a declared limit) before it is stopped.
///
/// And what that is for: once a first release served, something serves, unless faults took all of it. The release that a run
/// would go back to is drained only by the step that ends the rollout, the new one only by going back.
#[derive(Debug, Default)]
pub(crate) struct TrafficWhenReady {
    latest: Option<Step>,
    dark_since: Option<Duration>,
}

impl Rule for TrafficWhenReady {
    fn name(&self) -> &'static str {
        TRAFFIC
    }

    fn see(&mut self, fact: &Fact, world: &World) -> Result<(), String> {
        for id in &world.host.table {
            let state = world.host.replicas.get(id).map(|replica| replica.state);
            holds(state == Some(ReplicaState::Ready), || {
                format!("requests go to replica {id}, which is {state:?}")
            })?;
        }
        match fact {
            Fact::Recorded { record, .. } => match &record.event {
                Event::Planned { .. } => self.latest = None,
                Event::Intended { step, .. } => self.latest = Some(*step),
                _ => {}
            },
            Fact::Replica { release, what: Change::Drains, .. } => self.may_drain(*release, world)?,
            Fact::Replica { id, what: Change::Stops { drained, in_flight: true }, .. } => {
                let limit = world.store.runs.last().map(|run| run.plan.settings.place.drain.get());
                holds(limit.is_none_or(|limit| *drained >= limit), || {
                    format!("replica {id} is stopped after {drained:?} with requests in flight")
                })?;
            }
            _ => {}
        }
        self.is_dark_too_long(world)
    }

    fn end(&mut self, _: &World) -> Result<(), String> {
        Ok(())
    }
}

impl TrafficWhenReady {
    fn may_drain(&self, release: cutover_model::ReleaseNumber, world: &World) -> Result<(), String> {
        let Some(run) = world.store.open_run() else {
            return holds(Some(release) != world.store.serving(), || {
                format!("{release} serves and is drained")
            });
        };
        let (new, old, latest) = (run.plan.release, run.plan.from, self.latest);
        if Some(release) == old {
            holds(latest == Some(Step::Finish), || {
                format!("{release}, to go back to, is drained in {latest:?}")
            })?;
        }
        if release == new {
            let back = latest == Some(Step::Revert);
            // A rollback may find replicas of a run before on their way out.
            holds(back || run.plan.kind == Kind::Rollback, || format!("{release} is drained in {latest:?}"))?;
        }
        Ok(())
    }

    /// With a driver at work, calm weather and a ready replica that gets nothing, nobody may be turned away for long.
    fn is_dark_too_long(&mut self, world: &World) -> Result<(), String> {
        let could = world.host.up && !world.host.table.is_empty() && world.calm;
        let driven = world.store.open_run().is_some() && !world.drivers().is_empty();
        let dark = could && driven && world.store.serving().is_some() && world.host.shares().is_empty();
        if !dark {
            self.dark_since = None;
            return Ok(());
        }
        let since = *self.dark_since.get_or_insert(world.now());
        holds(world.now() <= since + OUTAGE, || {
            format!(
                "since {since:?} nothing serves, a ready replica gets nothing, and the run is in {:?}",
                self.latest
            )
        })
    }
}
