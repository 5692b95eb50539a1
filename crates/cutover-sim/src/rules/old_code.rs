//! Rule 3.

use std::collections::BTreeSet;

use cutover_model::{
    ReleaseNumber,
    migration::{Phase, ReleasedWith, floor, needed_by},
    run::{Event, Kind},
};

use super::{OLD_CODE, Rule, holds};
use crate::{fact::Fact, world::World};

/// **Old code survives the window.** A contract migration runs only when no live replica, and no release the team may still
/// roll back to, needs what it removes.
#[derive(Debug)]
pub(crate) struct OldCode;

impl Rule for OldCode {
    fn name(&self) -> &'static str {
        OLD_CODE
    }

    fn see(&mut self, fact: &Fact, world: &World) -> Result<(), String> {
        match fact {
            Fact::Applied { migration, phase: Phase::Contract, .. } => {
                let mut needed: BTreeSet<_> =
                    world.host.replicas.values().map(|replica| replica.release).collect();
                needed.extend(world.artifacts.0.keys().filter(|release| served(world, **release)));
                let needed: Vec<_> = needed.into_iter().map(|release| released(world, release)).collect();
                let by = needed_by(migration, &needed);
                holds(by.is_empty(), || format!("{migration} was applied while {by:?} need what it removes"))
            }
            Fact::Recorded { record, .. } => {
                let Event::Planned { plan } = &record.event else { return Ok(()) };
                if plan.kind != Kind::Rollback {
                    return Ok(());
                }
                let releases: Vec<_> =
                    world.store.runs.iter().map(|run| released(world, run.plan.release)).collect();
                let contracts =
                    world.database.ledger.iter().filter(|id| id.to_string().ends_with("contract"));
                let floor = floor(&releases, contracts);
                holds(floor.allows(plan.release), || {
                    format!("a rollback to {} below the floor {floor:?}", plan.release)
                })
            }
            _ => Ok(()),
        }
    }

    fn end(&mut self, _: &World) -> Result<(), String> {
        Ok(())
    }
}

fn served(world: &World, release: ReleaseNumber) -> bool {
    world
        .store
        .runs
        .iter()
        .any(|run| run.plan.release == release && run.state.ended == Some(cutover_model::run::Outcome::Done))
}

fn released(world: &World, release: ReleaseNumber) -> ReleasedWith {
    let making = world.store.plan_of(release).map(|plan| world.making(plan));
    let migrations = making.iter().flat_map(|making| &making.folder).map(|(id, _)| id.clone()).collect();
    ReleasedWith { release, migrations }
}
