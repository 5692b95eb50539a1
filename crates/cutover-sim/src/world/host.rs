//! One machine's engine, its replicas and its gate: holds a desired state and converges to it.
//!
//! ```text
//!             ┌────────► Waiting ◄──── fails ────┐
//!             │             │ after a pause      │
//! starts ► Starting ────────┴──────► Ready ──────┤
//!             │                        │ no longer desired
//!             └──────────► gone ◄── Stopping ◄── Draining
//! ```

use std::{collections::BTreeMap, time::Duration};

use cutover_conductor::ports::Rollout;
use cutover_model::{
    ReleaseNumber,
    fleet::{DesiredRelease, Generation, ReplicaState},
};

use super::World;
use crate::{
    fact::{Change, Fact, Pid},
    sabotage::Sabotage,
    scenario::{Behaviour, START_WITHIN},
};

/// One release in the desired state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Entry {
    pub(crate) replicas: u32,
    pub(crate) weight: f64,
    pub(crate) drain: Duration,
    pub(crate) stop_within: Duration,
}

/// One running copy.
#[derive(Debug, Clone)]
pub(crate) struct Replica {
    pub(crate) release: ReleaseNumber,
    pub(crate) state: ReplicaState,
    pub(crate) restarts: u32,
    pub(crate) reason: Option<String>,
    /// Rises with every change, so that a timer set before it does nothing.
    turn: u32,
    /// It has been ready once.
    served: bool,
    drained: Duration,
    /// When it last ended by itself while it was ready.
    pub(crate) lost: Option<Duration>,
}

impl Replica {
    /// It counts as one of its release's replicas.
    pub(crate) fn counts(&self) -> bool {
        !matches!(self.state, ReplicaState::Draining | ReplicaState::Stopping)
    }
}

/// The machine.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) up: bool,
    /// Of the gate's counts.
    pub(crate) epoch: u64,
    pub(crate) held: Option<Generation>,
    pub(crate) entries: BTreeMap<ReleaseNumber, Entry>,
    pub(crate) replicas: BTreeMap<u64, Replica>,
    /// The replicas that the gate sends requests to.
    pub(crate) table: Vec<u64>,
    pub(crate) version: u64,
    ids: u64,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            up: true,
            epoch: 1,
            held: None,
            entries: BTreeMap::new(),
            replicas: BTreeMap::new(),
            table: Vec::new(),
            version: 0,
            ids: 0,
        }
    }
}

/// Which part of a rollout a write is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The new release's replicas, under the weights before.
    Start,
    /// Its weight.
    Weigh,
    /// The old release's replicas, under the weights before.
    Return,
    /// All weight to the old release, and the new one goes.
    Leave,
    /// All but the new release goes.
    Retire,
}

/// A complete desired state on its way to the host.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) by: Pid,
    pub(crate) sent: Duration,
    pub(crate) generation: Generation,
    pub(crate) kind: Kind,
    pub(crate) rollout: Rollout,
}

impl Host {
    /// Ready replicas of a release.
    pub(crate) fn ready(&self, release: ReleaseNumber) -> u32 {
        let ready = |replica: &&Replica| replica.release == release && replica.state == ReplicaState::Ready;
        self.replicas.values().filter(ready).count() as u32
    }

    /// Replicas of a release that exist, in whatever state.
    pub(crate) fn existing(&self, release: ReleaseNumber) -> u32 {
        self.replicas.values().filter(|replica| replica.release == release).count() as u32
    }

    /// Each release's share of new requests; empty when nothing serves.
    pub(crate) fn shares(&self) -> Vec<(ReleaseNumber, f64)> {
        if !self.up {
            return Vec::new();
        }
        let weight = |(release, entry): (&ReleaseNumber, &Entry)| {
            let listed = self.table.iter().filter(|id| self.replicas[id].release == *release).count();
            let part = (listed as f64 / f64::from(entry.replicas.max(1))).min(1.0);
            (*release, entry.weight * part)
        };
        let weights: Vec<_> = self.entries.iter().map(weight).filter(|(_, weight)| *weight > 0.0).collect();
        let sum: f64 = weights.iter().map(|(_, weight)| weight).sum();
        weights.into_iter().map(|(release, weight)| (release, weight / sum)).collect()
    }

    fn route(&mut self, also_starting: bool) {
        let listed = |replica: &Replica| {
            replica.state == ReplicaState::Ready || (also_starting && replica.state == ReplicaState::Starting)
        };
        self.table = self.replicas.iter().filter(|(_, r)| listed(r)).map(|(id, _)| *id).collect();
        self.version += 1;
    }
}

fn entry(desired: &DesiredRelease, weight: f64) -> (ReleaseNumber, Entry) {
    let (drain, stop_within) = (desired.run.drain, desired.run.stop_within);
    (desired.release, Entry { replicas: desired.replicas, weight, drain, stop_within })
}

impl World {
    /// A write arrives. Refused, with the generation held, unless it is above that.
    pub(crate) fn write(&mut self, write: &Write) -> Result<(), Generation> {
        self.settle();
        let held = self.host.held;
        let above = held.is_none_or(|held| write.generation > held);
        let accepted = above || self.is_sabotaged(Sabotage::TargetIgnoresGenerations);
        let (served, could) = (!self.host.shares().is_empty(), !self.host.table.is_empty());
        if accepted {
            self.host.entries = self.entries_of(write);
            self.host.held = Some(write.generation);
            self.route();
        }
        let shown: Vec<_> = self
            .host
            .entries
            .iter()
            .map(|(release, e)| format!("{release}×{}@{:.2}", e.replicas, e.weight))
            .collect();
        let what = format!("{:?} {} [{}]", write.kind, write.rollout.new.release, shown.join(" "));
        let (by, generation) = (write.by, write.generation);
        self.tell(Fact::Written { by, generation, accepted, what });
        if !accepted {
            return Err(held.expect("only something held can refuse"));
        }
        self.converge();
        // Even where nothing is served at the moment, the last replica that could serve must not go.
        let dark = self.host.up && self.host.shares().is_empty();
        let outage = dark && (served || (could && self.host.table.is_empty()));
        if outage && self.store.serving().is_some() && !self.replica_failed_unseen(write) {
            self.violate(crate::rules::TRAFFIC, format!("a write of {by} left nothing that serves"));
        }
        Ok(())
    }

    /// A desired replica that served failed so shortly before a write was sent that its writer can't know it.
    fn replica_failed_unseen(&self, write: &Write) -> bool {
        let just_before = write.sent.saturating_sub(Duration::from_millis(300));
        let lost = |replica: &Replica| replica.lost.is_some_and(|at| at >= just_before);
        self.host.replicas.values().any(|replica| replica.counts() && lost(replica))
    }

    fn entries_of(&self, write: &Write) -> BTreeMap<ReleaseNumber, Entry> {
        let Rollout { new, old, before, serving, .. } = &write.rollout;
        let old = old.as_ref();
        match write.kind {
            Kind::Start if old.is_none() => [entry(new, new.weight)].into(),
            Kind::Start => {
                // The share it has already is not taken away again.
                let share = self.host.shares().into_iter().find(|(of, _)| *of == new.release);
                let before = share.map_or(0.0, |(_, share)| share).min(new.weight).max(*before);
                old.map(|old| entry(old, 1.0 - before)).into_iter().chain([entry(new, before)]).collect()
            }
            Kind::Weigh => {
                old.map(|old| entry(old, old.weight)).into_iter().chain([entry(new, new.weight)]).collect()
            }
            Kind::Return => {
                let still = DesiredRelease { replicas: *serving, ..new.clone() };
                old.map(|old| entry(old, 1.0 - before)).into_iter().chain([entry(&still, *before)]).collect()
            }
            Kind::Leave => old.map(|old| entry(old, 1.0)).into_iter().collect(),
            Kind::Retire => [entry(new, 1.0)].into(),
        }
    }

    fn route(&mut self) {
        let also_starting = self.is_sabotaged(Sabotage::GateRoutesToStarting);
        self.host.route(also_starting);
    }

    /// Starts what is missing and drains what is too much.
    fn converge(&mut self) {
        if !self.host.up {
            return;
        }
        let entries: Vec<_> =
            self.host.entries.iter().map(|(release, entry)| (*release, entry.replicas)).collect();
        let surplus = |host: &Host| {
            let mut left: BTreeMap<_, _> = entries.iter().copied().collect();
            let mut surplus = Vec::new();
            for (id, replica) in host.replicas.iter().filter(|(_, replica)| replica.counts()) {
                match left.get_mut(&replica.release) {
                    Some(left) if *left > 0 => *left -= 1,
                    _ => surplus.push(*id),
                }
            }
            (surplus, left)
        };
        let (too_much, missing) = surplus(&self.host);
        too_much.into_iter().for_each(|id| self.drain(id));
        for (release, missing) in missing {
            (0..missing).for_each(|_| self.start_replica(release));
        }
    }

    fn start_replica(&mut self, release: ReleaseNumber) {
        self.host.ids += 1;
        let id = self.host.ids;
        let replica = Replica {
            release,
            state: ReplicaState::Starting,
            restarts: 0,
            reason: None,
            turn: 0,
            served: false,
            drained: Duration::ZERO,
            lost: None,
        };
        self.host.replicas.insert(id, replica);
        self.begin_replica(id);
    }

    /// Its process starts, for the first time or again.
    fn begin_replica(&mut self, id: u64) {
        let Some(replica) = self.turn(id, ReplicaState::Starting) else { return };
        let (release, served) = (replica.release, replica.served);
        self.changed(id, Change::Starts);
        let whole = self.built(release).is_some();
        let soon = self.between(50, 300);
        match self.behaviour(release) {
            _ if !whole => self.due(id, soon, |world, id| world.fail(id, "its directory is not there")),
            Behaviour::ExitsAtOnce => self.due(id, soon, |world, id| world.fail(id, "it exited with code 1")),
            Behaviour::DiesAfter(_) if served => {
                self.due(id, soon, |world, id| world.fail(id, "it exited with code 1"));
            }
            Behaviour::NeverReady => {
                self.due(id, START_WITHIN, |world, id| world.fail(id, "it was not ready within 10s"));
            }
            behaviour => {
                let delay = self.between(200, 2000);
                self.due(id, delay, move |world, id| world.becomes_ready(id, behaviour));
            }
        }
    }

    fn becomes_ready(&mut self, id: u64, behaviour: Behaviour) {
        let Some(replica) = self.turn(id, ReplicaState::Ready) else { return };
        replica.served = true;
        replica.reason = None;
        self.changed(id, Change::Ready);
        if let Behaviour::DiesAfter(lives) = behaviour {
            self.due(id, lives, |world, id| world.fail(id, "it exited with code 139"));
        }
    }

    /// It ends by itself, and starts again after a pause.
    pub(crate) fn fail(&mut self, id: u64, why: &str) {
        let alive =
            |replica: &&mut Replica| matches!(replica.state, ReplicaState::Starting | ReplicaState::Ready);
        if self.host.replicas.get_mut(&id).filter(alive).is_none() {
            return;
        }
        self.settle();
        let now = self.now();
        let was_ready = self.host.replicas.get(&id).is_some_and(|r| r.state == ReplicaState::Ready);
        let Some(replica) = self.turn(id, ReplicaState::Waiting) else { return };
        if was_ready {
            replica.lost = Some(now);
        }
        replica.restarts += 1;
        replica.reason = Some(why.to_owned());
        let pause = Duration::from_millis(250 << replica.restarts.min(7));
        self.changed(id, Change::Fails);
        self.due(id, pause, Self::begin_replica);
    }

    fn drain(&mut self, id: u64) {
        self.settle();
        let Some(replica) = self.host.replicas.get(&id) else { return };
        let (release, idle) = (replica.release, replica.state != ReplicaState::Ready);
        let entry = self.host.entries.get(&release).copied();
        let (limit, grace) =
            entry.map_or((Duration::from_secs(3), 2000), |e| (e.drain, e.stop_within.as_millis() as u64));
        self.turn(id, ReplicaState::Draining);
        self.changed(id, Change::Drains);
        // The longest request in flight; one in ten is longer than the team's limit.
        let longest = if idle { Duration::ZERO } else { self.between(0, limit.as_millis() as u64 * 11 / 10) };
        let cut = self.is_sabotaged(Sabotage::HostCutsRequests);
        let drained = if cut { Duration::ZERO } else { longest.min(limit) };
        self.due(id, drained, move |world, id| {
            if let Some(replica) = world.turn(id, ReplicaState::Stopping) {
                replica.drained = drained;
                world.changed(id, Change::Stops { drained, in_flight: longest > drained });
                let ends = world.between(0, grace);
                world.due(id, ends, |world, id| {
                    let release = world.host.replicas.get(&id).map(|replica| replica.release);
                    if let Some(release) = release {
                        world.host.replicas.remove(&id);
                        world.route();
                        world.tell(Fact::Replica { id, release, what: Change::Gone });
                    }
                });
            }
        });
    }

    /// Changes a replica's state, so that what was due for it before is not any more.
    fn turn(&mut self, id: u64, state: ReplicaState) -> Option<&mut Replica> {
        self.settle();
        let replica = self.host.replicas.get_mut(&id)?;
        replica.turn += 1;
        replica.state = state;
        Some(replica)
    }

    fn changed(&mut self, id: u64, what: Change) {
        self.route();
        if let Some(replica) = self.host.replicas.get(&id) {
            let release = replica.release;
            self.tell(Fact::Replica { id, release, what });
        }
    }

    /// Something happens to a replica later, unless something else does before. A host that is down notices when it is up.
    fn due(&mut self, id: u64, delay: Duration, act: impl FnOnce(&mut Self, u64) + Send + 'static) {
        let Some(turn) = self.host.replicas.get(&id).map(|replica| replica.turn) else { return };
        self.after(delay, move |world| {
            if world.host.replicas.get(&id).is_none_or(|replica| replica.turn != turn) {
                return;
            }
            if world.host.up { act(world, id) } else { world.due(id, Duration::from_millis(200), act) }
        });
    }

    /// kill -9 to the host: replicas go on, nobody sends them requests.
    pub(crate) fn host_down(&mut self, for_: Duration) {
        if !self.host.up {
            return;
        }
        self.settle();
        self.host.up = false;
        self.tell(Fact::HostDown);
        self.after(for_, Self::host_up);
    }

    /// It starts again, adopts what runs, counts from zero and goes on converging.
    pub(crate) fn host_up(&mut self) {
        if self.host.up {
            return;
        }
        self.settle();
        self.host.up = true;
        self.restart_counts();
        self.route();
        let epoch = self.host.epoch;
        self.tell(Fact::HostUp { epoch });
        self.converge();
    }
}
