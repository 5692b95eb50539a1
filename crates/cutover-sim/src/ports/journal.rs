//! The journal's client: its messages may fail, and with them the driver has to stop.

use async_trait::async_trait;
use cutover_conductor::ports::{Journal, JournalError, Lease};
use cutover_model::{
    EnvironmentName, RunNumber,
    run::{Event, Identity, Plan, Record, Seq},
};

use super::Fake;
use crate::{
    fact::Fact,
    weather::{Line, Lost},
    world::Writer,
};

/// Given back when it is dropped by a living process; the world sees to the others.
#[derive(Debug)]
struct FakeLease {
    of: Fake,
    fence: u64,
}

impl Lease for FakeLease {
    fn fence(&self) -> u64 {
        self.fence
    }
}

impl Drop for FakeLease {
    fn drop(&mut self) {
        let mut world = self.of.shared.world();
        if world.alive(self.of.pid) {
            world.release_lease(self.of.pid);
        }
    }
}

impl From<Lost> for JournalError {
    fn from(_: Lost) -> Self {
        Self::Unusable { place: "journal.db".into(), source: "no answer".into() }
    }
}

impl Fake {
    fn writer(&self, lease: Option<&dyn Lease>) -> Writer {
        Writer { pid: self.pid, fence: lease.map(Lease::fence), sent: self.shared.kernel.now() }
    }

    /// Tells of a refusal, and passes it on.
    fn told<T>(&self, driving: bool, answer: Result<T, JournalError>) -> Result<T, JournalError> {
        if let Err(error) = &answer {
            let final_ = !matches!(error, JournalError::Behind);
            let fact = Fact::JournalRefused { by: self.pid, driving, why: error.to_string(), final_ };
            self.shared.world().tell(fact);
        }
        answer
    }

    async fn stored<T: Send + 'static>(
        &self,
        effect: impl FnOnce(&mut crate::world::World) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        {
            let mut world = self.shared.world();
            let rough = world.weather.journal;
            if world.chance(rough) {
                if world.rng.bool() {
                    world.store.lose_next_answer = true;
                } else {
                    return Err(Lost.into());
                }
            }
        }
        self.shared.ask(Line::Journal, effect).await?
    }
}

#[async_trait]
impl Journal for Fake {
    async fn lease(&self, _: &EnvironmentName, _: &Identity) -> Result<Box<dyn Lease>, JournalError> {
        let pid = self.pid;
        let taken = self.shared.ask(Line::Journal, move |world| world.take_lease(pid)).await;
        let fence = taken.map_err(JournalError::from).flatten()?;
        Ok(Box::new(FakeLease { of: self.clone(), fence }))
    }

    async fn begin(&self, lease: &dyn Lease, at_ms: i64, plan: &Plan) -> Result<Record, JournalError> {
        let (writer, plan) = (self.writer(Some(lease)), plan.clone());
        let begun = self.stored(move |world| world.begin_run(writer, at_ms, &plan)).await;
        self.told(true, begun)
    }

    async fn append(
        &self,
        lease: Option<&dyn Lease>,
        run: RunNumber,
        _: &EnvironmentName,
        after: Seq,
        at_ms: i64,
        event: &Event,
    ) -> Result<Record, JournalError> {
        let (writer, event) = (self.writer(lease), event.clone());
        let appended = self.stored(move |world| world.append(writer, run, after, at_ms, &event)).await;
        self.told(lease.is_some(), appended)
    }

    async fn events(
        &self,
        _: &EnvironmentName,
        run: RunNumber,
        after: Seq,
    ) -> Result<Vec<Record>, JournalError> {
        let read =
            move |world: &mut crate::world::World| world.usable().map(|()| world.store.events(run, after));
        self.shared.ask(Line::Journal, read).await?
    }

    async fn runs(&self, _: &EnvironmentName) -> Result<Vec<RunNumber>, JournalError> {
        self.shared
            .ask(Line::Journal, |world| {
                world.usable().map(|()| world.store.runs.iter().map(|run| run.number).collect())
            })
            .await?
    }
}
