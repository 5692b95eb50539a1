//! Who gets the next request: first the pool, by weight; then within it the least loaded replica.
//!
//! Pools are chosen by a low-discrepancy sequence (multiples of the golden ratio modulo one) instead of chance, so that
//! shares hold over short windows: after n requests a pool is off its share by O(log n) requests, not O(√n). The
//! sequence needs only a counter, which survives a change of the table.
//!
//! Slow start holds in both regimes. Under load it scales a replica's load, so that balance gives it its ramp's part;
//! with little load, when all are at zero, it takes the replica out of that part of the turns which it has not earned.

/// The n-th number of the sequence, in `0.0..1.0`.
pub(crate) fn low_discrepancy(turn: u64) -> f64 {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15; // 2⁶⁴ / φ
    (turn.wrapping_mul(GOLDEN) >> 11) as f64 / (1_u64 << 53) as f64
}

/// The position whose part of the summed weights covers `point` (in `0.0..1.0`); `None` when no weight is positive.
pub(crate) fn by_weight(weights: impl Iterator<Item = f64> + Clone, point: f64) -> Option<usize> {
    let usable = |weight: f64| if weight.is_finite() { weight.max(0.0) } else { 0.0 };
    let total: f64 = weights.clone().map(usable).sum();
    let mut left = point * total;
    let mut last = None;
    for (position, weight) in weights.map(usable).enumerate() {
        if weight > 0.0 {
            last = Some(position);
            if left < weight {
                return last;
            }
            left -= weight;
        }
    }
    last
}

/// What is known of a replica when it could be chosen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    /// Requests in flight.
    pub(crate) load: usize,
    /// How far its slow start is, in `0.0..=1.0`; 1 = done.
    pub(crate) ramp: f64,
}

/// The candidate with the least load for its ramp; ties go round by `turn`. `candidate` gives `None` for positions that
/// may not be chosen. `None` only when there is no candidate.
pub(crate) fn least_loaded(
    positions: usize,
    turn: u64,
    candidate: impl Fn(usize) -> Option<Candidate>,
) -> Option<usize> {
    let oldest = (0..positions).filter_map(&candidate).map(|c| c.ramp).fold(0.0, f64::max);
    let point = low_discrepancy(turn);
    let score = |position: usize| {
        let Candidate { load, ramp } = candidate(position)?;
        let ramp = if oldest > 0.0 { ramp / oldest } else { 1.0 };
        (point < ramp).then_some(load as f64 / ramp)
    };
    let mut least = f64::INFINITY;
    let mut ties = 0;
    for value in (0..positions).filter_map(score) {
        if value < least {
            (least, ties) = (value, 1);
        } else if value == least {
            ties += 1;
        }
    }
    let nth = turn.checked_rem(ties)?;
    // Loads move while we look; the first candidate stands in when the tie has gone.
    let tied = (0..positions).filter(|position| score(*position).is_some_and(|value| value <= least));
    tied.clone()
        .nth(nth as usize)
        .or_else(|| tied.clone().next())
        .or_else(|| (0..positions).find(|p| candidate(*p).is_some()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares(weights: &[f64], picks: u64) -> Vec<u64> {
        let mut counts = vec![0; weights.len()];
        for turn in 0..picks {
            counts[by_weight(weights.iter().copied(), low_discrepancy(turn)).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn a_canary_gets_its_share_in_any_short_window() {
        for start in (0..10_000).step_by(137) {
            let window = (start..start + 1000)
                .filter(|turn| by_weight([0.95, 0.05].into_iter(), low_discrepancy(*turn)) == Some(1))
                .count();
            assert!((46..=54).contains(&window), "{window} of 1000 from {start}");
        }
    }

    #[test]
    fn no_weight_no_pick() {
        assert_eq!(by_weight([0.0, -1.0, f64::NAN].into_iter(), 0.3), None);
        assert_eq!(by_weight([].into_iter(), 0.3), None);
        assert_eq!(by_weight([0.0, 2.0, f64::NAN].into_iter(), 0.999_999), Some(1));
    }

    #[test]
    fn equal_loads_go_round() {
        let mut counts = [0; 3];
        for turn in 0..300 {
            counts[least_loaded(3, turn, |_| Some(Candidate { load: 4, ramp: 1.0 })).unwrap()] += 1;
        }
        assert_eq!(counts, [100; 3]);
    }

    /// Requests that stay: each pick adds to its replica's load until `concurrent` are held, oldest leaving first.
    fn held(ramps: &[f64], concurrent: usize, picks: u64) -> Vec<f64> {
        let mut loads = vec![0_usize; ramps.len()];
        let mut held = std::collections::VecDeque::new();
        let mut counts = vec![0_u64; ramps.len()];
        for turn in 0..picks {
            if held.len() >= concurrent {
                let left: usize = held.pop_front().unwrap();
                loads[left] -= 1;
            }
            let chosen =
                least_loaded(ramps.len(), turn, |i| Some(Candidate { load: loads[i], ramp: ramps[i] }))
                    .unwrap();
            loads[chosen] += 1;
            counts[chosen] += 1;
            held.push_back(chosen);
        }
        counts.iter().map(|count| *count as f64 / picks as f64).collect()
    }

    #[test]
    fn a_new_replica_gets_its_ramps_part_with_and_without_load() {
        for concurrent in [1, 300] {
            for ramp in [0.25, 0.5, 0.75] {
                let share = held(&[1.0, 1.0, ramp], concurrent, 30_000)[2];
                let fair = ramp / (2.0 + ramp);
                assert!(
                    (share - fair).abs() < 0.07,
                    "ramp {ramp}, {concurrent} at once: {share} against {fair}"
                );
            }
        }
        assert_eq!(held(&[1.0, 0.0], 8, 1000)[1], 0.0, "not yet begun");
        let new = held(&[0.1, 0.1], 8, 1000);
        assert!((new[0] - 0.5).abs() < 0.02, "all new share alike: {new:?}");
    }

    proptest! {
        #[test]
        fn shares_hold(weights in prop::collection::vec(0.0_f64..10.0, 1..6)) {
            let total: f64 = weights.iter().sum();
            prop_assume!(total > 0.1);
            for (count, weight) in shares(&weights, 10_000).into_iter().zip(&weights) {
                let expected = weight / total * 10_000.0;
                prop_assert!((count as f64 - expected).abs() <= 20.0, "{count} against {expected}");
                prop_assert!(*weight > 0.0 || count == 0);
            }
        }

        #[test]
        fn the_least_loaded_is_chosen(loads in prop::collection::vec(prop::option::of(0_usize..9), 0..8), turn: u64) {
            let chosen = least_loaded(loads.len(), turn, |i| loads[i].map(|load| Candidate { load, ramp: 1.0 }));
            prop_assert_eq!(chosen.map(|i| loads[i].unwrap()), loads.iter().copied().flatten().min());
        }

        #[test]
        fn a_candidate_is_always_found(
            all in prop::collection::vec(prop::option::of((0_usize..9, 0.0_f64..=1.0)), 0..8), turn: u64,
        ) {
            let chosen = least_loaded(all.len(), turn, |i| all[i].map(|(load, ramp)| Candidate { load, ramp }));
            prop_assert_eq!(chosen.is_some(), all.iter().any(Option::is_some));
            prop_assert!(chosen.is_none_or(|i| all[i].is_some()));
        }
    }
}
