//! One replica's life as pure state: which phase it is in, and what each thing that happens makes of it.
//!
//! ```text
//!            launched         ready            leave            drained or too late
//! Launching ─────────► Starting ─────► Ready ──────► Draining ─────────────────────► Stopping ──► gone
//!     ▲                    │   ▲ ready  │ ▲ ready        │ keep                          │
//!     │ pause is over      │   └─────── Unready          └──► as before                  │ (a restart)
//!   Waiting ◄──────────────┴──── ended by itself, or stopped because it did not answer ◄─┘
//! ```

use std::{
    fmt,
    str::FromStr,
    time::{Duration, Instant},
};

use cutover_model::{
    ReleaseNumber,
    fleet::{ReplicaState, RunSpec},
};
use serde::{Deserialize, Serialize};

/// After this long in the traffic, an earlier failure no longer makes the next pause longer.
pub(crate) const STABLE: Duration = Duration::from_secs(60);

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Unique on its host for ever: `r41-3f9a1c07b2`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct ReplicaId(String);

impl ReplicaId {
    /// `random` makes it unique.
    pub(crate) fn new(release: ReleaseNumber, random: u64) -> Self {
        Self(format!("{release}-{:010x}", random & 0xff_ffff_ffff))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ReplicaId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let shaped = text.starts_with('r') && text.len() <= 64;
        let safe = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if shaped && safe {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("`{text}` is not a replica's id"))
        }
    }
}

impl TryFrom<String> for ReplicaId {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ReplicaId> for String {
    fn from(id: ReplicaId) -> String {
        id.0
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How long a replica may take for each part of its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    pub(crate) start_within: Duration,
    pub(crate) drain: Duration,
    pub(crate) stop_within: Duration,
}

impl Patience {
    pub(crate) fn of(run: &RunSpec) -> Self {
        Self { start_within: run.health.start_within.get(), drain: run.drain, stop_within: run.stop_within }
    }
}

/// A replica whose process runs and that is not on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Serving {
    /// Never ready in this attempt.
    Starting { since: Instant },
    /// In the traffic.
    Ready { since: Instant },
    /// Was ready.
    Unready,
}

/// Where a replica is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Its process is being started; there is nothing to signal yet.
    Launching,
    /// Its process runs.
    Serving(Serving),
    /// It has no process and gets one at `until`.
    Waiting { until: Instant },
    /// Out of the routes; goes on to Stopping when its requests are done, at the latest at `until`.
    Draining { until: Instant, drained: bool, was: Serving },
    /// It got SIGTERM. `kill_at` is `None` once it got SIGKILL.
    Stopping { kill_at: Option<Instant> },
}

/// One replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replica {
    pub(crate) release: ReleaseNumber,
    pub(crate) patience: Patience,
    pub(crate) phase: Phase,
    /// It is surplus and won't be started again.
    pub(crate) leaving: bool,
    /// It must be stopped and started again.
    pub(crate) condemned: bool,
    /// An earlier host has started its process.
    pub(crate) adopted: bool,
    /// Ends by itself since it was last stable.
    pub(crate) failures: u32,
    /// Why it isn't ready.
    pub(crate) reason: Option<String>,
}

impl Replica {
    pub(crate) fn new(release: ReleaseNumber, patience: Patience) -> Self {
        Self {
            release,
            patience,
            phase: Phase::Launching,
            leaving: false,
            condemned: false,
            adopted: false,
            failures: 0,
            reason: None,
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Serving(Serving::Ready { .. })) && !self.leaving && !self.condemned
    }

    pub(crate) fn launched(&mut self, now: Instant) {
        if self.phase == Phase::Launching {
            self.phase = Phase::Serving(Serving::Starting { since: now });
        }
    }

    pub(crate) fn probed_ready(&mut self, now: Instant) {
        let Some(serving) = self.serving_mut() else { return };
        if !matches!(serving, Serving::Ready { .. }) {
            *serving = Serving::Ready { since: now };
        }
        self.reason = None;
    }

    pub(crate) fn probed_unready(&mut self, reason: String, now: Instant) {
        let was_ready = match self.serving_mut() {
            None => return,
            Some(serving @ Serving::Ready { .. }) => Some(std::mem::replace(serving, Serving::Unready)),
            Some(_) => None,
        };
        if let Some(was) = was_ready {
            self.forgive(was, now);
        }
        self.reason = Some(reason);
    }

    /// It no longer answers its liveness probe.
    pub(crate) fn probed_dead(&mut self, reason: String) {
        if matches!(self.phase, Phase::Serving(_)) {
            self.condemned = true;
            self.reason = Some(reason);
        }
    }

    /// The requests of a draining replica are done.
    pub(crate) fn drained(&mut self) {
        if let Phase::Draining { drained, .. } = &mut self.phase {
            *drained = true;
        }
    }

    /// Its process has ended, and what is left of it is being cleaned up: it gets nothing from here on.
    pub(crate) fn ending(&mut self, now: Instant) {
        if let Phase::Serving(was) = self.phase {
            self.forgive(was, now);
        }
        self.phase = Phase::Stopping { kill_at: None };
    }

    /// Nothing of its process is left, or it could not be started. True where the replica is gone with it.
    #[must_use]
    pub(crate) fn ended(&mut self, reason: String, jitter: f64, now: Instant) -> bool {
        if self.leaving {
            return true;
        }
        self.failures = self.failures.saturating_add(1);
        self.phase = Phase::Waiting { until: now + pause(self.failures, jitter) };
        self.condemned = false;
        self.reason = Some(reason);
        false
    }

    /// It ended through no fault of its own and is started again at once. True where the replica is gone with it.
    #[must_use]
    pub(crate) fn ended_innocent(&mut self, reason: String, now: Instant) -> bool {
        let failures = self.failures;
        let gone = self.ended(reason, 0.0, now);
        self.failures = failures;
        if !gone {
            self.phase = Phase::Waiting { until: now };
        }
        gone
    }

    pub(crate) fn relaunch(&mut self, patience: Patience) {
        self.patience = patience;
        self.phase = Phase::Launching;
        self.adopted = false;
    }

    /// It is surplus: out of the routes, and to its end when its requests are done.
    pub(crate) fn leave(&mut self, now: Instant) {
        self.leaving = true;
        if let Phase::Serving(was) = self.phase {
            let drained = matches!(was, Serving::Starting { .. });
            self.phase = Phase::Draining { until: now + self.patience.drain, drained, was };
        }
    }

    /// It is wanted after all, and nothing irrevocable has happened to it.
    pub(crate) fn keep(&mut self) {
        self.leaving = false;
        if let Phase::Draining { was, .. } = self.phase {
            self.phase = Phase::Serving(was);
        }
    }

    pub(crate) fn terminate(&mut self, now: Instant) {
        self.phase = Phase::Stopping { kill_at: Some(now + self.patience.stop_within) };
    }

    pub(crate) fn kill(&mut self) {
        self.phase = Phase::Stopping { kill_at: None };
    }

    /// What an operator sees.
    pub(crate) fn state(&self) -> ReplicaState {
        match self.phase {
            Phase::Launching | Phase::Serving(Serving::Starting { .. }) => ReplicaState::Starting,
            Phase::Serving(_) if self.condemned => ReplicaState::Unready,
            Phase::Serving(Serving::Ready { .. }) => ReplicaState::Ready,
            Phase::Serving(Serving::Unready) => ReplicaState::Unready,
            Phase::Waiting { .. } => ReplicaState::Waiting,
            Phase::Draining { .. } => ReplicaState::Draining,
            Phase::Stopping { .. } => ReplicaState::Stopping,
        }
    }

    /// What a draining replica would go back to follows its probes, too.
    fn serving_mut(&mut self) -> Option<&mut Serving> {
        match &mut self.phase {
            Phase::Serving(serving) | Phase::Draining { was: serving, .. } => Some(serving),
            _ => None,
        }
    }

    fn forgive(&mut self, was: Serving, now: Instant) {
        if matches!(was, Serving::Ready { since } if now.saturating_duration_since(since) >= STABLE) {
            self.failures = 0;
        }
    }
}

/// The pause before a replica that has ended by itself `failures` times in a row (1 or more) is started again: it
/// doubles from 250 ms to 30 s, and `jitter` (0 to 1) spreads it over 80 % to 100 % so that replicas which fell
/// together don't rise together.
fn pause(failures: u32, jitter: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    (FIRST_PAUSE * (1 << doublings)).min(LONGEST_PAUSE).mul_f64(0.8 + 0.2 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica() -> Replica {
        let second = Duration::from_secs(1);
        let patience = Patience { start_within: second, drain: second, stop_within: second };
        Replica::new(ReleaseNumber::FIRST, patience)
    }

    fn until(replica: &Replica) -> Instant {
        let Phase::Waiting { until } = replica.phase else { panic!("{:?}", replica.phase) };
        until
    }

    #[test]
    fn pauses_double_up_to_a_limit_and_begin_again_after_a_stable_minute() {
        let (mut replica, mut now) = (replica(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..10 {
            replica.launched(now);
            replica.probed_ready(now);
            replica.ending(now);
            assert!(!replica.ended("crashed".into(), 1.0, now));
            pauses.push(until(&replica) - now);
            now = until(&replica);
            replica.relaunch(replica.patience);
        }
        assert_eq!(pauses[..3], [250, 500, 1000].map(Duration::from_millis));
        assert_eq!(pauses[9], LONGEST_PAUSE);
        replica.launched(now);
        replica.probed_ready(now);
        replica.ending(now + STABLE);
        assert!(!replica.ended("crashed".into(), 1.0, now));
        assert_eq!(until(&replica) - now, FIRST_PAUSE);
    }

    #[test]
    fn a_long_good_life_is_remembered_through_a_last_unready_moment() {
        let (mut replica, now) = (replica(), Instant::now());
        replica.failures = 5;
        replica.launched(now);
        replica.probed_ready(now);
        replica.probed_unready("503".into(), now + STABLE);
        replica.ending(now + STABLE);
        assert_eq!(replica.failures, 0);
    }

    #[test]
    fn jitter_only_shortens() {
        assert_eq!(pause(1, 0.0), Duration::from_millis(200));
        assert_eq!(pause(99, 1.0), LONGEST_PAUSE);
        assert_eq!(pause(99, 7.0), LONGEST_PAUSE);
    }

    #[test]
    fn a_drained_replica_that_is_kept_is_what_its_probes_say() {
        let (mut replica, now) = (replica(), Instant::now());
        replica.launched(now);
        replica.probed_ready(now);
        replica.leave(now);
        assert!(!replica.is_ready());
        replica.probed_unready("503".into(), now);
        replica.keep();
        assert_eq!(replica.state(), ReplicaState::Unready);
    }

    #[test]
    fn ids_are_safe_in_paths() {
        let id = ReplicaId::new(ReleaseNumber::FIRST, u64::MAX);
        assert_eq!(id.to_string(), "r1-ffffffffff");
        assert_eq!(id.as_str().parse(), Ok(id));
        for bad in ["", "..", "r1/..", "x", "r1\0"] {
            assert!(bad.parse::<ReplicaId>().is_err(), "{bad}");
        }
    }
}
