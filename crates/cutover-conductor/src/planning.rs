//! Makes plans: from what is described and what happened before to what shall happen. Reads the journal, changes nothing.

use cutover_model::{
    ReleaseNumber, RunNumber,
    config::Settings,
    id::GitSha,
    migration::{Floor, MigrationId, ReleasedWith, floor},
    run::{Commit, Identity, Kind, Plan},
};

use crate::history::History;

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPlan {
    /// An earlier run has to end first.
    #[error("{run} of {release} has not ended")]
    Open {
        /// That run.
        run: RunNumber,
        /// What it is about.
        release: ReleaseNumber,
        /// The commit of that release.
        sha: GitSha,
    },
    /// There is nothing to do: the release serves already.
    #[error("{release} serves already")]
    Serving {
        /// Which.
        release: ReleaseNumber,
    },
    /// Nothing serves, or nothing served before what serves now.
    #[error("there is no earlier release to return to")]
    NothingEarlier,
    /// It never served, so nobody knows whether it works.
    #[error("{release} never served")]
    NeverServed {
        /// Which.
        release: ReleaseNumber,
    },
    /// The schema has moved on from what it needs.
    #[error("{release} can't run on the present schema: {}", floor_text(*.floor))]
    BelowFloor {
        /// Which.
        release: ReleaseNumber,
        /// The oldest that can.
        floor: Floor,
    },
}

fn floor_text(floor: Floor) -> String {
    match floor {
        Floor::None => "any release may be returned to".into(),
        Floor::At(release) => {
            format!("a contract migration was applied that releases before {release} can't live with")
        }
        Floor::AboveAll => "a contract migration was applied that no earlier release can live with".into(),
    }
}

/// Plans a new release of a commit. `kept` is the newest release that has an artifact: where the journal was mended, a number
/// may be taken of which it knows nothing.
///
/// # Errors
/// [`NoPlan::Open`], or [`NoPlan::Serving`] where that very commit serves.
pub fn release(
    history: &History,
    kept: Option<ReleaseNumber>,
    settings: Settings,
    commit: Commit,
    by: Identity,
) -> Result<Plan, NoPlan> {
    none_open(history)?;
    let from = history.serving();
    let serving = from.and_then(|release| history.release_plan(release));
    if let Some(serving) = serving.filter(|plan| plan.commit.sha == commit.sha && plan.settings == settings) {
        return Err(NoPlan::Serving { release: serving.release });
    }
    let release = kept.map_or(history.next_release(), |kept| history.next_release().max(kept.next()));
    Ok(Plan { kind: Kind::Release, release, from, commit, by, settings })
}

/// Plans a return to an earlier release: the given one, else the one that served before. `contracted` are the contract
/// migrations that the database's ledger has.
///
/// # Errors
/// Every other [`NoPlan`].
pub fn rollback(
    history: &History,
    to: Option<ReleaseNumber>,
    contracted: &[MigrationId],
    by: Identity,
) -> Result<Plan, NoPlan> {
    none_open(history)?;
    let served = history.served();
    let from = *served.first().ok_or(NoPlan::NothingEarlier)?;
    let release = match to {
        Some(release) => release,
        // "Before" by number: after a rollback from r3 to r2, going back again means r1, not r3.
        None => {
            served.iter().copied().filter(|release| *release < from).max().ok_or(NoPlan::NothingEarlier)?
        }
    };
    if release == from {
        return Err(NoPlan::Serving { release });
    }
    let target = history.release_plan(release).filter(|_| served.contains(&release));
    let target = target.ok_or(NoPlan::NeverServed { release })?;
    let releases: Vec<ReleasedWith> = served
        .iter()
        .map(|release| ReleasedWith { release: *release, migrations: history.migrations_of(*release) })
        .collect();
    let floor = floor(&releases, contracted);
    if !floor.allows(release) {
        return Err(NoPlan::BelowFloor { release, floor });
    }
    Ok(Plan {
        kind: Kind::Rollback,
        release,
        from: Some(from),
        commit: target.commit.clone(),
        by,
        settings: target.settings.clone(),
    })
}

fn none_open(history: &History) -> Result<(), NoPlan> {
    match history.open_run() {
        None => Ok(()),
        Some(run) => {
            Err(NoPlan::Open { run: run.number, release: run.plan.release, sha: run.plan.commit.sha.clone() })
        }
    }
}
