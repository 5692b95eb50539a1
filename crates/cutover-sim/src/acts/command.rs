//! What `cutover release`, `rollback` and `release --resume` do: take the lease, take the open run to its end, plan, drive.

use cutover_conductor::{
    drive::{Driver, Left, Patience},
    history::History,
    planning,
    ports::{Journal, JournalError, Ports},
};
use cutover_model::{
    config::Settings,
    migration::MigrationId,
    run::{Commit, Identity, Plan},
};

use crate::{fact::Pid, ports::Fake, scenario::Wish, world::Shared};

/// One command as somebody typed it.
#[derive(Debug, Clone)]
pub(crate) struct Command {
    pub(crate) wish: Wish,
    pub(crate) patience: Patience,
    pub(crate) settings: Settings,
    pub(crate) by: Identity,
}

/// Starts its process.
pub(crate) fn start(shared: &Shared, command: &Command) -> Pid {
    let (inner, typed) = (shared.clone(), command.clone());
    shared.start(format!("{:?} by {} ({:?})", command.wish, command.by, command.patience), |pid| async move {
        match typed.run(&Fake::of(&inner, pid), &inner).await {
            Ok(how) => how,
            Err(error) => format!("error: {error}"),
        }
    })
}

impl Command {
    async fn run(&self, fake: &Fake, shared: &Shared) -> Result<String, JournalError> {
        let (ports, environment) = (fake.ports(), &self.settings.environment);
        let lease = ports.journal.lease(environment, &self.by).await?;
        if let Some(mut driver) = Driver::resume(ports, lease.as_ref(), &self.by, environment).await? {
            let left = driver.drive(self.patience).await?;
            if self.wish == Wish::Resume || matches!(left, Left::Waiting(_)) {
                return Ok(format!("{left:?}"));
            }
        }
        let plan = match self.plan(&ports, shared).await? {
            Ok(plan) => plan,
            Err(why) => return Ok(format!("no plan: {why}")),
        };
        let mut driver = Driver::begin(ports, lease.as_ref(), &self.by, &plan).await?;
        driver.drive(self.patience).await.map(|left| format!("{left:?}"))
    }

    async fn plan(&self, ports: &Ports<'_>, shared: &Shared) -> Result<Result<Plan, String>, JournalError> {
        let history = History::read(ports.journal, &self.settings.environment).await?;
        let plan = match self.wish {
            Wish::Resume => return Ok(Err("no run is open".into())),
            Wish::Release(commit) => {
                let commit: Commit = shared.world().repository.named(commit);
                planning::release(&history, None, self.settings.clone(), commit, self.by.clone())
            }
            Wish::Rollback => planning::rollback(&history, None, &contracted(shared), self.by.clone()),
        };
        Ok(plan.map_err(|why| why.to_string()).and_then(|plan| {
            let kept = self.wish != Wish::Rollback || shared.world().built(plan.release).is_some();
            if kept { Ok(plan) } else { Err(format!("{} is not kept any more", plan.release)) }
        }))
    }
}

fn contracted(shared: &Shared) -> Vec<MigrationId> {
    let world = shared.world();
    world.database.ledger.iter().filter(|id| id.to_string().ends_with("contract")).cloned().collect()
}

/// Says something to the open run, as `cutover approve` and `cutover abort` do.
pub(crate) fn say(shared: &Shared, event: cutover_model::run::Event) -> Pid {
    let inner = shared.clone();
    shared.start(format!("say {event:?}"), |pid| async move {
        let fake = Fake::of(&inner, pid);
        let environment = "production".parse().expect("a plain name");
        let journal: &dyn Journal = &fake;
        match cutover_conductor::drive::say(journal, &environment, 0, &event).await {
            Ok(run) => format!("said to {}", run.number),
            Err(error) => format!("error: {error}"),
        }
    })
}
