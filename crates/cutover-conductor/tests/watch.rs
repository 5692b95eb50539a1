//! The judge as the conductor uses it: cumulative samples in, a judgement out.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and prints its seed"
)]

use std::time::Duration;

use cutover_conductor::verify::{
    Counts, Criteria, InvalidCriteria, Judgement, Limit, Routes, Sample, SlowLimit, ThanOld, Verdict, Watch,
};

fn criteria() -> Criteria {
    Criteria {
        error_limit: Some(Limit::declared(0.01).unwrap()),
        slow_limit: Some(SlowLimit {
            than: Duration::from_millis(250),
            limit: Limit::declared(0.01).unwrap(),
        }),
        than_old: Some(ThanOld { slow: Duration::from_millis(120) }),
        false_alarm: 0.001,
        attempt: 1,
        enough_requests: 500,
        warm_up_requests: 0,
    }
}

/// Chances per request.
#[derive(Clone, Copy)]
struct Rates {
    error: f64,
    slow: f64,
    slower_than_old: f64,
}

const GOOD: Rates = Rates { error: 0.002, slow: 0.002, slower_than_old: 0.01 };

/// A gate with cumulative counters and seeded traffic.
struct Traffic {
    rng: fastrand::Rng,
    sample: Sample,
}

impl Traffic {
    fn new(seed: u64) -> Self {
        eprintln!("seed {seed}");
        let sample = Sample { old: Some(Routes::new()), ..Sample::default() };
        Self { rng: fastrand::Rng::with_seed(seed), sample }
    }

    fn serve(&mut self, new_release: bool, route: &str, requests: u64, rates: Rates) {
        let routes = if new_release { &mut self.sample.new } else { self.sample.old.get_or_insert_default() };
        let zero = Counts { slow: Some(0), slower_than_old: Some(0), ..Counts::default() };
        let counts = routes.entry(route.to_owned()).or_insert(zero);
        let rng = &mut self.rng;
        let mut events = |rate: f64| (0..requests).filter(|_| rng.f64() < rate).count() as u64;
        counts.requests += requests;
        counts.errors += events(rates.error);
        *counts.slow.as_mut().unwrap() += events(rates.slow);
        *counts.slower_than_old.as_mut().unwrap() += events(rates.slower_than_old);
    }

    fn read(&mut self) -> &Sample {
        self.sample.tick += 1;
        &self.sample
    }

    /// Three routes; the new release takes a tenth of the traffic, `requests` in all for it.
    fn tick(&mut self, requests: u64, new: Rates) -> &Sample {
        for (route, share) in [("/", 0.6), ("/orders", 0.3), ("/rare", 0.1)] {
            let requests = (requests as f64 * share) as u64;
            self.serve(true, route, requests, new);
            self.serve(false, route, requests * 9, GOOD);
        }
        self.read()
    }
}

/// A watch that has its baseline, and the traffic it reads.
fn begun(criteria: &Criteria, seed: u64) -> (Watch, Traffic) {
    let mut traffic = Traffic::new(seed);
    let mut watch = Watch::new(criteria).unwrap();
    watch.observe(traffic.tick(0, GOOD));
    (watch, traffic)
}

fn until_decided(watch: &mut Watch, traffic: &mut Traffic, new: Rates) -> Judgement {
    for _ in 0..400 {
        let judgement = watch.observe(traffic.tick(50, new));
        if judgement.verdict != Verdict::Undecided {
            break;
        }
    }
    watch.judgement().clone()
}

#[test]
fn a_good_release_passes_and_says_what_was_seen() {
    let (mut watch, mut traffic) = begun(&criteria(), 1);
    let judgement = until_decided(&mut watch, &mut traffic, GOOD);
    assert_eq!(judgement.verdict, Verdict::Pass, "{judgement}");
    assert_eq!(judgement.reasons.len(), 4, "{judgement}");
    let text = judgement.to_string();
    assert!(text.contains("within the limit of 1 %") && text.contains("not shown to be worse"), "{text}");
}

#[test]
fn each_kind_of_bad_fails_with_its_own_reason() {
    let cases = [
        (Rates { error: 0.10, ..GOOD }, "errors"),
        (Rates { slow: 0.10, ..GOOD }, "requests slower than 250ms"),
        (
            Rates { slower_than_old: 0.10, ..GOOD },
            "requests slower than 120ms, well above the old release's p99",
        ),
        // Within the declared limit, but not as good as the old release.
        (Rates { error: 0.009, ..GOOD }, "errors"),
    ];
    for (rates, named) in cases {
        let patient = Criteria { enough_requests: 15_000, ..criteria() };
        let (mut watch, mut traffic) = begun(&patient, 2);
        let judgement = until_decided(&mut watch, &mut traffic, rates);
        assert_eq!(judgement.verdict, Verdict::Fail, "{named}: {judgement}");
        assert!(judgement.reasons[0].to_string().starts_with(named), "{judgement}");
        assert!(judgement.evidence >= judgement.fail_at);
    }
}

#[test]
fn one_bad_route_fails_the_release_and_is_named() {
    let (mut watch, mut traffic) = begun(&criteria(), 3);
    for _ in 0..200 {
        traffic.serve(true, "/rare", 5, Rates { error: 0.5, ..GOOD });
        if watch.observe(traffic.tick(500, GOOD)).verdict == Verdict::Fail {
            break;
        }
    }
    let judgement = watch.judgement();
    assert_eq!(judgement.verdict, Verdict::Fail, "{judgement}");
    assert_eq!(judgement.reasons[0].route.as_deref(), Some("/rare"), "{judgement}");
}

#[test]
fn a_route_that_appears_later_is_watched_too() {
    let (mut watch, mut traffic) = begun(&criteria(), 4);
    watch.observe(traffic.tick(50, GOOD));
    for _ in 0..20 {
        traffic.serve(true, "/added", 5, Rates { error: 0.9, ..GOOD });
        watch.observe(traffic.tick(5000, GOOD));
    }
    let judgement = watch.judgement();
    assert_eq!(judgement.verdict, Verdict::Fail, "{judgement}");
    assert!(judgement.reasons.iter().any(|reason| reason.route.as_deref() == Some("/added")), "{judgement}");
}

#[test]
fn a_fail_is_final() {
    let (mut watch, mut traffic) = begun(&criteria(), 5);
    let failed = until_decided(&mut watch, &mut traffic, Rates { error: 0.5, ..GOOD });
    assert_eq!(failed.verdict, Verdict::Fail);
    watch.next_stage();
    for _ in 0..50 {
        watch.observe(traffic.tick(500, GOOD));
    }
    assert_eq!(watch.judgement(), &failed);
}

#[test]
fn a_release_that_turns_bad_late_is_caught_soon() {
    let (mut watch, mut traffic) = begun(&criteria(), 6);
    for _ in 0..400 {
        assert_ne!(watch.observe(traffic.tick(50, GOOD)).verdict, Verdict::Fail);
    }
    // 20,000 good requests are behind it. The limit's test alone would need some 15,000 bad ones to forget them.
    let mut bad = 0;
    while watch.judgement().verdict != Verdict::Fail && bad < 5_000 {
        bad += 50;
        watch.observe(traffic.tick(50, Rates { error: 0.1, ..GOOD }));
    }
    assert!(bad <= 500, "caught only after {bad} bad requests");
}

#[test]
fn no_data_is_not_good_news() {
    let mut watch = Watch::new(&criteria()).unwrap();
    assert_eq!(watch.judgement().verdict, Verdict::Undecided);
    for tick in 0..1000 {
        let empty = Sample { tick, old: Some(Routes::new()), ..Sample::default() };
        assert_eq!(watch.observe(&empty).verdict, Verdict::Undecided);
    }
    // Only the old release has traffic.
    let (mut watch, mut traffic) = begun(&criteria(), 7);
    for _ in 0..100 {
        traffic.serve(false, "/", 1000, GOOD);
        assert_eq!(watch.observe(traffic.read()).verdict, Verdict::Undecided);
    }
    assert!(watch.judgement().to_string().contains("no request of the new release"), "{}", watch.judgement());
}

#[test]
fn a_comparison_without_the_old_release_does_not_pass() {
    for gone in [true, false] {
        let (mut watch, mut traffic) = begun(&criteria(), 8);
        for _ in 0..100 {
            traffic.serve(true, "/", 500, GOOD);
            if gone {
                traffic.sample.old = None;
            }
            assert_eq!(watch.observe(traffic.read()).verdict, Verdict::Undecided);
        }
        assert!(watch.judgement().to_string().contains("nothing to compare with"), "{}", watch.judgement());
    }
}

#[test]
fn a_comparison_made_while_the_old_release_ran_holds_after_it_left() {
    let (mut watch, mut traffic) = begun(&criteria(), 9);
    assert_eq!(until_decided(&mut watch, &mut traffic, GOOD).verdict, Verdict::Pass);
    watch.next_stage();
    traffic.sample.old = None;
    for _ in 0..100 {
        traffic.serve(true, "/", 100, GOOD);
        watch.observe(traffic.read());
    }
    assert_eq!(watch.judgement().verdict, Verdict::Pass, "{}", watch.judgement());
}

#[test]
fn what_is_not_measured_keeps_the_verdict_open() {
    let (mut watch, mut traffic) = begun(&criteria(), 10);
    for _ in 0..100 {
        let mut sample = traffic.tick(100, GOOD).clone();
        sample.new.values_mut().for_each(|counts| counts.slow = None);
        assert_eq!(watch.observe(&sample).verdict, Verdict::Undecided);
    }
    assert!(watch.judgement().to_string().contains("not measured"), "{}", watch.judgement());
}

#[test]
fn a_counter_that_went_back_is_undecided_then_goes_on() {
    let (mut watch, mut traffic) = begun(&criteria(), 11);
    assert_eq!(until_decided(&mut watch, &mut traffic, GOOD).verdict, Verdict::Pass);
    traffic.sample.new.clear();
    traffic.sample.old = Some(Routes::new());
    let judgement = watch.observe(traffic.tick(10, GOOD));
    assert_eq!(judgement.verdict, Verdict::Undecided);
    assert!(judgement.to_string().contains("went back"), "{judgement}");
    assert_eq!(watch.observe(traffic.tick(50, GOOD)).verdict, Verdict::Pass);
}

#[test]
fn a_repeated_reading_is_not_counted_twice() {
    let (mut watch, mut traffic) = begun(&criteria(), 12);
    traffic.serve(true, "/", 100, GOOD);
    traffic.sample.new.get_mut("/").unwrap().errors = 3;
    let sample = traffic.read().clone();
    let evidence = watch.observe(&sample).evidence;
    for _ in 0..100 {
        let judgement = watch.observe(&sample);
        assert_eq!((judgement.verdict, judgement.evidence), (Verdict::Undecided, evidence));
    }
}

#[test]
fn warm_up_is_left_out_in_every_stage() {
    let cold = Rates { error: 0.5, slow: 0.9, slower_than_old: 0.9 };
    let (mut watch, mut traffic) = begun(&Criteria { warm_up_requests: 100, ..criteria() }, 13);
    for _ in 0..3 {
        assert!(watch.judgement().verdict != Verdict::Fail);
        watch.observe(traffic.tick(100, cold));
        let judgement = until_decided(&mut watch, &mut traffic, GOOD);
        assert_eq!(judgement.verdict, Verdict::Pass, "{judgement}");
        watch.next_stage();
    }
}

#[test]
fn each_stage_earns_its_own_pass() {
    let (mut watch, mut traffic) = begun(&criteria(), 14);
    assert_eq!(until_decided(&mut watch, &mut traffic, GOOD).verdict, Verdict::Pass);
    watch.next_stage();
    assert_eq!(watch.judgement().verdict, Verdict::Undecided);
    assert_eq!(watch.observe(traffic.tick(100, GOOD)).verdict, Verdict::Undecided);
}

#[test]
fn later_attempts_need_more_evidence() {
    let fail_at = |attempt| {
        let watch = Watch::new(&Criteria { attempt, ..criteria() }).unwrap();
        watch.judgement().fail_at
    };
    assert!((fail_at(1) - 1250.0).abs() < 1e-6 && (fail_at(2) - 10_000.0).abs() < 1e-6, "{}", fail_at(2));
    assert!(fail_at(3) > fail_at(2));
}

#[test]
fn criteria_that_declare_nothing_are_refused() {
    let nothing = Criteria { error_limit: None, slow_limit: None, than_old: None, ..criteria() };
    assert_eq!(Watch::new(&nothing).unwrap_err(), InvalidCriteria::NothingDeclared);
    assert!(Watch::new(&Criteria { false_alarm: 0.0, ..criteria() }).is_err());
}

#[test]
fn a_judgement_survives_the_journal() {
    let (mut watch, mut traffic) = begun(&criteria(), 15);
    for rates in [GOOD, Rates { slow: 0.9, ..GOOD }] {
        let judgement = until_decided(&mut watch, &mut traffic, rates);
        let stored = serde_json::to_string(&judgement).unwrap();
        assert_eq!(serde_json::from_str::<Judgement>(&stored).unwrap(), judgement, "{stored}");
        watch.next_stage();
    }
}

/// The whole judge with all of its tests, routes and stages, on the worst release that is still good: at the acceptable
/// share of both limits, and as the old one. A declared chance of 0.05 may alarm 20 times in 500 runs on average (8/10 of
/// 0.05 belongs to the first attempt); 42 is its 99.999 % binomial quantile.
#[test]
fn the_budget_holds_over_tests_routes_and_stages() {
    let mut alarms = 0;
    let limit = Limit::declared(0.05).unwrap();
    let worst = Rates { error: limit.acceptable(), slow: limit.acceptable(), slower_than_old: 0.01 };
    let criteria = Criteria {
        error_limit: Some(limit),
        slow_limit: Some(SlowLimit { than: Duration::from_millis(250), limit }),
        false_alarm: 0.05,
        enough_requests: 200,
        ..criteria()
    };
    for seed in 0..500 {
        let mut watch = Watch::new(&criteria).unwrap();
        let mut traffic = Traffic::new(seed);
        watch.observe(traffic.read());
        for tick in 0..30 {
            for route in ["/", "/orders"] {
                traffic.serve(true, route, 10, worst);
                traffic.serve(false, route, 20, worst);
            }
            watch.observe(traffic.read());
            if tick % 10 == 9 {
                watch.next_stage();
            }
        }
        alarms += u32::from(watch.judgement().verdict == Verdict::Fail);
    }
    assert!(alarms <= 42, "{alarms} of 500 good releases failed");
}
