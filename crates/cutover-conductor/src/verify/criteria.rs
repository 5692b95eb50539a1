//! What a team declared to be bad, and the list of tests that follows from it.

use std::time::Duration;

use super::{
    budget::InvalidChance,
    count::{Counts, Tally},
    judgement::{Finding, Metric, Reason},
    sprt::{InvalidLimit, Limit},
    trial::Trial,
};

/// What was declared to be bad, and what is enough to say that it is not.
#[derive(Debug, Clone, PartialEq)]
pub struct Criteria {
    /// The share of requests that may fail. `None`: not limited.
    pub error_limit: Option<Limit>,
    /// The share of requests that may be slow. `None`: not limited.
    pub slow_limit: Option<SlowLimit>,
    /// The comparison with the old release. `None`: none is asked for, or there is no old release.
    pub than_old: Option<ThanOld>,
    /// The chance that a good release is rejected, over all stages, metrics, routes and attempts. Above 0, at most 0.5.
    pub false_alarm: f64,
    /// Which attempt at this watch it is, from 1. A conductor that resumes begins a new watch, with the next number:
    /// evidence is not kept, so each attempt may use only a part of the false-alarm chance (8/10, 1/10, 1/30, …).
    pub attempt: u32,
    /// Requests of the new release that a stage must have counted before it can pass, after warm-up; 0 counts as 1. A
    /// comparison also needs a tenth of it from the old release.
    pub enough_requests: u64,
    /// The first requests of the new release in each stage are left out, with all of the batch that they came in. 0: none.
    pub warm_up_requests: u64,
}

/// Requests slower than `than` may be up to the limit's share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlowLimit {
    /// What [`Counts::slow`] counts.
    pub than: Duration,
    /// How many of the requests may be slow.
    pub limit: Limit,
}

/// Errors, and requests slower than `slow`, are compared with the old release's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ThanOld {
    /// What [`Counts::slower_than_old`] counts, for both releases: well above the old release's p99 as it was before the watch. It
    /// must not change during a watch, or the counts would depend on what is compared.
    pub slow: Duration,
}

/// Why a watch can't begin.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum InvalidCriteria {
    /// Nothing was declared bad.
    #[error(
        "nothing is declared to be bad: declare an error rate, a slowness or a comparison with the old release"
    )]
    NothingDeclared,
    /// See the source.
    #[error(transparent)]
    Limit(#[from] InvalidLimit),
    /// See the source.
    #[error(transparent)]
    FalseAlarm(#[from] InvalidChance),
}

/// One declared thing to test: a metric, and what it is held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Declared {
    pub(super) metric: Metric,
    /// `None`: compared with the old release.
    pub(super) limit: Option<Limit>,
}

impl Declared {
    pub(super) fn all(criteria: &Criteria) -> Vec<Self> {
        let errors = criteria.error_limit.map(|limit| Self { metric: Metric::Errors, limit: Some(limit) });
        let slow = criteria
            .slow_limit
            .map(|slow| Self { metric: Metric::Slow { than: slow.than }, limit: Some(slow.limit) });
        let than_old = criteria.than_old.map(|old| {
            [Metric::Errors, Metric::SlowerThanOld { than: old.slow }]
                .map(|metric| Self { metric, limit: None })
        });
        errors.into_iter().chain(slow).chain(than_old.into_iter().flatten()).collect()
    }

    pub(super) fn tally(&self, counts: &Counts) -> Option<Tally> {
        let events = match self.metric {
            Metric::Errors => Some(counts.errors),
            Metric::Slow { .. } => counts.slow,
            Metric::SlowerThanOld { .. } => counts.slower_than_old,
        };
        events.map(|events| Tally::new(counts.requests, events))
    }

    pub(super) fn trial(&self, stake: f64) -> Trial {
        self.limit.map_or_else(|| Trial::than_old(stake), |limit| Trial::by_limit(limit, stake))
    }

    pub(super) fn reason(&self, route: Option<&str>, finding: Finding) -> Reason {
        Reason { metric: Some(self.metric), route: route.map(str::to_owned), finding }
    }
}
