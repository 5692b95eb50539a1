//! What the judge is fed: cumulative counts, as a gate or Prometheus exports them.

use std::{
    collections::BTreeMap,
    ops::{Add, AddAssign, Sub},
};

use serde::{Deserialize, Serialize};

/// How many requests were seen and how many of them were events (errors, or slow ones).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Requests seen.
    pub requests: u64,
    /// Those among them that were events. More than `requests` counts as `requests`.
    pub events: u64,
}

impl Tally {
    /// `events` among `requests`; events beyond the requests are cut off.
    pub fn new(requests: u64, events: u64) -> Self {
        Self { requests, events: events.min(requests) }
    }

    /// Events per request, from 0 to 1; 0 without any request.
    pub fn share(self) -> f64 {
        if self.requests == 0 { 0.0 } else { self.events.min(self.requests) as f64 / self.requests as f64 }
    }
}

impl Add for Tally {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            events: self.events.saturating_add(other.events),
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// Cumulative counts of one release on one route.
///
/// `None` means "not measured", which is never the same as zero: a declared criterion whose count is `None` keeps the
/// verdict undecided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests answered or failed.
    pub requests: u64,
    /// Requests that failed (5xx, or no answer).
    pub errors: u64,
    /// Requests slower than the declared limit.
    pub slow: Option<u64>,
    /// Requests much slower than the old release's p99, a threshold fixed before the watch began.
    pub slower_than_old: Option<u64>,
}

impl Counts {
    /// True if `self` can't be a later reading of the same counters as `earlier`.
    pub(super) fn went_back_from(&self, earlier: &Self) -> bool {
        let fell = |now: Option<u64>, then: Option<u64>| matches!((now, then), (Some(now), Some(then)) if now < then);
        self.requests < earlier.requests
            || self.errors < earlier.errors
            || fell(self.slow, earlier.slow)
            || fell(self.slower_than_old, earlier.slower_than_old)
    }

    /// True if no count of events exceeds the requests.
    pub(super) fn is_consistent(&self) -> bool {
        let events = [Some(self.errors), self.slow, self.slower_than_old];
        events.into_iter().flatten().all(|events| events <= self.requests)
    }
}

impl Sub for Counts {
    type Output = Self;
    /// What happened between two readings. A count that was not measured at both ends was not measured between.
    fn sub(self, earlier: Self) -> Self {
        let between = |now: Option<u64>, then: Option<u64>| Some(now?.saturating_sub(then?));
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            errors: self.errors.saturating_sub(earlier.errors),
            slow: between(self.slow, earlier.slow),
            slower_than_old: between(self.slower_than_old, earlier.slower_than_old),
        }
    }
}

/// Cumulative counts of one release by route, the route as the gate names it.
pub type Routes = BTreeMap<String, Counts>;

/// One reading of the counters of both releases, taken at the same moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Rises from sample to sample; a sample that does not rise is a repetition and changes nothing.
    pub tick: u64,
    /// Which life of the counters this is (the gate's start, say). When it changes, counting begins anew from this
    /// sample. Always 0 where the source does not tell; a reset then shows as a counter that went back.
    pub epoch: u64,
    /// The new release. Empty: nothing was measured.
    pub new: Routes,
    /// The old release, running at the same time. `None`: it takes no traffic any more. Empty: it should, and
    /// nothing was measured.
    pub old: Option<Routes>,
}
