//! How a fleet does what was decided: state first, effects after the gate has the routes that follow.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use cutover_model::{ReleaseNumber, redact::Redactor};
use rustix::process::Signal;
use tokio::task::spawn_blocking;

use super::{Body, Fleet};
use crate::{
    attempt::{self, Attempt, Happening, Reporter},
    converge::{Action, Cause},
    front,
    output::Log,
    probe,
    process::{self, Process},
    replica::{Patience, Phase, Replica, ReplicaId},
    state::{Record, StateError},
    variables,
};

/// What an action asks of the world outside the fleet's task.
pub(super) enum Effect {
    Launch(ReplicaId),
    AwaitDrained(ReplicaId),
    Stop(ReplicaId),
    Kill(ReplicaId),
}

impl Fleet {
    /// The part of an action that is state; what it asks beyond that.
    pub(super) fn change(&mut self, action: &Action, now: Instant) -> Option<Effect> {
        match action {
            Action::Start(release) => self.add(*release).map(Effect::Launch),
            Action::Relaunch(id) => {
                self.renew(id);
                Some(Effect::Launch(id.clone()))
            }
            Action::Remove(id) => {
                self.remove(id);
                None
            }
            Action::Leave(id) => {
                self.with(id, |replica| replica.leave(now));
                self.save(id, |record| record.leaving = true);
                Some(Effect::AwaitDrained(id.clone()))
            }
            Action::Keep(id) => {
                self.with(id, Replica::keep);
                self.save(id, |record| record.leaving = false);
                None
            }
            Action::Terminate(id, cause) => {
                self.terminate(id, *cause, now);
                Some(Effect::Stop(id.clone()))
            }
            Action::Kill(id) => {
                self.with(id, Replica::kill);
                Some(Effect::Kill(id.clone()))
            }
        }
    }

    /// The part of an action that reaches beyond this task.
    pub(super) fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Launch(id) => self.launch(&id),
            Effect::AwaitDrained(id) => self.await_drained(&id),
            Effect::Stop(id) => {
                if let (Some(body), Some(record)) = (self.bodies.get_mut(&id), self.records.get(&id)) {
                    body.stop_probing();
                    self.front.cut(&front::upstream(&id, record.attempt));
                }
                self.signal(id, Signal::TERM);
            }
            Effect::Kill(id) => self.signal(id, Signal::KILL),
        }
    }

    /// Takes over what an earlier host has recorded.
    pub(super) fn adopt(&mut self, mut record: Record, line: Option<Vec<u8>>) -> Result<(), StateError> {
        let id = record.id.clone();
        let unreadable = |cause| StateError::Unreadable { path: "/proc".into(), cause };
        let process = match &record.identity {
            _ if record.boot_id != self.boot_id => None,
            Some(identity) => Process::adopt(identity).map_err(unreadable)?,
            None => Process::find(&id).map_err(unreadable)?,
        };
        let same_boot = record.boot_id == self.boot_id;
        let mut replica = Replica::new(record.release, Patience::of(&record.run));
        (replica.leaving, replica.adopted) = (record.leaving, true);
        let mut body = Body::new(Log::new(self.files.log(&id)));
        let Some(process) = process else {
            // The host before may have died before it had ended what the replica left behind.
            let strays = if same_boot { process::kill_strays(&id).map_err(unreadable)? } else { 0 };
            tracing::info!(replica = %id, strays, "its process is gone");
            if record.leaving || !same_boot || record.identity.is_none() {
                self.forget(&id);
                return Ok(());
            }
            let reason =
                attempt::with_last_output("it ended while no host was there to see how", &self.files, &id);
            let _ = replica.ended(reason, random_part(), Instant::now());
            self.insert(record, replica, body);
            return Ok(());
        };
        replica.launched(Instant::now());
        let secrets = variables::secrets_of_running(&record.run, process.identity().pid);
        body.log.set_redactor(Redactor::new(&secrets));
        match line {
            Some(line) => body.log.resume(line),
            None => body.log.resume_torn(secrets),
        }
        body.process = Some(process.clone());
        tracing::info!(replica = %id, pid = process.identity().pid, "adopted");
        let found = record.identity.replace(process.identity().clone()).is_none();
        let attempt = Attempt {
            record: record.clone(),
            files: self.files.clone(),
            log: Arc::clone(&body.log),
            report: self.reporter(&record),
        };
        tokio::spawn(attempt.adopt(process));
        self.insert(record, replica, body);
        self.unheard.insert(id.clone());
        if found {
            self.save(&id, |_| ());
        }
        self.begin_probing(&id);
        Ok(())
    }

    pub(super) fn begin_probing(&mut self, id: &ReplicaId) {
        let Some(record) = self.records.get(id) else { return };
        let report = self.reporter(record);
        let (address, health) = (attempt::address(record.port), record.run.health.clone());
        let probing = tokio::spawn(probe::watch(address, health, move |finding| {
            let report = report.clone();
            async move { report.tell(Happening::Found(finding)).await }
        }));
        if let Some(body) = self.bodies.get_mut(id) {
            body.probing = Some(probing.abort_handle());
        }
    }

    /// Changes a replica's record and writes it. Where writing fails the fleet goes on: what the record says can be found
    /// out again, and the disk's trouble shows at the next start of a replica, which needs it.
    pub(super) fn save(&mut self, id: &ReplicaId, change: impl FnOnce(&mut Record)) {
        let Some(record) = self.records.get_mut(id) else { return };
        change(record);
        let path = self.files.record(id);
        let written = self.recorder.write(path.clone(), record);
        tokio::spawn(async move {
            if let Err(error) = written.await {
                tracing::error!(%error, path = %path.display(), "a replica's record could not be written");
            }
        });
    }

    pub(super) fn remove(&mut self, id: &ReplicaId) {
        self.actual.replicas.remove(id);
        self.records.remove(id);
        if let Some(mut body) = self.bodies.remove(id) {
            body.stop_probing();
        }
        self.forget(id);
        self.prune();
    }

    /// Waits, beside this task, until the gate has no request of a replica that left the routes.
    pub(super) fn await_drained(&self, id: &ReplicaId) {
        let Some(record) = self.records.get(id) else { return };
        let (front, report) = (Arc::clone(&self.front), self.reporter(record));
        let upstream = front::upstream(id, record.attempt);
        tokio::spawn(async move {
            front.drained(&upstream).await;
            report.tell(Happening::Drained).await;
        });
    }

    pub(super) fn prune(&self) {
        let (files, current) = (self.files.clone(), self.records.keys().cloned().collect::<Vec<_>>());
        spawn_blocking(move || {
            if let Err(error) = files.prune(&current) {
                tracing::warn!(%error, "old output could not be removed");
            }
        });
    }

    fn add(&mut self, release: ReleaseNumber) -> Option<ReplicaId> {
        let run = self.desired.releases.iter().find(|wanted| wanted.release == release)?.run.clone();
        let id = ReplicaId::new(release, random());
        let replica = Replica::new(release, Patience::of(&run));
        let boot_id = self.boot_id.clone();
        let record = Record {
            id: id.clone(),
            release,
            attempt: 1,
            port: 0,
            leaving: false,
            run,
            identity: None,
            boot_id,
        };
        let body = Body::new(Log::new(self.files.log(&id)));
        self.insert(record, replica, body);
        Some(id)
    }

    /// Another attempt, as the release is to be run now.
    fn renew(&mut self, id: &ReplicaId) {
        let Some(record) = self.records.get_mut(id) else { return };
        if let Some(wanted) = self.desired.releases.iter().find(|wanted| wanted.release == record.release) {
            record.run = wanted.run.clone();
        }
        record.attempt += 1;
        record.identity = None;
        record.boot_id.clone_from(&self.boot_id);
        let patience = Patience::of(&record.run);
        self.with(id, |replica| replica.relaunch(patience));
    }

    fn launch(&mut self, id: &ReplicaId) {
        let (Some(record), Some(body)) = (self.records.get_mut(id), self.bodies.get(id)) else { return };
        // Where there is no port, the replica can't listen and says so itself.
        record.port = attempt::free_port().unwrap_or(0);
        let record = record.clone();
        let (files, log) = (self.files.clone(), Arc::clone(&body.log));
        let attempt = Attempt { report: self.reporter(&record), record, files, log };
        tokio::spawn(attempt.launch(self.recorder.clone()));
    }

    fn terminate(&mut self, id: &ReplicaId, cause: Cause, now: Instant) {
        let Some(replica) = self.actual.replicas.get_mut(id) else { return };
        let said = replica.reason.clone().unwrap_or_else(|| "it did not answer".into());
        let because = match cause {
            Cause::Surplus => None,
            Cause::NotAlive => Some(attempt::with_last_output(&said, &self.files, id)),
            Cause::NeverReady => {
                let reason = format!("not ready within {:?}: {said}", replica.patience.start_within);
                Some(attempt::with_last_output(&reason, &self.files, id))
            }
        };
        replica.terminate(now);
        if let Some(because) = because {
            tracing::warn!(replica = %id, reason = because, "stopped to be started again");
            replica.reason = Some(because.clone());
            self.bodies.get_mut(id).into_iter().for_each(|body| body.stopped_because = Some(because.clone()));
        }
    }

    /// To every process of the replica; those that are left when its own has ended are its attempt's business.
    fn signal(&self, id: ReplicaId, signal: Signal) {
        let Some(process) = self.bodies.get(&id).and_then(|body| body.process.clone()) else { return };
        spawn_blocking(move || {
            if let Err(error) = process.signal_all(&id, signal) {
                tracing::error!(%error, replica = %id, ?signal, "could not be signalled");
            }
        });
    }

    fn insert(&mut self, record: Record, replica: Replica, body: Body) {
        self.actual.replicas.insert(record.id.clone(), replica);
        self.bodies.insert(record.id.clone(), body);
        self.records.insert(record.id.clone(), record);
    }

    fn forget(&self, id: &ReplicaId) {
        let removed = self.recorder.remove(self.files.record(id));
        tokio::spawn(async move {
            if let Err(error) = removed.await {
                tracing::error!(%error, "a replica's record could not be removed");
            }
        });
    }

    fn reporter(&self, record: &Record) -> Reporter {
        Reporter { to: self.inbox.clone(), id: record.id.clone(), attempt: record.attempt }
    }

    /// True where a replica is being started at this moment.
    pub(super) fn is_launching(&self) -> bool {
        self.actual.replicas.values().any(|replica| replica.phase == Phase::Launching)
    }
}

/// From 0 to 1.
pub(super) fn random_part() -> f64 {
    f64::from(u32::try_from(random() >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(8) => u64::from_ne_bytes(bytes),
        // A kernel without randomness; the clock differs from call to call.
        _ => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos() as u64,
    }
}
