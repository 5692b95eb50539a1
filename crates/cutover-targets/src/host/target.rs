//! The conductor's [`Target`] and [`Metrics`] on a host.
//!
//! ```text
//! advance   write 1: more replicas, traffic as before ──► until they are ready ──► write 2: the new shares
//! revert    write 1: the old release's replicas ──► until it is ready ──► write 2: all traffic to it, none of the new
//! retire    write 2: the new release alone ──► until nothing else is left
//! ```
//! Both writes of a call have their own generation, so a call that is made again finds out how far it came.

use std::{path::PathBuf, time::Duration};

use async_trait::async_trait;
use cutover_conductor::ports::{Metrics, PortError, Rollout, Target};
use cutover_model::{
    ReleaseNumber,
    fleet::{Desired, DesiredRelease, FleetName, Generation, Observed, ObservedReplica, ReplicaState},
    measure::Measures,
};

use super::client::{HostClient, HostError};

/// What the host may need to tell of what it saw, on top of the time a replica has.
const DELIVERY: Duration = Duration::from_secs(2);

/// How long one question for a change stays open.
const LONG_POLL: Duration = Duration::from_secs(20);

/// A host as the place where replicas run.
#[derive(Debug, Clone)]
pub struct HostTarget {
    client: HostClient,
}

impl HostTarget {
    /// The host whose API listens on `socket`. Nothing is connected yet.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { client: HostClient::new(socket) }
    }

    async fn held(&self, fleet: &FleetName) -> Result<Option<Observed>, PortError> {
        match self.client.observe(fleet).await {
            Ok(observed) => Ok(Some(observed)),
            Err(HostError::Unknown(_)) => Ok(None),
            Err(error) => Err(told(error)),
        }
    }

    /// Writes a desired state unless this or a later write of the same call is held already.
    async fn write(
        &self,
        rollout: &Rollout,
        write: Write,
        releases: Vec<DesiredRelease>,
    ) -> Result<(), PortError> {
        let generation = write.generation(rollout);
        if self
            .held(&rollout.fleet)
            .await?
            .is_some_and(|held| held.generation >= generation && held.generation.fence == generation.fence)
        {
            return Ok(());
        }
        let desired = Desired { generation, listen: rollout.listen, gate: rollout.gate.clone(), releases };
        self.client.put(&rollout.fleet, &desired).await.map(|_| ()).map_err(told)
    }

    /// Waits for a fleet to be as wanted. `wanted` says when it is, and when it can't become so.
    async fn until(
        &self,
        fleet: &FleetName,
        wanted: impl Fn(&Observed) -> Result<bool, PortError> + Send,
    ) -> Result<(), PortError> {
        let mut observed = self.client.observe(fleet).await.map_err(told)?;
        while !wanted(&observed)? {
            observed = self.client.observe_after(fleet, observed.version, LONG_POLL).await.map_err(told)?;
        }
        Ok(())
    }

    /// Waits until a release has its replicas ready: as long as one of them may take to start, since the ones that are missing
    /// start at the same time.
    async fn until_ready(&self, fleet: &FleetName, release: &DesiredRelease) -> Result<(), PortError> {
        let ready = self.until(fleet, |observed| {
            ended_twice(observed, release.release)?;
            Ok(observed.ready(release.release) >= release.replicas)
        });
        let within = release.run.health.start_within.get();
        match tokio::time::timeout(within + DELIVERY, ready).await {
            Ok(result) => result,
            Err(_) => Err(never_ready(self.held(fleet).await?.as_ref(), release.release)),
        }
    }
}

/// The two writes that a call may make.
#[derive(Debug, Clone, Copy)]
enum Write {
    First,
    Second,
}

impl Write {
    fn generation(self, rollout: &Rollout) -> Generation {
        let Generation { fence, write } = rollout.generation;
        Generation { fence, write: write + matches!(self, Self::Second) as u64 }
    }
}

#[async_trait]
impl Target for HostTarget {
    async fn observe(&self, fleet: &FleetName) -> Result<Option<Observed>, PortError> {
        self.held(fleet).await
    }

    async fn advance(&self, rollout: &Rollout) -> Result<(), PortError> {
        let Rollout { new, old, .. } = rollout;
        let more: Vec<_> = match old {
            // Nothing else serves, so there is no traffic to keep where it is.
            None => vec![new.clone()],
            Some(old) => {
                // An earlier try may have come to its end unseen; what it gave is not taken away again.
                let held = self.held(&rollout.fleet).await?;
                let share = held.and_then(|held| held.release(new.release).map(|now| now.share));
                let before = share.unwrap_or(0.0).min(new.weight).max(rollout.before);
                vec![weighing(old, 1.0 - before), weighing(new, before)]
            }
        };
        self.write(rollout, Write::First, more).await?;
        self.until_ready(&rollout.fleet, new).await?;
        let both = old.iter().chain([new]).cloned().collect();
        self.write(rollout, Write::Second, both).await
    }

    async fn revert(&self, rollout: &Rollout) -> Result<(), PortError> {
        let held = self.held(&rollout.fleet).await?;
        let Some(old) = &rollout.old else {
            if held.is_none() {
                return Ok(()); // It never came to a desired state.
            }
            self.write(rollout, Write::Second, Vec::new()).await?;
            return self
                .until(&rollout.fleet, |observed| {
                    Ok(observed.releases.iter().all(|release| release.replicas.is_empty()))
                })
                .await;
        };
        if held.is_none_or(|held| held.ready(old.release) * 2 < old.replicas) {
            // Cold, or too few to bear the traffic: what serves goes on serving until the old release is whole again.
            let serving =
                DesiredRelease { replicas: rollout.serving, weight: rollout.before, ..rollout.new.clone() };
            self.write(rollout, Write::First, vec![weighing(old, 1.0 - rollout.before), serving]).await?;
            self.until_ready(&rollout.fleet, old).await?;
        }
        self.write(rollout, Write::Second, vec![old.clone()]).await?;
        self.until(&rollout.fleet, |observed| Ok(only(observed, old.release))).await
    }

    async fn retire(&self, rollout: &Rollout) -> Result<(), PortError> {
        self.write(rollout, Write::Second, vec![rollout.new.clone()]).await?;
        self.until(&rollout.fleet, |observed| Ok(only(observed, rollout.new.release))).await
    }
}

#[async_trait]
impl Metrics for HostTarget {
    async fn measures(&self, fleet: &FleetName) -> Result<Measures, PortError> {
        self.client.measures(fleet).await.map_err(told)
    }
}

fn weighing(release: &DesiredRelease, weight: f64) -> DesiredRelease {
    DesiredRelease { weight, ..release.clone() }
}

fn only(observed: &Observed, release: ReleaseNumber) -> bool {
    observed.releases.iter().all(|other| other.release == release || other.replicas.is_empty())
}

/// A replica that ended twice will not get ready. Its first end is forgiven: its port may have been taken between its choice and
/// its use.
fn ended_twice(observed: &Observed, release: ReleaseNumber) -> Result<(), PortError> {
    let ended = |replica: &&ObservedReplica| replica.state == ReplicaState::Waiting && replica.restarts > 0;
    match replicas(observed, release).iter().find(ended) {
        Some(replica) => Err(not_ready(replica)),
        None => Ok(()),
    }
}

fn never_ready(observed: Option<&Observed>, release: ReleaseNumber) -> PortError {
    let unready = |replica: &&ObservedReplica| replica.state != ReplicaState::Ready;
    let replica = observed.and_then(|observed| replicas(observed, release).iter().find(unready));
    replica.map_or_else(|| PortError::Unreachable(format!("{release} was not ready in its time")), not_ready)
}

fn replicas(observed: &Observed, release: ReleaseNumber) -> &[ObservedReplica] {
    observed.release(release).map_or(&[], |release| &release.replicas)
}

fn not_ready(replica: &ObservedReplica) -> PortError {
    let reason = replica.reason.as_deref().unwrap_or("it gave no reason");
    PortError::Broken {
        message: format!("replica {} does not get ready: {reason}", replica.id),
        help: "mend what the reason names, commit, and release again; its output is in the host's state directory".into(),
    }
}

fn told(error: HostError) -> PortError {
    let message = error.to_string();
    match error {
        HostError::Unreachable { .. } | HostError::NoAnswer { .. } => PortError::Unreachable(message),
        HostError::Stale { .. } => PortError::Refused {
            message,
            help: "another run has written since; `cutover status` shows what runs".into(),
        },
        HostError::Unable(refusal) => {
            let reasons = if refusal.reasons.is_empty() { refusal.error } else { refusal.reasons.join("; ") };
            PortError::Broken { message: format!("the host can't do that: {reasons}"), help: refusal.help }
        }
        HostError::Unknown(refusal) => PortError::Broken { message: refusal.error, help: refusal.help },
        // A host that is handing over refuses writes for a moment.
        HostError::Refused { status: 503, .. } => PortError::Unreachable(message),
        HostError::Refused { refusal, .. } => {
            PortError::Broken { message: refusal.error, help: refusal.help }
        }
    }
}
