//! A migration runner: session, lock, ledger, one transaction each. Placed by the production rule, applied to a fake database.

use std::{collections::BTreeSet, path::Path, time::Duration};

use async_trait::async_trait;
use cutover_conductor::ports::{Migrations, PortError};
use cutover_model::{
    migration::{DecidedBy, MigrationId, Phase, PhaseReading, place},
    run::{Note, Plan},
};

use super::Fake;
use crate::{
    fact::Call,
    sabotage::Sabotage,
    scenario::Making,
    weather::{Line, Lost},
    world::NotApplied,
};

const LOCK_WAIT: Duration = Duration::from_secs(120);

#[async_trait]
impl Migrations for Fake {
    async fn expand(
        &self,
        plan: &Plan,
        tree: &Path,
        live: &BTreeSet<MigrationId>,
    ) -> Result<Note, PortError> {
        let mishap = self.called(plan.release, Call::Expand);
        self.check_arguments(plan, tree, live);
        self.with_mishap(mishap, self.migrate(plan, live)).await
    }
}

impl Fake {
    /// Stricter than a real runner: it knows what the driver should have said.
    fn check_arguments(&self, plan: &Plan, tree: &Path, live: &BTreeSet<MigrationId>) {
        let mut world = self.shared.world();
        let serving = plan.from.and_then(|from| world.store.plan_of(from)).map(|plan| world.making(plan));
        let folder: BTreeSet<_> =
            serving.iter().flat_map(|making| &making.folder).map(|(id, _)| id.clone()).collect();
        if *live != folder {
            let why = format!("the release that serves brought {folder:?}, and the runner was told {live:?}");
            world.violate(crate::rules::OLD_CODE, why);
        }
        // A driver that was replaced may come when its run is long over and the tree gone.
        let open = world.store.open_run().is_some_and(|run| run.plan.release == plan.release);
        if open && world.built(plan.release).is_none() {
            world
                .violate(crate::rules::ARTIFACTS, format!("{} is migrated without its tree", tree.display()));
        }
    }

    async fn migrate(&self, plan: &Plan, live: &BTreeSet<MigrationId>) -> Result<Note, PortError> {
        let pid = self.pid;
        if self.shared.world().built(plan.release).is_none() {
            return Err(self.broken("the release's folder is not there"));
        }
        let session = self.shared.ask(Line::Database, move |world| world.connect(pid)).await?;
        let migrated = self.in_session(session, plan, live).await;
        // Says goodbye if it can; else the server notices by itself.
        let closed = self.shared.ask(Line::Database, move |world| world.close_session(session)).await;
        if closed.is_err() {
            self.shared.world().connections_break(pid);
        }
        migrated
    }

    async fn in_session(
        &self,
        session: u64,
        plan: &Plan,
        live: &BTreeSet<MigrationId>,
    ) -> Result<Note, PortError> {
        self.locked(session).await?;
        let making = self.commit(plan);
        let ledger = self.shared.ask(Line::Database, |world| world.database.ledger.clone()).await?;
        let readings: Vec<_> = making
            .folder
            .iter()
            .filter(|(id, _)| !ledger.contains(id))
            .map(|(id, phase)| (id.clone(), PhaseReading::Clear { phase: *phase, by: DecidedBy::Header }))
            .collect();
        let placed =
            place(readings.iter().map(|(id, reading)| (id, reading)), |id| live.contains(id)).map_err(
                |why| PortError::Refused { message: why.to_string(), help: "split the release".into() },
            )?;
        let (mut apply, held) =
            (placed.expand.clone(), [placed.backfill, placed.contract, placed.carried].concat());
        if self.shared.world().is_sabotaged(Sabotage::ContractsApplied) {
            apply.extend(held.iter().cloned());
        }
        for id in &apply {
            self.apply_one(session, id, &making).await?;
        }
        let folder = making.folder.into_iter().map(|(id, _)| id).collect();
        Ok(Note::Migrated { applied: placed.expand, held, folder })
    }

    async fn locked(&self, session: u64) -> Result<(), PortError> {
        let until = self.shared.kernel.now() + LOCK_WAIT;
        loop {
            match self.shared.ask(Line::Database, move |world| world.try_lock(session)).await? {
                Ok(true) => return Ok(()),
                Ok(false) if self.shared.kernel.now() < until => {}
                Ok(false) => {
                    return Err(PortError::Refused {
                        message: "another runner is migrating".into(),
                        help: "wait for it to end".into(),
                    });
                }
                Err(_) => return Err(gone()),
            }
            self.shared.pass(200, 300).await;
        }
    }

    async fn apply_one(&self, session: u64, id: &MigrationId, making: &Making) -> Result<(), PortError> {
        let phase =
            making.folder.iter().find(|(known, _)| known == id).map_or(Phase::Expand, |(_, phase)| *phase);
        let fails = making.failing.as_ref() == Some(id);
        self.shared.pass(20, 1500).await;
        let breaks = {
            let mut world = self.shared.world();
            if world.is_sabotaged(Sabotage::MigrationsNotApplied) {
                return Ok(());
            }
            let rough = world.weather.session;
            world.chance(rough).then(|| world.rng.bool())
        };
        if breaks == Some(false) {
            self.shared.world().close_session(session);
            return Err(gone());
        }
        let id = id.clone();
        let named = id.to_string();
        let applied =
            self.shared.ask(Line::Database, move |world| world.apply(session, &id, phase, fails)).await;
        if breaks == Some(true) {
            self.shared.world().close_session(session);
            return Err(gone());
        }
        match applied {
            Ok(Ok(())) => Ok(()),
            Ok(Err(NotApplied::Failed)) => {
                Err(self.broken(&format!("migration {named} failed and was undone")))
            }
            Ok(Err(NotApplied::Gone)) | Err(Lost) => Err(gone()),
        }
    }
}

fn gone() -> PortError {
    PortError::Unreachable("the database closed the connection".into())
}
