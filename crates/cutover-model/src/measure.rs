//! What the gate counts for each release and route, as values that merge and subtract.
//!
//! All counts are cumulative since the gate started (its [`Measures::epoch`]); a reader keeps an earlier snapshot and
//! asks for what happened [`Measures::since`] then, so a lost or repeated read costs nothing.
//!
//! Latency goes into a fixed log-linear scheme: every power of two of microseconds is cut into 32 equal buckets, so a
//! bucket is at most 1/32 (3.1 %) as wide as its lower edge, from 1 µs to 134 s in 736 buckets plus one for all beyond.
//!
//! ```text
//! µs     1 2 3 … 64 │ 65-66 67-68 … 127-128 │ 129-132 … 253-256 │ … 134 217 728 │ longer
//! bucket 0 1 2 … 63 │ 64    65    … 95      │ 96      … 127     │ … 735         │ 736
//! ```

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::ReleaseNumber;

/// Buckets in the scheme, the last one unbounded.
pub const BUCKETS: usize = OVERFLOW as usize + 1;

const SPLIT_BITS: u32 = 5;
const SPLIT: u64 = 1 << SPLIT_BITS;
const LONGEST_MICROS: u64 = 1 << 27;
const OVERFLOW: u16 = ((27 - SPLIT_BITS) * (1 << SPLIT_BITS) + (1 << SPLIT_BITS)) as u16;

/// The bucket a latency falls into: 0 for anything up to 1 µs, [`BUCKETS`]` - 1` for anything beyond 134.2 s.
///
/// A bucket holds what is longer than the bucket below and at most its own [`upper_bound`], to the nanosecond.
pub fn bucket_of(latency: Duration) -> u16 {
    let micros = latency.as_nanos().div_ceil(1000);
    let Ok(micros) = u64::try_from(micros) else { return OVERFLOW };
    if micros > LONGEST_MICROS {
        return OVERFLOW;
    }
    let offset = micros.saturating_sub(1);
    let shift = (u64::BITS - offset.leading_zeros()).saturating_sub(SPLIT_BITS + 1);
    (u64::from(shift) * SPLIT + (offset >> shift)) as u16
}

/// The longest latency that a bucket holds, or `None` for the unbounded last bucket and any number beyond it.
pub fn upper_bound(bucket: u16) -> Option<Duration> {
    if bucket >= OVERFLOW {
        return None;
    }
    let bucket = u64::from(bucket);
    let shift = (bucket / SPLIT).saturating_sub(1);
    Some(Duration::from_micros((bucket - shift * SPLIT + 1) << shift))
}

/// How many requests took how long. Serialised as the non-empty buckets: `[[bucket, count], …]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram(BTreeMap<u16, u64>);

impl Histogram {
    /// Counts one latency.
    pub fn record(&mut self, latency: Duration) {
        self.add(bucket_of(latency), 1);
    }

    /// Counts `count` more in a bucket; a number beyond the scheme means the last bucket.
    pub fn add(&mut self, bucket: u16, count: u64) {
        if count > 0 {
            let slot = self.0.entry(bucket.min(OVERFLOW)).or_default();
            *slot = slot.saturating_add(count);
        }
    }

    /// The non-empty buckets and their counts, shortest first.
    pub fn buckets(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        self.0.iter().map(|(bucket, count)| (*bucket, *count))
    }

    /// Adds all of another histogram.
    pub fn merge(&mut self, other: &Self) {
        other.buckets().for_each(|(bucket, count)| self.add(bucket, count));
    }

    /// What was counted after `earlier`, a snapshot of the same histogram. A bucket that shrank (not the same
    /// histogram) counts as zero.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |bucket| earlier.0.get(&bucket).copied().unwrap_or(0);
        let mut rest = Self::default();
        self.buckets().for_each(|(bucket, count)| rest.add(bucket, count.saturating_sub(before(bucket))));
        rest
    }

    /// All that was counted.
    pub fn count(&self) -> u64 {
        self.0.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The upper bound of the bucket that holds the given quantile (`0.99` for the p99; clamped to 0..=1), so at most
    /// 3.1 % too high. `None` when nothing was counted; `Duration::MAX` when it lies beyond the scheme.
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let count = self.count();
        let rank = ((count as f64 * quantile.clamp(0.0, 1.0)).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0_u64;
        self.buckets().find_map(|(bucket, count)| {
            seen = seen.saturating_add(count);
            (seen >= rank).then(|| upper_bound(bucket).unwrap_or(Duration::MAX))
        })
    }

    /// How many took longer than `limit`: exact when the limit is a bucket's upper bound. A limit between two bounds is
    /// raised to the next one (at most 3.1 % higher), so no request is called slow that was not. A limit beyond
    /// 134.2 s is held at that: nothing longer can be told apart.
    pub fn count_slower_than(&self, limit: Duration) -> u64 {
        let last_ok = bucket_of(limit).min(OVERFLOW - 1);
        self.0.range(last_ok + 1..).fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }
}

impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.buckets())
    }
}

impl<'de> Deserialize<'de> for Histogram {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = Vec::<(u16, u64)>::deserialize(deserializer)?;
        let mut histogram = Self::default();
        for (bucket, count) in pairs {
            if bucket > OVERFLOW {
                return Err(D::Error::custom(format!(
                    "latency bucket {bucket} is beyond the last, {OVERFLOW}"
                )));
            }
            histogram.add(bucket, count);
        }
        Ok(histogram)
    }
}

/// One release's counts on one route.
///
/// A request is one attempt on one replica: when a request fails on one replica and is repeated on another, each
/// replica's release gets its own. A client that goes away is nobody's error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteMeasure {
    /// Attempts that ended with a response head or failed: `errors` of these were bad.
    pub requests: u64,
    /// Responses of 500 to 599 that a replica gave, plus `failed_forwards`.
    pub errors: u64,
    /// Attempts that failed after a replica was chosen: refused, cut off, no head in time, not HTTP. Part of `errors`.
    pub failed_forwards: u64,
    /// Attempts that ended before the response head through no fault of the replica: the client went away or broke a
    /// limit, or a planned end came. In none of the other counts.
    pub aborted: u64,
    /// From the request's last byte (or its head, if the response came sooner) to the response head, of each answered
    /// attempt: the replica's own time, without a slow client's upload or download.
    pub latency: Histogram,
}

impl RouteMeasure {
    /// Adds all of another.
    pub fn merge(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.errors = self.errors.saturating_add(other.errors);
        self.failed_forwards = self.failed_forwards.saturating_add(other.failed_forwards);
        self.aborted = self.aborted.saturating_add(other.aborted);
        self.latency.merge(&other.latency);
    }

    /// What was counted after `earlier`, a snapshot of the same route.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            errors: self.errors.saturating_sub(earlier.errors),
            failed_forwards: self.failed_forwards.saturating_sub(earlier.failed_forwards),
            aborted: self.aborted.saturating_sub(earlier.aborted),
            latency: self.latency.since(&earlier.latency),
        }
    }
}

/// One release's counts by route pattern (`/orders/{id}`; `other` for what no declared pattern matches).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseMeasure {
    /// By route pattern; a route that had no request may be missing.
    pub routes: BTreeMap<String, RouteMeasure>,
}

impl ReleaseMeasure {
    /// All routes together.
    pub fn total(&self) -> RouteMeasure {
        let mut total = RouteMeasure::default();
        self.routes.values().for_each(|route| total.merge(route));
        total
    }

    /// Adds all of another, route by route.
    pub fn merge(&mut self, other: &Self) {
        for (route, measure) in &other.routes {
            self.routes.entry(route.clone()).or_default().merge(measure);
        }
    }

    /// What was counted after `earlier`, a snapshot of the same release.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let nothing = RouteMeasure::default();
        let rest = |(route, now): (&String, &RouteMeasure)| {
            (route.clone(), now.since(earlier.routes.get(route).unwrap_or(&nothing)))
        };
        Self { routes: self.routes.iter().map(rest).collect() }
    }
}

/// Everything a gate has counted since it started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measures {
    /// Which start of the gate these counts began with; another value means that the counts began again at zero.
    pub epoch: u64,
    /// By release; one that no request reached may be missing.
    pub releases: BTreeMap<ReleaseNumber, ReleaseMeasure>,
}

impl Measures {
    /// What was counted after `earlier`. When the gate has been restarted in between, all that the new one has counted.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        if self.epoch != earlier.epoch {
            return self.clone();
        }
        let nothing = ReleaseMeasure::default();
        let rest = |(release, now): (&ReleaseNumber, &ReleaseMeasure)| {
            (*release, now.since(earlier.releases.get(release).unwrap_or(&nothing)))
        };
        Self { epoch: self.epoch, releases: self.releases.iter().map(rest).collect() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_bucket_holds_its_bound_and_nothing_longer() {
        for bucket in 0..OVERFLOW {
            let bound = upper_bound(bucket).unwrap();
            assert_eq!(bucket_of(bound), bucket, "{bound:?}");
            assert_eq!(bucket_of(bound + Duration::from_nanos(1)), bucket + 1, "{bound:?}");
        }
        assert_eq!(upper_bound(OVERFLOW - 1), Some(Duration::from_micros(LONGEST_MICROS)));
        assert_eq!(upper_bound(OVERFLOW), None);
        assert_eq!(bucket_of(Duration::ZERO), 0);
        assert_eq!(bucket_of(Duration::MAX), OVERFLOW);
    }

    #[test]
    fn a_limit_between_bounds_is_raised_to_the_next() {
        let mut histogram = Histogram::default();
        let [below, limit] = [1001, 1005].map(Duration::from_micros);
        assert_eq!(bucket_of(below), bucket_of(limit));
        let bound = upper_bound(bucket_of(limit)).unwrap();
        [below, limit, bound, bound + Duration::from_nanos(1)].into_iter().for_each(|d| histogram.record(d));
        assert_eq!(bound, Duration::from_micros(1008));
        assert_eq!(histogram.count_slower_than(limit), 1);
        assert_eq!(histogram.count_slower_than(bound), 1);
        assert_eq!(histogram.count_slower_than(Duration::MAX), 0);
        histogram.record(Duration::from_secs(500));
        assert_eq!(histogram.count_slower_than(Duration::MAX), 1, "beyond the scheme all are slow");
    }

    #[test]
    fn a_bucket_beyond_the_scheme_is_refused() {
        assert!(serde_json::from_str::<Histogram>("[[736,1]]").is_ok());
        assert!(serde_json::from_str::<Histogram>("[[737,1]]").is_err());
    }

    #[test]
    fn a_restarted_gate_counts_from_zero() {
        let release = ReleaseNumber::FIRST;
        let with = |epoch, requests| {
            let routes = [("/".to_owned(), RouteMeasure { requests, ..RouteMeasure::default() })].into();
            Measures { epoch, releases: [(release, ReleaseMeasure { routes })].into() }
        };
        assert_eq!(with(1, 9).since(&with(1, 4)).releases[&release].total().requests, 5);
        assert_eq!(with(2, 9).since(&with(1, 4)).releases[&release].total().requests, 9);
    }

    fn histograms() -> impl Strategy<Value = Histogram> {
        prop::collection::vec(0_u64..200_000_000_000, 0..60).prop_map(|nanos| {
            let mut histogram = Histogram::default();
            nanos.into_iter().for_each(|n| histogram.record(Duration::from_nanos(n)));
            histogram
        })
    }

    proptest! {
        #[test]
        fn buckets_are_ordered_and_narrow(nanos in 1_u64..134_000_000_000, more in 0_u64..1_000_000_000) {
            let latency = Duration::from_nanos(nanos);
            prop_assert!(bucket_of(latency) <= bucket_of(latency + Duration::from_nanos(more)));
            let bound = upper_bound(bucket_of(latency)).unwrap();
            prop_assert!(bound >= latency);
            let slack = latency.as_nanos() / 32 + 1000;
            prop_assert!(bound.as_nanos() <= latency.as_nanos() + slack, "{latency:?} in a bucket up to {bound:?}");
        }

        #[test]
        fn since_undoes_merge(a in histograms(), b in histograms()) {
            let mut both = a.clone();
            both.merge(&b);
            prop_assert_eq!(both.count(), a.count() + b.count());
            prop_assert_eq!(both.since(&a), b.clone());
            let mut other_way = b;
            other_way.merge(&a);
            prop_assert_eq!(both, other_way);
        }

        #[test]
        fn a_histogram_survives_json(a in histograms()) {
            let json = serde_json::to_string(&a).unwrap();
            prop_assert_eq!(serde_json::from_str::<Histogram>(&json).unwrap(), a);
        }

        #[test]
        fn quantiles_agree_with_counts(a in histograms(), q in 0.0_f64..=1.0) {
            match a.quantile(q) {
                None => prop_assert_eq!(a.count(), 0),
                Some(Duration::MAX) => prop_assert!(a.count_slower_than(Duration::MAX) > 0),
                Some(bound) => {
                    let slower = a.count_slower_than(bound) as f64;
                    prop_assert!(slower <= a.count() as f64 * (1.0 - q) + 1e-6);
                }
            }
        }

        #[test]
        fn measures_survive_json(a in histograms(), requests in any::<u64>()) {
            let route = RouteMeasure { requests, latency: a, ..RouteMeasure::default() };
            let release = ReleaseMeasure { routes: [("/orders/{id}".to_owned(), route)].into() };
            let measures = Measures { epoch: 7, releases: [(ReleaseNumber::FIRST, release)].into() };
            let json = serde_json::to_string(&measures).unwrap();
            prop_assert_eq!(serde_json::from_str::<Measures>(&json).unwrap(), measures);
        }
    }
}
