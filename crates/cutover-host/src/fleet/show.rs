//! What follows from a fleet's state for others: the gate's routes, what is observed, and when to look again.

use std::time::Instant;

use cutover_model::{
    ReleaseNumber,
    fleet::{Observed, ObservedRelease, ObservedReplica},
};

use super::{Fleet, Frozen};
use crate::{converge::next_look, front};

impl Fleet {
    /// Gives the gate the routes that follow from the state, and opens it when they are worth it.
    pub(super) fn route(&mut self) {
        let pools = front::pools(&self.desired, &self.actual, &self.records);
        if self.front.is_open() {
            self.front.install(pools);
        } else if (self.unheard.is_empty() || Instant::now() >= self.open_by)
            && let Err(error) = self.front.open(pools)
        {
            tracing::error!(%error, fleet = %self.name, "the gate could not be opened; trying again");
            self.open_by = Instant::now() + super::FIRST_ANSWERS;
        }
        let open = self.front.is_open();
        self.opened.send_if_modified(|opened| std::mem::replace(opened, open) != open);
    }

    /// Tells those who wait, where something differs.
    pub(super) fn publish(&self) {
        let releases = self.observe();
        let generation = self.desired.generation;
        self.observed.send_if_modified(|observed| {
            let differs = observed.releases != releases || observed.generation != generation;
            if differs {
                *observed = Observed { generation, version: observed.version + 1, releases };
            }
            differs
        });
    }

    /// When to look again though nothing happens.
    pub(super) fn next_look(&self) -> Option<Instant> {
        let opening = (!self.front.is_open()).then_some(self.open_by);
        let converging = if self.frozen { None } else { next_look(&self.actual) };
        [opening, converging].into_iter().flatten().min()
    }

    /// Answers who asked for a freeze as soon as nothing is being started.
    pub(super) async fn try_freeze(&mut self) {
        if self.is_launching() {
            return;
        }
        let Some(answer) = self.freezing.take() else { return };
        let mut unfinished = Vec::new();
        for (id, body) in &self.bodies {
            self.held.push(body.log.hold().await);
            unfinished.push((id.clone(), body.log.unfinished()));
        }
        self.recorder.flushed(&self.files).await;
        if answer.send(Frozen { unfinished }).is_err() {
            // Whoever asked has given up.
            self.frozen = false;
            self.held.clear();
        }
    }

    fn observe(&self) -> Vec<ObservedRelease> {
        let pools = front::pools(&self.desired, &self.actual, &self.records);
        let shares = front::shares(&pools);
        let mut releases: Vec<ReleaseNumber> =
            self.desired.releases.iter().map(|wanted| wanted.release).collect();
        releases.extend(self.actual.replicas.values().map(|replica| replica.release));
        releases.sort_unstable();
        releases.dedup();
        let replicas = |release| {
            let of_release =
                self.actual.replicas.iter().filter(move |(_, replica)| replica.release == release);
            of_release.filter_map(|(id, replica)| {
                let (record, body) = (self.records.get(id)?, self.bodies.get(id)?);
                Some(ObservedReplica {
                    id: id.to_string(),
                    state: replica.state(),
                    pid: body.process.as_ref().map(|process| process.identity().pid),
                    port: record.port,
                    restarts: record.attempt.saturating_sub(1),
                    in_flight: 0,
                    reason: replica.reason.clone(),
                })
            })
        };
        let observed = |release: &ReleaseNumber| ObservedRelease {
            release: *release,
            share: shares.get(release).copied().unwrap_or(0.0),
            replicas: replicas(*release).collect(),
        };
        releases.iter().map(observed).collect()
    }
}
