//! Rule 2.

use cutover_model::{
    fleet::Generation,
    migration::Phase,
    run::{Event, Outcome},
};

use super::{Rule, SCHEMA_FIRST, holds};
use crate::{
    fact::{Change, Fact},
    world::World,
};

/// **Schema before code.** No replica of a release starts before the release's expand migrations are in the ledger. A failed
/// migration halts the run with the old release untouched and still serving.
#[derive(Debug, Default)]
pub(crate) struct SchemaFirst {
    /// What the host held when the open run began.
    held: Option<Generation>,
}

impl Rule for SchemaFirst {
    fn name(&self) -> &'static str {
        SCHEMA_FIRST
    }

    fn see(&mut self, fact: &Fact, world: &World) -> Result<(), String> {
        match fact {
            Fact::Replica { release, what: Change::Starts, id } => {
                let plan =
                    world.store.plan_of(*release).ok_or("a replica of a release that nobody planned")?;
                let mut expand =
                    world.making(plan).folder.iter().filter(|(_, phase)| *phase == Phase::Expand);
                let missing = expand.find(|(id, _)| !world.database.ledger.contains(id));
                holds(missing.is_none(), || {
                    format!("{release}-{id} starts and {} is not in the ledger", missing.expect("checked").0)
                })
            }
            Fact::Recorded { record, .. } => match &record.event {
                Event::Planned { .. } => {
                    self.held = world.host.held;
                    Ok(())
                }
                Event::Ended { outcome: Outcome::Stopped { .. } } => {
                    let run = world.store.runs.last().ok_or("the end of no run")?;
                    let new = run.plan.release;
                    holds(world.host.held == self.held, || {
                        format!("{} stopped before any replica, and the fleet was changed", run.number)
                    })?;
                    let rollback = run.plan.kind == cutover_model::run::Kind::Rollback;
                    holds(rollback || world.host.existing(new) == 0, || format!("{new} was stopped and runs"))
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn end(&mut self, _: &World) -> Result<(), String> {
        Ok(())
    }
}
