//! What must hold for any counts.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and prints its seed"
)]

use std::time::Duration;

use cutover_conductor::verify::{
    Counts, Criteria, EProcess, Finding, Limit, Routes, Sample, SlowLimit, Sprt, Tally, ThanOld, Verdict,
    Watch,
};
use proptest::prelude::*;

fn any_tally() -> impl Strategy<Value = Tally> {
    let requests = prop_oneof![0..50_u64, 0..1_000_000_u64, Just(u64::MAX), any::<u64>()];
    (requests, prop_oneof![Just(0.0), Just(1.0), 0.0..=1.0_f64])
        .prop_map(|(requests, share)| Tally::new(requests, (requests as f64 * share) as u64))
}

fn any_counts() -> impl Strategy<Value = Counts> {
    let number = || prop_oneof![0..100_u64, 0..10_000_u64, Just(u64::MAX)];
    (number(), number(), proptest::option::of(number()), proptest::option::of(number())).prop_map(
        |(requests, errors, slow, slower_than_old)| Counts { requests, errors, slow, slower_than_old },
    )
}

fn any_routes() -> impl Strategy<Value = Routes> {
    proptest::collection::btree_map("/[a-c]", any_counts(), 0..3)
}

fn any_sample() -> impl Strategy<Value = Sample> {
    (0..50_u64, 0..2_u64, any_routes(), proptest::option::of(any_routes()))
        .prop_map(|(tick, epoch, new, old)| Sample { tick, epoch, new, old })
}

fn any_criteria() -> impl Strategy<Value = Criteria> {
    let limit = || (0.0001..0.9_f64).prop_map(|share| Limit::declared(share).unwrap());
    let parts = (proptest::option::of(limit()), proptest::option::of(limit()), any::<bool>());
    (parts, 0.0001..0.2_f64, 0..4_u32, 0..300_u64, 0..50_u64).prop_map(
        |((error_limit, slow, than_old), false_alarm, attempt, enough_requests, warm_up_requests)| {
            let than_old = than_old || (error_limit.is_none() && slow.is_none());
            Criteria {
                error_limit,
                slow_limit: slow.map(|limit| SlowLimit { than: Duration::from_millis(250), limit }),
                than_old: than_old.then_some(ThanOld { slow: Duration::from_millis(90) }),
                false_alarm,
                attempt,
                enough_requests,
                warm_up_requests,
            }
        },
    )
}

fn sprt() -> Sprt {
    // Out of reach, so that every batch is counted.
    Sprt::new(Limit::declared(0.5).unwrap(), 1e-300, 1e-300)
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * (1.0 + a.abs().max(b.abs()))
}

proptest! {
    #[test]
    fn the_limits_test_does_not_depend_on_batches(parts in proptest::collection::vec((0..9_u64, 0..9_u64), 1..20)) {
        let batches: Vec<_> = parts.iter().map(|(n, k)| Tally::new(*n, *k)).collect();
        let mut cut = sprt();
        batches.iter().for_each(|batch| { cut.observe(*batch); });
        let mut whole = sprt();
        whole.observe(batches.into_iter().fold(Tally::default(), |sum, batch| sum + batch));
        prop_assert!(near(cut.log_evidence(), whole.log_evidence()));
    }

    #[test]
    fn the_comparison_does_not_depend_on_batches_of_one_ratio(
        per_new in 1..12_u64,
        parts in proptest::collection::vec((1..30_u64, 0.0..1.0_f64, 0.0..1.0_f64), 1..20),
    ) {
        let (mut cut, mut whole) = (EProcess::new(), EProcess::new());
        let (mut all_old, mut all_new) = (Tally::default(), Tally::default());
        for (requests, old_share, new_share) in parts {
            let new = Tally::new(requests, (requests as f64 * new_share) as u64);
            let old = Tally::new(requests * per_new, ((requests * per_new) as f64 * old_share) as u64);
            cut.observe(old, new);
            all_old += old;
            all_new += new;
        }
        whole.observe(all_old, all_new);
        prop_assert!(near(cut.log_evidence(), whole.log_evidence()));
    }

    #[test]
    fn one_more_event_never_speaks_the_wrong_way(
        new in (1..10_000_u64, 0.0..1.0_f64),
        old in (1..10_000_u64, 0.0..1.0_f64),
    ) {
        let of = |(n, share): (u64, f64)| Tally::new(n, ((n - 1) as f64 * share) as u64);
        let more = |tally: Tally| Tally::new(tally.requests, tally.events + 1);
        let (new, old) = (of(new), of(old));
        let evidence = |old, new| { let mut process = EProcess::new(); process.observe(old, new); process.log_evidence() };
        prop_assert!(evidence(old, more(new)) >= evidence(old, new));
        prop_assert!(evidence(more(old), new) <= evidence(old, new));
        let by_limit = |new| { let mut test = sprt(); test.observe(new); test.log_evidence() };
        prop_assert!(by_limit(more(new)) >= by_limit(new));
    }

    #[test]
    fn evidence_is_finite_for_any_counts(
        limit in 1e-9..(1.0 - 1e-9_f64),
        tallies in proptest::collection::vec((any_tally(), any_tally()), 1..6),
    ) {
        let mut test = Sprt::new(Limit::declared(limit).unwrap(), 0.001, 0.01);
        let mut process = EProcess::new();
        for (old, new) in tallies {
            test.observe(new);
            process.observe(old, new);
            prop_assert!(test.log_evidence().is_finite() && process.log_evidence().is_finite());
        }
    }

    #[test]
    fn a_watch_bears_any_samples_and_judges_them_the_same_twice(
        criteria in any_criteria(),
        samples in proptest::collection::vec(any_sample(), 1..12),
        stage in 0..12_usize,
    ) {
        let (mut one, mut two) = (Watch::new(&criteria).unwrap(), Watch::new(&criteria).unwrap());
        for (i, sample) in samples.iter().enumerate() {
            if i == stage {
                one.next_stage();
                two.next_stage();
            }
            prop_assert_eq!(one.observe(sample), two.observe(sample));
            let judgement = one.judgement();
            prop_assert!(judgement.evidence.is_finite() && !judgement.reasons.is_empty());
            prop_assert!(!judgement.to_string().is_empty());
            for reason in &judgement.reasons {
                if let (Verdict::Pass, Finding::WithinLimit { new, limit }) = (judgement.verdict, &reason.finding) {
                    prop_assert!(new.requests >= criteria.enough_requests.max(1) && new.share() <= *limit);
                }
            }
        }
    }

    #[test]
    fn a_watch_never_passes_without_requests_of_the_new_release(
        criteria in any_criteria(),
        olds in proptest::collection::vec(proptest::option::of(any_routes()), 1..20),
    ) {
        let mut watch = Watch::new(&criteria).unwrap();
        for (tick, old) in (0..).zip(olds) {
            let idle = Counts { slow: Some(0), slower_than_old: Some(0), ..Counts::default() };
            let new = if tick % 3 == 0 { Routes::new() } else { Routes::from([("/a".to_owned(), idle)]) };
            let judgement = watch.observe(&Sample { tick, epoch: 0, new, old });
            prop_assert_eq!(judgement.verdict, Verdict::Undecided);
        }
    }
}
