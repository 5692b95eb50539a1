//! Scenarios by name, in calm weather: the same each time, so that a driver can be killed at every place of them in turn.

use std::time::Duration;

use cutover_model::migration::Phase;

use crate::{
    scenario::{Approvals, Behaviour, Making, Repository, Rules, Wish},
    simulation::{Scenario, Script},
    world::FaultAt,
};

/// One of the scenarios that are run to their end from every kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// Nothing served before.
    First,
    /// r2 is good, on one replica.
    Good,
    /// r2 is good, on three replicas, with migrations of all phases.
    GoodOnThree,
    /// r2 answers with errors.
    Bad,
    /// r2 is slow.
    Slow,
    /// One of r2's migrations fails.
    FailingMigration,
    /// r2 never becomes ready.
    NeverReady,
    /// r2 ends at its start.
    ExitsAtOnce,
    /// r2 ends while it is watched.
    Dies,
    /// r2's smoke command fails.
    FailingSmoke,
    /// r2 needs somebody's approval.
    Approval,
    /// r2 is aborted while it is rolled out.
    Aborted,
    /// r2 is good, and the team returns to r1.
    Rollback,
}

impl Named {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::First,
        Self::Good,
        Self::GoodOnThree,
        Self::Bad,
        Self::Slow,
        Self::FailingMigration,
        Self::NeverReady,
        Self::ExitsAtOnce,
        Self::Dies,
        Self::FailingSmoke,
        Self::Approval,
        Self::Aborted,
        Self::Rollback,
    ];

    /// The one of that name, as `Debug` prints it.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|named| format!("{named:?}") == name)
    }

    fn second(self, repository: &mut Repository) -> Option<&mut Making> {
        let behaviour = match self {
            Self::First => return None,
            Self::Bad => Behaviour::Errors(0.5),
            Self::Slow => Behaviour::Slow(0.5),
            Self::NeverReady => Behaviour::NeverReady,
            Self::ExitsAtOnce => Behaviour::ExitsAtOnce,
            Self::Dies => Behaviour::DiesAfter(Duration::from_secs(2)),
            _ => Behaviour::Good,
        };
        let phases: &[_] = match self {
            Self::GoodOnThree => &[Phase::Expand, Phase::Expand, Phase::Backfill, Phase::Contract],
            _ => &[Phase::Expand],
        };
        Some(repository.commit(behaviour, phases))
    }

    fn rules(self) -> Rules {
        let approval = if self == Self::Approval { Approvals::AnotherPerson } else { Approvals::None };
        let replicas = match self {
            Self::Good => 1,
            Self::GoodOnThree => 3,
            _ => 2,
        };
        Rules { approval, replicas, ..Rules::default() }
    }
}

impl Scenario {
    /// A scenario by its name, with these faults.
    pub fn exact(named: Named, faults: Vec<FaultAt>) -> Self {
        let mut repository = Repository::default();
        repository.commit(Behaviour::Good, &[Phase::Expand]);
        let mut wishes = vec![Wish::Release(0)];
        if let Some(making) = named.second(&mut repository) {
            wishes.push(Wish::Release(1));
            making.smoke_fails = named == Named::FailingSmoke;
            if named == Named::FailingMigration {
                making.failing = making.folder.last().map(|(id, _)| id.clone());
            }
        }
        if named == Named::Rollback {
            wishes.push(Wish::Rollback);
        }
        // In the middle of the second release's rollout.
        let abort_after = (named == Named::Aborted).then_some(27);
        Self {
            name: format!(
                "--scenario {named:?}{}",
                faults.iter().map(|c| format!(" --fault {c}")).collect::<String>()
            ),
            seed: 1,
            repository,
            rules: named.rules(),
            wishes,
            script: Script::Exact { faults, kill_at_poll: None, abort_after },
            sabotage: None,
            whole_trace: false,
        }
    }
}
