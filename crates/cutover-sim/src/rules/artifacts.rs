//! Of the word "artifact": built once, never changed after, kept for an instant rollback.

use super::{ARTIFACTS, Rule, holds};
use crate::{
    fact::{Change, Fact},
    world::World,
};

/// **What runs, or may run, is there.** A replica starts only from its release's whole tree, and the tree of the release that
/// serves, or that an open run would go back to, is never removed.
#[derive(Debug)]
pub(crate) struct ArtifactsAreThere;

impl Rule for ArtifactsAreThere {
    fn name(&self) -> &'static str {
        ARTIFACTS
    }

    fn see(&mut self, fact: &Fact, world: &World) -> Result<(), String> {
        match fact {
            Fact::Replica { id, release, what: Change::Starts } => {
                holds(world.built(*release).is_some(), || format!("{release}-{id} starts without its tree"))
            }
            Fact::Pruned { release } => {
                let run = world.store.open_run();
                let needed =
                    run.is_some_and(|run| run.plan.release == *release || run.plan.from == Some(*release));
                holds(!needed && world.store.serving() != Some(*release), || {
                    format!("the tree of {release} is removed and still needed")
                })
            }
            _ => Ok(()),
        }
    }

    fn end(&mut self, _: &World) -> Result<(), String> {
        Ok(())
    }
}
