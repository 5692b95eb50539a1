//! What the commands that drive a run share: the real ports, the lease, a driver until its end or an interruption, and the
//! last word to the person.

use std::{collections::BTreeMap, sync::Arc};

use cutover_conductor::{
    artifact::Workshop,
    drive::{Driver, Left, Patience},
    journal::SqliteJournal,
    ports::{Lease, Ports},
};
use cutover_model::{
    EnvironmentName, ReleaseNumber, RunNumber,
    run::{Cause, Identity, Outcome, Plan, Run},
};
use cutover_targets::host::HostTarget;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use super::migrate::FolderMigrations;
use crate::{
    args::{Global, Json},
    clock::MachineClock,
    failure::{Failure, Kind},
    progress::{self, Screen},
    project::Project,
    say,
};

/// The ports of one command, and what it needs beside them.
pub(super) struct Session {
    pub(super) project: Project,
    pub(super) me: Identity,
    pub(super) journal: SqliteJournal,
    workshop: Workshop,
    target: HostTarget,
    migrations: FolderMigrations,
    clock: MachineClock,
    pub(super) screen: Arc<Screen>,
    json: Option<Json>,
}

impl Session {
    /// Reads the description and opens the journal, making the state directory where there is none.
    pub(super) async fn open(global: &Global) -> Result<Self, Failure> {
        let project = Project::load(global)?;
        project.make_state()?;
        let me = cutover_conductor::artifact::identity(&project.root);
        let screen = Arc::new(Screen::new(global));
        let watcher = {
            let screen = screen.clone();
            Arc::new(move |command: &str, line: &str| screen.output(command, line))
        };
        Ok(Self {
            journal: SqliteJournal::open(&project.state).await?,
            workshop: Workshop::new(&project.root, &project.state).watched_by(watcher),
            target: HostTarget::new(&project.socket),
            migrations: FolderMigrations::new(me.clone()),
            clock: MachineClock::new(),
            screen,
            json: global.json,
            me,
            project,
        })
    }

    /// The ports, for a driver.
    pub(super) fn ports(&self) -> Ports<'_> {
        Ports {
            target: &self.target,
            metrics: &self.target,
            migrations: &self.migrations,
            commands: &self.workshop,
            journal: &self.journal,
            clock: &self.clock,
            notify: self.screen.as_ref(),
        }
    }

    /// Says something beside the run's events, to a person only.
    pub(super) fn remark(&self, text: &str) {
        self.screen.remark(text);
    }

    /// The newest release of an environment that has an artifact.
    pub(super) fn kept(&self, environment: &EnvironmentName) -> Result<Option<ReleaseNumber>, Failure> {
        Ok(self.workshop.releases(environment)?.last().map(|kept| kept.release))
    }

    /// The right to drive an environment.
    pub(super) async fn lease(&self, environment: &EnvironmentName) -> Result<Box<dyn Lease>, Failure> {
        use cutover_conductor::ports::Journal;
        Ok(self.journal.lease(environment, &self.me).await?)
    }

    /// Begins a run, drives it and tells how it ended.
    pub(super) async fn begin(
        &self,
        lease: &dyn Lease,
        plan: &Plan,
        patience: Patience,
    ) -> Result<(), Failure> {
        let driver = Driver::begin(self.ports(), lease, &self.me, plan).await?;
        let (run, outcome) = self.drive(driver, patience).await?;
        self.ended(&run, &outcome)
    }

    /// Goes on with the open run, if there is one, and tells how it ended.
    pub(super) async fn resume(
        &self,
        lease: &dyn Lease,
        environment: &EnvironmentName,
        patience: Patience,
    ) -> Result<bool, Failure> {
        let Some(driver) = Driver::resume(self.ports(), lease, &self.me, environment).await? else {
            return Ok(false);
        };
        if self.json.is_none() {
            say::note(&format!(
                "going on with {}: {}",
                driver.run().number,
                progress::headline(&driver.run().plan)
            ));
        }
        let (run, outcome) = self.drive(driver, patience).await?;
        self.ended(&run, &outcome).map(|()| true)
    }

    /// Drives a run to its end.
    ///
    /// # Errors
    /// Also where it waits, or was interrupted.
    pub(super) async fn drive(
        &self,
        mut driver: Driver<'_>,
        patience: Patience,
    ) -> Result<(Run, Outcome), Failure> {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let left = tokio::select! {
            left = driver.drive(patience) => Some(left?),
            _ = interrupt.recv() => None,
            _ = terminate.recv() => None,
        };
        let run = driver.run().clone();
        let environment = &run.plan.settings.environment;
        match left {
            Some(Left::Ended(outcome)) => Ok((run, outcome)),
            Some(Left::Waiting(what)) => {
                Err(still_open(&run, Failure::new(Kind::Interrupted, format!("{} waits", run.number)))
                    .help(progress::waiting(what).replace("ENVIRONMENT", environment.as_str())))
            }
            None => Err(still_open(
                &run,
                Failure::new(Kind::Interrupted, format!("{} was interrupted", run.number)),
            )
            .help(format!(
                "`cutover release {environment} --resume` goes on, `cutover abort {environment}` goes back"
            ))),
        }
    }

    fn ended(&self, run: &Run, outcome: &Outcome) -> Result<(), Failure> {
        let text = progress::outcome(&run.plan, outcome);
        let document = RunResult {
            run: run.number,
            release: run.plan.release,
            serving: if *outcome == Outcome::Done { Some(run.plan.release) } else { run.plan.from },
            outcome,
            seconds: self.screen.seconds(),
        };
        say::result(self.json, &document, || text.clone());
        let Some(cause) = outcome.cause() else { return Ok(()) };
        let kind = if matches!(cause, Cause::Refused { .. }) { Kind::Refused } else { Kind::Failed };
        let failure = Failure::new(kind, format!("{} of {} did not succeed", run.number, run.plan.release))
            .documented();
        let failure = match run.plan.from {
            Some(from) => failure.fact(format!("{from} serves, as before")),
            None => failure.fact("nothing serves"),
        };
        let environment = &run.plan.settings.environment;
        Err(failure.help(match cause {
            Cause::Broken { help, .. } | Cause::Refused { help, .. } => help.clone(),
            Cause::Bad { .. } => {
                format!("mend the release, commit, and run `cutover release {environment}` again")
            }
            Cause::Aborted { .. } => format!("`cutover release {environment}` begins again"),
        }))
    }
}

fn still_open(run: &Run, failure: Failure) -> Failure {
    let release = run.plan.release;
    match (run.plan.from, run.state.advanced) {
        (Some(from), false) => failure.fact(format!("{from} serves; {release} has no replica yet")),
        (Some(from), true) => {
            failure.fact(format!("{from} and {release} are both running, and traffic goes on as it was"))
        }
        (None, _) => failure.fact("nothing served before this release"),
    }
}

/// What a command that drove a run prints with `--json`.
#[derive(Debug, Serialize)]
struct RunResult<'a> {
    run: RunNumber,
    release: ReleaseNumber,
    /// The release that serves now; null where none does.
    serving: Option<ReleaseNumber>,
    outcome: &'a Outcome,
    /// What each step took, by its name.
    seconds: BTreeMap<String, f64>,
}
