//! The host's client: each intent as one or two complete writes, the second when the fleet is ready for it.

use std::time::Duration;

use async_trait::async_trait;
use cutover_conductor::ports::{PortError, Rollout, Target};
use cutover_model::{
    ReleaseNumber,
    fleet::{FleetName, Generation, Observed, ObservedRelease, ObservedReplica, ReplicaState},
};

use super::Fake;
use crate::{
    fact::Call,
    sabotage::Sabotage,
    scenario::START_WITHIN,
    weather::Line,
    world::{Host, World, Write, WriteKind},
};

/// How often the fleet is looked at.
const LOOK: Duration = Duration::from_millis(150);

/// Restarts from which on it is clear that a replica won't get ready.
const HOPELESS: u32 = 3;

/// What a client sees of the fleet.
#[derive(Debug, Clone, Copy)]
struct Glance {
    new_ready: u32,
    new_restarts: u32,
    old_ready: u32,
    new_exists: bool,
    others_exist: bool,
}

#[async_trait]
impl Target for Fake {
    async fn observe(&self, _: &FleetName) -> Result<Option<Observed>, PortError> {
        let observed = self.shared.ask(Line::Target, |world| world.host.up.then(|| world.observed())).await?;
        observed.ok_or_else(refused_connection)
    }

    async fn advance(&self, rollout: &Rollout) -> Result<(), PortError> {
        let mishap = self.called(rollout.new.release, Call::Advance(Box::new(rollout.clone())));
        self.with_mishap(mishap, self.advanced(rollout)).await
    }

    async fn revert(&self, rollout: &Rollout) -> Result<(), PortError> {
        let mishap = self.called(rollout.new.release, Call::Revert);
        self.with_mishap(mishap, self.reverted(rollout)).await
    }

    async fn retire(&self, rollout: &Rollout) -> Result<(), PortError> {
        let mishap = self.called(rollout.new.release, Call::Retire);
        self.with_mishap(mishap, self.retired(rollout)).await
    }
}

impl Fake {
    async fn advanced(&self, rollout: &Rollout) -> Result<(), PortError> {
        let early = self.shared.world().is_sabotaged(Sabotage::TargetRetiresEarly);
        self.put(rollout, WriteKind::Start, rollout.generation).await?;
        let (mut restarts, began) = (None, self.shared.kernel.now());
        loop {
            let glance = self.glance(rollout).await?;
            if glance.new_ready >= rollout.new.replicas {
                break;
            }
            let before = *restarts.get_or_insert(glance.new_restarts);
            let hopeless = glance.new_restarts >= before + HOPELESS;
            // Twice, and some: a replica that failed for no fault of its own gets another chance.
            if hopeless || self.shared.kernel.now() > began + START_WITHIN * 2 + Duration::from_secs(5) {
                return Err(self.broken(&format!("a replica of {} does not get ready", rollout.new.release)));
            }
            self.shared.kernel.sleep(LOOK).await;
        }
        let kind = if early { WriteKind::Retire } else { WriteKind::Weigh };
        self.put(rollout, kind, next(rollout.generation)).await
    }

    async fn reverted(&self, rollout: &Rollout) -> Result<(), PortError> {
        if self.shared.world().is_sabotaged(Sabotage::TargetLiesAboutReverting) {
            return Ok(());
        }
        if let Some(old) = &rollout.old {
            let glance = self.glance(rollout).await?;
            // Cold, or too few to bear the traffic: what serves goes on serving until the old release is whole again.
            if glance.old_ready * 2 < old.replicas {
                self.put(rollout, WriteKind::Return, rollout.generation).await?;
                let whole = |glance: &Glance| glance.old_ready >= old.replicas;
                self.until(rollout, whole, "the old release does not get ready").await?;
            }
        }
        self.put(rollout, WriteKind::Leave, next(rollout.generation)).await?;
        self.until(rollout, |glance| !glance.new_exists, "the new release does not end").await
    }

    async fn retired(&self, rollout: &Rollout) -> Result<(), PortError> {
        self.put(rollout, WriteKind::Retire, next(rollout.generation)).await?;
        self.until(rollout, |glance| !glance.others_exist, "the old release does not end").await
    }

    async fn until(
        &self,
        rollout: &Rollout,
        done: impl Fn(&Glance) -> bool + Send,
        why: &str,
    ) -> Result<(), PortError> {
        let until = self.shared.kernel.now() + Duration::from_secs(30);
        while !done(&self.glance(rollout).await?) {
            if self.shared.kernel.now() > until {
                return Err(self.broken(why));
            }
            self.shared.kernel.sleep(LOOK).await;
        }
        Ok(())
    }

    /// Writes, unless this very call's write or the one after is held already: then an earlier try has arrived.
    async fn put(&self, rollout: &Rollout, kind: WriteKind, generation: Generation) -> Result<(), PortError> {
        let sent = self.shared.kernel.now();
        let write = Write { by: self.pid, sent, generation, kind, rollout: rollout.clone() };
        let answer = self
            .shared
            .ask(Line::Target, move |world| {
                let answers = world.host.up && !world.is_sabotaged(Sabotage::TargetNeverAnswers);
                answers.then(|| world.write(&write))
            })
            .await?;
        match answer.ok_or_else(refused_connection)? {
            Ok(()) => Ok(()),
            Err(held) if held == generation || held == next(generation) => Ok(()),
            Err(_) => Err(PortError::Refused {
                message: "a later driver directs this fleet".into(),
                help: "see `cutover status`".into(),
            }),
        }
    }

    async fn glance(&self, rollout: &Rollout) -> Result<Glance, PortError> {
        let (new, old) = (rollout.new.release, rollout.old.as_ref().map(|old| old.release));
        let look = move |world: &mut World| world.host.up.then(|| glance_of(&world.host, new, old));
        self.shared.ask(Line::Target, look).await?.ok_or_else(refused_connection)
    }
}

fn next(generation: Generation) -> Generation {
    Generation { write: generation.write + 1, ..generation }
}

fn refused_connection() -> PortError {
    PortError::Unreachable("connection refused".into())
}

fn glance_of(host: &Host, new: ReleaseNumber, old: Option<ReleaseNumber>) -> Glance {
    let of_new = host.replicas.values().filter(|replica| replica.release == new);
    Glance {
        new_ready: host.ready(new),
        new_restarts: of_new.map(|replica| replica.restarts).sum(),
        old_ready: old.map_or(0, |old| host.ready(old)),
        new_exists: host.existing(new) > 0,
        others_exist: host.replicas.values().any(|replica| replica.release != new),
    }
}

impl World {
    fn observed(&self) -> Option<Observed> {
        let host = &self.host;
        let shares = host.shares();
        let mut releases: Vec<_> = host.entries.keys().copied().collect();
        releases.extend(host.replicas.values().map(|replica| replica.release));
        releases.sort_unstable();
        releases.dedup();
        let releases = releases.into_iter().map(|release| ObservedRelease {
            release,
            share: shares.iter().find(|(of, _)| *of == release).map_or(0.0, |(_, share)| *share),
            replicas: self.observed_replicas(release),
        });
        Some(Observed { generation: host.held?, version: host.version, releases: releases.collect() })
    }

    fn observed_replicas(&self, release: ReleaseNumber) -> Vec<ObservedReplica> {
        let hides = self.is_sabotaged(Sabotage::HostHidesFailures);
        let of_release = self.host.replicas.iter().filter(|(_, replica)| replica.release == release);
        of_release
            .map(|(id, replica)| ObservedReplica {
                id: format!("{release}-{id}"),
                state: if hides { ReplicaState::Ready } else { replica.state },
                pid: (replica.state != ReplicaState::Waiting).then_some(*id as u32),
                port: 20_000 + *id as u16,
                restarts: if hides { 0 } else { replica.restarts },
                in_flight: 0,
                reason: replica.reason.clone(),
            })
            .collect()
    }
}
