//! Built trees on the conductor's disk, and the commands that a team declared.

use std::collections::BTreeMap;

use cutover_model::{ReleaseNumber, run::Plan};

use super::World;
use crate::{
    fact::Fact,
    scenario::{Behaviour, Making},
};

/// Built trees by release: the commit each was made from. What is only half built is not there.
#[derive(Debug, Default)]
pub(crate) struct Artifacts(pub(crate) BTreeMap<ReleaseNumber, usize>);

impl World {
    /// What a plan's commit is like.
    pub(crate) fn making(&self, plan: &Plan) -> &Making {
        &self.repository.commits[self.repository.of(plan)]
    }

    /// What a release was built from, while its tree is there.
    pub(crate) fn built(&self, release: ReleaseNumber) -> Option<&Making> {
        self.artifacts.0.get(&release).map(|commit| &self.repository.commits[*commit])
    }

    /// How a release's replicas behave; they keep running when the tree goes.
    pub(crate) fn behaviour(&self, release: ReleaseNumber) -> Behaviour {
        let plan = self.store.plan_of(release);
        plan.map_or(Behaviour::ExitsAtOnce, |plan| self.making(plan).behaviour)
    }

    /// Puts a whole tree in place at once; one that is there stays.
    pub(crate) fn keep_artifact(&mut self, plan: &Plan) {
        let (release, commit) = (plan.release, self.repository.of(plan));
        if self.artifacts.0.insert(release, commit).is_none() {
            self.tell(Fact::Built { release });
        }
    }

    /// Removes the trees that are not to be kept, as far as a pruner may: never those above all it knows of.
    pub(crate) fn prune(&mut self, keep: &[ReleaseNumber]) {
        let newest = keep.iter().max().copied();
        let may_go = |release: &ReleaseNumber| newest.is_none_or(|newest| *release <= newest);
        let gone: Vec<_> =
            self.artifacts.0.keys().filter(|r| may_go(r) && !keep.contains(r)).copied().collect();
        for release in gone {
            self.artifacts.0.remove(&release);
            self.tell(Fact::Pruned { release });
        }
    }
}
