//! Requests, and what the gate counted of them. Counted lazily: between two changes of the world all rates are constant.

use std::{collections::BTreeMap, time::Duration};

use cutover_model::{
    ReleaseNumber,
    measure::{Measures, bucket_of},
};

use super::World;

/// Requests per second while there is traffic.
const RATE: f64 = 400.0;

const FAST: [(f64, Duration); 3] =
    [(0.5, Duration::from_millis(10)), (0.45, Duration::from_millis(20)), (0.05, Duration::from_millis(40))];
const SLOW: Duration = Duration::from_millis(400);

/// The stream of requests.
#[derive(Debug)]
pub(crate) struct Traffic {
    pub(crate) flows: bool,
    pub(crate) counted: Measures,
    /// Requests that each release ever got, over all epochs.
    pub(crate) truth: BTreeMap<ReleaseNumber, u64>,
    /// Requests that nobody served.
    pub(crate) unserved: f64,
    settled: Duration,
    owed: BTreeMap<ReleaseNumber, f64>,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            flows: true,
            counted: Measures { epoch: 1, releases: BTreeMap::new() },
            truth: BTreeMap::new(),
            unserved: 0.0,
            settled: Duration::ZERO,
            owed: BTreeMap::new(),
        }
    }
}

impl World {
    /// Counts the requests since the last change. Called before every change of who serves.
    pub(crate) fn settle(&mut self) {
        let now = self.now();
        let seconds = (now - self.traffic.settled).as_secs_f64();
        self.traffic.settled = now;
        if seconds <= 0.0 || !self.traffic.flows {
            return;
        }
        let shares = self.host.shares();
        if shares.is_empty() {
            self.traffic.unserved += seconds * RATE;
        }
        for (release, share) in shares {
            let owed = self.traffic.owed.entry(release).or_default();
            *owed += seconds * RATE * share;
            let requests = owed.floor();
            *owed -= requests;
            self.count(release, requests as u64);
        }
    }

    fn count(&mut self, release: ReleaseNumber, requests: u64) {
        if requests == 0 {
            return;
        }
        let behaviour = self.behaviour(release);
        let errors = binomial(&mut self.rng, requests, behaviour.error_rate());
        let slow = binomial(&mut self.rng, requests, behaviour.slow_rate());
        let measure = self.traffic.counted.releases.entry(release).or_default();
        let route = measure.routes.entry("other".into()).or_default();
        route.requests += requests;
        route.errors += errors;
        route.latency.add(bucket_of(SLOW), slow);
        let mut left = requests - slow;
        for (share, latency) in FAST {
            let some = ((requests - slow) as f64 * share).ceil() as u64;
            route.latency.add(bucket_of(latency), some.min(left));
            left -= some.min(left);
        }
        *self.traffic.truth.entry(release).or_default() += requests;
    }

    /// The gate began to count anew: a restart, planned or not.
    pub(crate) fn restart_counts(&mut self) {
        self.settle();
        self.host.epoch += 1;
        self.traffic.counted = Measures { epoch: self.host.epoch, releases: BTreeMap::new() };
    }
}

/// How many of `n` happen, each with chance `p`.
fn binomial(rng: &mut fastrand::Rng, n: u64, p: f64) -> u64 {
    if p <= 0.0 || n == 0 {
        return 0;
    }
    let mean = n as f64 * p;
    if mean > 100.0 {
        // Normal approximation by the sum of twelve uniforms: near enough for counts this large.
        let normal = (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0;
        return (mean + normal * (mean * (1.0 - p)).sqrt()).round().clamp(0.0, n as f64) as u64;
    }
    if p > 0.1 {
        return (0..n).filter(|_| rng.f64() < p).count() as u64;
    }
    // Skips from one to the next by the geometric distribution.
    let (mut at, mut happened) = (0.0, 0);
    loop {
        at += ((1.0 - rng.f64()).ln() / (1.0 - p).ln()).floor() + 1.0;
        if at > n as f64 {
            return happened;
        }
        happened += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_have_the_mean_they_should() {
        let mut rng = fastrand::Rng::with_seed(7);
        for (n, p) in [(100, 0.01), (100, 0.5), (10_000, 0.05), (40, 0.002)] {
            let sum: u64 = (0..5000).map(|_| binomial(&mut rng, n, p)).sum();
            let mean = sum as f64 / 5000.0;
            let expected = n as f64 * p;
            assert!((mean - expected).abs() < expected * 0.15, "{n} {p}: {mean}");
        }
    }
}
