//! Prints how good the detector is: `cargo run --release -p cutover-conductor --example detector [SEED]`.
#![allow(clippy::print_stdout, reason = "a report for people, not part of the library")]

use std::time::Duration;

use cutover_conductor::verify::{
    Criteria, Limit, SlowLimit, ThanOld, Verdict,
    quality::{Detector, Rollout, SHIFTS, Shift, judge, measure},
};

const ALPHA: f64 = 0.001;
const BETA: f64 = 0.01;
const RUNS: u32 = 10_000;

fn main() {
    let seed = std::env::args().nth(1).and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut draw = || (1.0 - rng.f64()).min(1.0 - f64::EPSILON);
    println!(
        "Each test alone: {RUNS} bad and 5 × {RUNS} clean runs, false alarm {ALPHA}, miss {BETA}, seed {seed}\n"
    );
    println!("| detector | shift | bound | mean | ratio | p95 | missed | false alarms |");
    println!("|---|---|---:|---:|---:|---:|---:|---:|");
    let detectors = [
        ("limit (SPRT)", Detector::Sprt),
        ("old release, 1:1", Detector::EProcess { old_per_new: 1 }),
        ("old release, 9:1", Detector::EProcess { old_per_new: 9 }),
    ];
    for (name, detector) in detectors {
        for shift in SHIFTS {
            let quality = measure(detector, shift, ALPHA, BETA, RUNS, &mut draw);
            println!(
                "| {name} | {} → {} % | {:.0} | {:.0} | {:.2} | {} | {:.4} | {:.4} |",
                shift.good * 100.0,
                shift.bad * 100.0,
                quality.bound,
                quality.mean,
                quality.mean / quality.bound,
                quality.p95,
                quality.missed,
                quality.false_alarms
            );
        }
    }
    whole_judge(&mut draw);
}

fn whole_judge(draw: &mut impl FnMut() -> f64) {
    let runs = 2_000;
    let limit = Limit::declared(0.01).expect("1 % is a limit");
    let criteria = Criteria {
        error_limit: Some(limit),
        slow_limit: Some(SlowLimit { than: Duration::from_millis(250), limit }),
        than_old: Some(ThanOld { slow: Duration::from_millis(120) }),
        false_alarm: ALPHA,
        attempt: 1,
        enough_requests: 1000,
        warm_up_requests: 0,
    };
    println!(
        "\nThe whole judge, limits of 1 %, old release 9:1 at 0.1 %, read every 20 new requests, {runs} runs\n"
    );
    println!("| new release | failed | passed | mean requests to the verdict |");
    println!("|---|---:|---:|---:|");
    for bad in [0.0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.3, 1.0] {
        let rates = Shift { good: 0.001, bad };
        let rollout = Rollout { rates, old_per_new: 9, batch: 20, horizon: 50_000 };
        let seen: Vec<_> = (0..runs).filter_map(|_| judge(&criteria, rollout, true, draw).ok()).collect();
        let share = |verdict| seen.iter().filter(|(v, _)| *v == verdict).count() as f64 / f64::from(runs);
        let mean = seen.iter().map(|(_, requests)| *requests).sum::<u64>() as f64 / f64::from(runs);
        println!(
            "| {} % | {:.3} | {:.3} | {mean:.0} |",
            bad * 100.0,
            share(Verdict::Fail),
            share(Verdict::Pass)
        );
    }
}
