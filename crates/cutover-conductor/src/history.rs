//! What happened before, read from the journal: which release serves, which may be returned to, what number comes next.

use std::collections::BTreeSet;

use cutover_model::{
    EnvironmentName, ReleaseNumber, RunNumber,
    migration::MigrationId,
    run::{Kind, Note, Outcome, Plan, Run, Seq},
};

use crate::ports::{Journal, JournalError};

/// Every run of one environment, oldest first.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// As the journal tells them.
    pub runs: Vec<Run>,
}

impl History {
    /// Reads and replays an environment's runs.
    ///
    /// # Errors
    /// Whatever the journal says; [`JournalError::Illegal`] for a run that can't have happened.
    pub async fn read(journal: &dyn Journal, environment: &EnvironmentName) -> Result<Self, JournalError> {
        let mut runs = Vec::new();
        for number in journal.runs(environment).await? {
            runs.push(read_run(journal, environment, number).await?);
        }
        Ok(Self { runs })
    }

    /// The run that has not ended, if there is one. It is always the newest.
    pub fn open_run(&self) -> Option<&Run> {
        self.runs.last().filter(|run| run.state.ended.is_none())
    }

    /// The release that serves once no run is open: that of the newest run which did what it was for.
    pub fn serving(&self) -> Option<ReleaseNumber> {
        self.done().next_back().map(|run| run.plan.release)
    }

    /// The number of the next new release. Numbers of releases that failed are not given again.
    pub fn next_release(&self) -> ReleaseNumber {
        let newest = self.runs.iter().map(|run| run.plan.release).max();
        newest.map_or(ReleaseNumber::FIRST, ReleaseNumber::next)
    }

    /// The plan by which a release was made.
    pub fn release_plan(&self, release: ReleaseNumber) -> Option<&Plan> {
        let made = |run: &&Run| run.plan.kind == Kind::Release && run.plan.release == release;
        self.runs.iter().find(made).map(|run| &run.plan)
    }

    /// The migrations in a release's folder; empty for one that got no further than its build.
    pub fn migrations_of(&self, release: ReleaseNumber) -> BTreeSet<MigrationId> {
        let run = self.runs.iter().find(|run| run.plan.kind == Kind::Release && run.plan.release == release);
        match run.and_then(|run| run.state.migrated.as_ref()) {
            Some(Note::Migrated { folder, .. }) => folder.iter().cloned().collect(),
            _ => BTreeSet::new(),
        }
    }

    /// Releases that served at some time, newest run first, without repetition.
    pub fn served(&self) -> Vec<ReleaseNumber> {
        let mut releases = Vec::new();
        for run in self.done().rev() {
            if !releases.contains(&run.plan.release) {
                releases.push(run.plan.release);
            }
        }
        releases
    }

    fn done(&self) -> impl DoubleEndedIterator<Item = &Run> {
        self.runs.iter().filter(|run| run.state.ended == Some(Outcome::Done))
    }
}

/// Reads and replays one run.
///
/// # Errors
/// Whatever the journal says; [`JournalError::Illegal`] for a run that can't have happened.
pub async fn read_run(
    journal: &dyn Journal,
    environment: &EnvironmentName,
    number: RunNumber,
) -> Result<Run, JournalError> {
    Ok(Run::replay(&journal.events(environment, number, Seq(0)).await?)?)
}
