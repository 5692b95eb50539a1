//! How good the detector is, measured. Every number of runs and every tolerance is derived, none is tuned to a seed.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and prints its seed"
)]

use std::time::Duration;

use cutover_conductor::verify::{
    Criteria, Decision, EProcess, Limit, Sprt, Tally, ThanOld, Verdict, bound,
    quality::{Detector, Rollout, SHIFTS, Shift, judge},
};

const ALPHA: f64 = 0.001;
const BETA: f64 = 0.01;
const DETECTORS: [Detector; 3] =
    [Detector::Sprt, Detector::EProcess { old_per_new: 1 }, Detector::EProcess { old_per_new: 9 }];

fn draws(seed: u64) -> impl FnMut() -> f64 {
    eprintln!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    // `f64()` may give 0, whose logarithm is not finite; 1 − x of [0, 1) is in (0, 1].
    move || (1.0 - rng.f64()).min(1.0 - f64::EPSILON)
}

/// The largest count that chance `p` in `n` independent runs exceeds less than once in 100,000 repetitions of the test:
/// its 99.999 % quantile, summed from the binomial distribution itself.
fn at_most(n: u32, p: f64) -> u32 {
    let mut term = f64::from(n) * (-p).ln_1p();
    let mut below = 0.0;
    for k in 0..n {
        below += term.exp();
        if below >= 0.99999 {
            return k;
        }
        term += (f64::from(n - k) / f64::from(k + 1)).ln() + (p / (1.0 - p)).ln();
    }
    n
}

#[test]
fn the_tolerance_is_the_binomial_quantile() {
    // Poisson(10): P(X > 25) = 1.7e-5, P(X > 26) = 0.7e-5.
    assert_eq!(at_most(10_000, 0.001), 26);
    assert_eq!(at_most(10, 1e-9), 0);
}

#[test]
fn the_bounds_are_the_published_ones() {
    let rounded = |detector: Detector| SHIFTS.map(|shift| detector.bound(shift, ALPHA, BETA).round());
    assert_eq!(rounded(Detector::Sprt), [482.0, 1733.0, 164.0, 19.0]);
    assert_eq!(rounded(DETECTORS[1]), [1609.0, 4006.0, 462.0, 103.0]);
    assert_eq!(rounded(DETECTORS[2]), [636.0, 2017.0, 203.0, 34.0]);
    assert!(bound(0.01, 0.01, 1.0, ALPHA).is_infinite());
}

/// The mean of 2,000 runs has a standard error of at most 2 % (the requests to detect spread by at most 0.9 of their
/// mean), and the true ratios are at most 1.30, so the limit of 1.4 is five standard errors away.
#[test]
fn bad_releases_are_detected_within_1_4_times_the_bound() {
    let runs = 2_000;
    for detector in DETECTORS {
        for shift in SHIFTS {
            let mut draw = draws(7);
            let bound = detector.bound(shift, ALPHA, BETA);
            let horizon = (bound * 30.0) as u64;
            let detected: Vec<u64> = (0..runs)
                .filter_map(|_| detector.run(shift, shift.bad, ALPHA, BETA, horizon, &mut draw))
                .collect();
            let missed = runs - detected.len() as u32;
            assert!(missed <= at_most(runs, BETA), "{detector:?} {shift:?}: missed {missed}");
            let mean = detected.iter().sum::<u64>() as f64 / detected.len() as f64;
            assert!(mean <= 1.4 * bound, "{detector:?} {shift:?}: {mean:.0} against a bound of {bound:.0}");
        }
    }
}

/// 10,000 clean runs at the declared 0.001 should alarm at most 10 times on average; at a declared 0.05 at most 500 times,
/// which a wrong factor of 1.2 would already exceed.
#[test]
fn clean_releases_raise_no_more_false_alarms_than_declared() {
    let runs = 10_000;
    for alpha in [ALPHA, 0.05] {
        for detector in DETECTORS {
            for shift in SHIFTS {
                let mut draw = draws(11);
                let horizon = (detector.bound(shift, ALPHA, BETA) * 3.0) as u64;
                let alarms = (0..runs)
                    .filter(|_| detector.run(shift, shift.good, alpha, BETA, horizon, &mut draw).is_some())
                    .count();
                let allowed = at_most(runs, alpha);
                assert!(alarms as u32 <= allowed, "{detector:?} {shift:?} at {alpha}: {alarms} > {allowed}");
            }
        }
    }
}

/// The comparison keeps its promise whatever the common rate is, also where events are common.
#[test]
fn the_comparison_needs_no_baseline() {
    for rate in [0.2, 0.5, 0.9] {
        let (mut draw, runs) = (draws(13), 2_000);
        let clean = Shift { good: rate, bad: rate };
        let comparison = Detector::EProcess { old_per_new: 3 };
        let alarms =
            (0..runs).filter(|_| comparison.run(clean, rate, 0.05, BETA, 300, &mut draw).is_some()).count();
        assert!(alarms as u32 <= at_most(runs, 0.05), "{rate}: {alarms}");
    }
}

/// The whole judge: two tests on two routes and on both together, on the worst release that is still good, at the declared
/// 0.001. No tolerance: the first attempt may use 8/10 of the chance, and overshoot takes its part of that.
#[test]
fn ten_thousand_good_releases_are_failed_at_most_ten_times() {
    let limit = Limit::declared(0.05).unwrap();
    let criteria = Criteria {
        error_limit: Some(limit),
        slow_limit: None,
        than_old: Some(ThanOld { slow: Duration::from_millis(100) }),
        false_alarm: ALPHA,
        attempt: 1,
        enough_requests: 300,
        warm_up_requests: 0,
    };
    let rates = Shift { good: limit.acceptable(), bad: limit.acceptable() };
    let rollout = Rollout { rates, old_per_new: 3, batch: 60, horizon: 1_200 };
    let mut draw = draws(17);
    let fails = (0..10_000)
        .filter(|_| judge(&criteria, rollout, false, &mut draw).unwrap().0 == Verdict::Fail)
        .count();
    assert!(fails <= 10, "{fails} of 10,000 good releases failed");
}

fn choose(n: u64, k: u64) -> f64 {
    (0..k).map(|i| (n - i) as f64 / (i + 1) as f64).product()
}

/// Not by simulation: for every small batch the expectation of the factor, given the events of both releases, is summed
/// from the hypergeometric distribution. It must not exceed 1.
#[test]
fn no_batch_is_expected_to_raise_the_evidence_against_a_good_release() {
    for (new, old) in (1..=12_u64).flat_map(|new| (1..=12_u64).map(move |old| (new, old))) {
        for events in 0..=(new + old) {
            let expected: f64 = (events.saturating_sub(old)..=events.min(new))
                .map(|on_new| {
                    let chance =
                        choose(new, on_new) * choose(old, events - on_new) / choose(new + old, events);
                    let mut process = EProcess::new();
                    process.observe(Tally::new(old, events - on_new), Tally::new(new, on_new));
                    chance * process.log_evidence().exp()
                })
                .sum();
            assert!(expected <= 1.0 + 1e-9, "{new} new, {old} old, {events} events: {expected}");
        }
    }
}

#[test]
fn a_declared_limit_is_the_watershed() {
    for share in [0.001, 0.01, 0.05, 0.2, 0.5] {
        let limit = Limit::declared(share).unwrap();
        assert!(limit.acceptable() < share && share < limit.bad() && limit.bad() < 1.0);
        let events = 2_000_u64;
        let at = |share: f64| {
            let mut test = Sprt::new(limit, ALPHA, BETA);
            test.observe(Tally::new((events as f64 / share) as u64, events));
            test.log_evidence()
        };
        assert!(at(share) <= 1e-6, "an observed share at the limit of {share} speaks against the release");
        assert!(at(share * 1.1) >= 0.0, "an observed share of 1.1 limits of {share} speaks for it");
    }
}

/// One event speaks by at most ln 4, ln 1000 = 4.98 ln 4.
#[test]
fn no_conviction_stands_on_fewer_than_five_events() {
    for limit in [1e-6, 0.001, 0.01, 0.1, 0.9] {
        let mut test = Sprt::new(Limit::declared(limit).unwrap(), ALPHA, BETA);
        assert_ne!(test.observe(Tally::new(4, 4)), Decision::Reject, "{limit}");
    }
    let mut test = Sprt::new(Limit::declared(0.01).unwrap(), ALPHA, BETA);
    assert_eq!(test.observe(Tally::new(6, 6)), Decision::Reject);
}

#[test]
fn limits_that_cannot_be_tested_are_refused() {
    for bad in [0.0, 1.0, -0.1, 1.5, f64::NAN, f64::INFINITY] {
        assert!(Limit::declared(bad).is_err(), "{bad}");
    }
    assert!(Limit::between(0.02, 0.01).is_err() && Limit::between(0.01, 0.01).is_err());
}
