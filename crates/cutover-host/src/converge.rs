//! What to do next so that a fleet becomes what it shall be. Pure: the same state and time give the same actions.
//!
//! Level-triggered: nothing here remembers what was asked before. Each call looks at the whole desired state and the
//! whole actual one, so a lost message, a killed host or a desired state that changes half-way needs no special case.
//! After the actions were applied, the same call at the same time returns nothing.

use std::{collections::BTreeMap, time::Instant};

use cutover_model::{ReleaseNumber, fleet::Desired};

use crate::replica::{Phase, Replica, ReplicaId, Serving};

/// A fleet as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Actual {
    pub(crate) replicas: BTreeMap<ReplicaId, Replica>,
    /// Another host that handed over still answers requests through its own gate. This host can't see them, so no
    /// replica counts as drained before its time.
    pub(crate) predecessor: bool,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start a new replica of this release.
    Start(ReleaseNumber),
    /// Take it out of the routes for good and wait for its requests.
    Leave(ReplicaId),
    /// It was leaving and is wanted again.
    Keep(ReplicaId),
    /// Cut what is left of its requests and send SIGTERM.
    Terminate(ReplicaId, Cause),
    /// Send SIGKILL.
    Kill(ReplicaId),
    /// Start its process again.
    Relaunch(ReplicaId),
    /// It has no process and is not wanted: forget it.
    Remove(ReplicaId),
}

/// Why a replica is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It is surplus and drained, or its time to drain is over.
    Surplus,
    /// It was never ready within its time.
    NeverReady,
    /// Its liveness probe failed.
    NotAlive,
}

impl Action {
    fn subject(&self) -> Option<&ReplicaId> {
        match self {
            Self::Start(_) => None,
            Self::Leave(id)
            | Self::Keep(id)
            | Self::Terminate(id, _)
            | Self::Kill(id)
            | Self::Relaunch(id)
            | Self::Remove(id) => Some(id),
        }
    }
}

/// What to do now; at most one action a replica.
pub(crate) fn converge(desired: &Desired, actual: &Actual, now: Instant) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut releases: Vec<ReleaseNumber> = actual.replicas.values().map(|replica| replica.release).collect();
    releases.extend(desired.releases.iter().map(|release| release.release));
    releases.sort_unstable();
    releases.dedup();
    for release in releases {
        let wanted = desired.releases.iter().find(|wanted| wanted.release == release);
        scale(release, wanted.map_or(0, |wanted| wanted.replicas as usize), actual, &mut actions);
    }
    for (id, replica) in &actual.replicas {
        if !actions.iter().any(|action| action.subject() == Some(id)) {
            actions.extend(step(id, replica, actual.predecessor, now));
        }
    }
    actions
}

/// When to look again though nothing happens; `None` where nothing is waited for.
pub(crate) fn next_look(actual: &Actual) -> Option<Instant> {
    let looks = actual.replicas.values().filter_map(|replica| match replica.phase {
        Phase::Serving(Serving::Starting { since }) => Some(since + replica.patience.start_within),
        Phase::Waiting { until } | Phase::Draining { until, .. } => Some(until),
        Phase::Stopping { kill_at } => kill_at,
        Phase::Launching | Phase::Serving(_) => None,
    });
    looks.min()
}

/// Brings a release's number of replicas to `wanted`.
fn scale(release: ReleaseNumber, wanted: usize, actual: &Actual, actions: &mut Vec<Action>) {
    let of_release = || actual.replicas.iter().filter(|(_, replica)| replica.release == release);
    let staying = of_release().filter(|(_, replica)| !replica.leaving).count();
    // Replicas that are draining are warm: taking one back costs nothing, and brings a rollback about at once.
    let back = of_release().filter(|(_, replica)| replica.leaving && can_stay(replica));
    let missing = wanted.saturating_sub(staying);
    let kept = back.map(|(id, _)| Action::Keep(id.clone())).take(missing);
    let before = actions.len();
    actions.extend(kept);
    let missing = missing - (actions.len() - before);
    actions.extend(std::iter::repeat_n(Action::Start(release), missing));

    let mut surplus: Vec<_> = of_release().filter(|(_, replica)| !replica.leaving).collect();
    surplus.sort_by_key(|(id, replica)| (worth(replica), (*id).clone()));
    actions.extend(surplus.iter().take(staying.saturating_sub(wanted)).map(|(id, replica)| {
        let waiting = matches!(replica.phase, Phase::Waiting { .. });
        if waiting { Action::Remove((*id).clone()) } else { Action::Leave((*id).clone()) }
    }));
}

fn can_stay(replica: &Replica) -> bool {
    matches!(replica.phase, Phase::Draining { .. } | Phase::Launching)
}

/// The replicas worth least go first.
fn worth(replica: &Replica) -> u8 {
    match replica.phase {
        Phase::Stopping { .. } | Phase::Draining { .. } => 0,
        Phase::Waiting { .. } => 1,
        Phase::Launching => 2,
        Phase::Serving(_) if replica.condemned => 2,
        Phase::Serving(Serving::Unready) => 3,
        Phase::Serving(Serving::Starting { .. }) => 4,
        Phase::Serving(Serving::Ready { .. }) => 5,
    }
}

/// What one replica's own phase asks for.
fn step(id: &ReplicaId, replica: &Replica, predecessor: bool, now: Instant) -> Option<Action> {
    let id = || id.clone();
    match replica.phase {
        Phase::Serving(_) if replica.leaving => Some(Action::Leave(id())),
        Phase::Serving(_) if replica.condemned => Some(Action::Terminate(id(), Cause::NotAlive)),
        Phase::Serving(Serving::Starting { since }) if now >= since + replica.patience.start_within => {
            Some(Action::Terminate(id(), Cause::NeverReady))
        }
        Phase::Draining { drained: true, .. } if !predecessor => {
            Some(Action::Terminate(id(), Cause::Surplus))
        }
        Phase::Draining { until, .. } if now >= until => Some(Action::Terminate(id(), Cause::Surplus)),
        Phase::Stopping { kill_at: Some(at) } if now >= at => Some(Action::Kill(id())),
        Phase::Waiting { .. } if replica.leaving => Some(Action::Remove(id())),
        Phase::Waiting { until } if now >= until => Some(Action::Relaunch(id())),
        _ => None,
    }
}

#[cfg(test)]
#[path = "converge_tests.rs"]
mod tests;
