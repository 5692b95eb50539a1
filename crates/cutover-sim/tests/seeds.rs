//! Everything at once, from seeds. `CUTOVER_SIM_SEEDS` says how many (10,000 unless told), `CUTOVER_SIM_FIRST` from which on.

use cutover_sim::{Scenario, harvest, simulate};

fn number(variable: &str, otherwise: u64) -> u64 {
    let told = std::env::var(variable).ok();
    told.map_or(otherwise, |text| {
        text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number"))
    })
}

#[test]
fn the_rules_hold_under_every_seed() {
    let first = number("CUTOVER_SIM_FIRST", 0);
    let seeds = number("CUTOVER_SIM_SEEDS", 10_000);
    let all = harvest(first..first + seeds, Scenario::wild);
    for (count, report) in all.violations.values() {
        eprintln!("{report}\n({count} of {} seeds)\n", all.seeds);
    }
    assert!(all.violations.is_empty(), "{} rules did not hold; see above", all.violations.len());
    assert_eq!(all.seeds, seeds);
    if seeds >= 1000 {
        // The storm reached what it is meant to reach.
        let tally = &all.tally;
        for (what, count) in [
            ("processes killed", tally.killed),
            ("runs taken over", tally.taken_over),
            ("late writes refused", tally.writes_refused),
            ("drivers fenced", tally.fenced),
            ("runs done", tally.done),
            ("runs reverted", tally.reverted),
            ("runs stopped", tally.stopped),
        ] {
            assert!(count >= seeds / 20, "only {count} {what} in {seeds} seeds");
        }
        assert!(tally.held > 0, "no watch was ever held");
    }
}

#[test]
fn a_seed_gives_the_same_trace_byte_for_byte() {
    for seed in 0..40 {
        let run = || simulate(&Scenario { whole_trace: true, ..Scenario::wild(seed) });
        let (one, other) = (run(), run());
        assert_eq!(one.trace, other.trace, "seed {seed}");
        assert_eq!((one.fingerprint, one.polls, one.lasted), (other.fingerprint, other.polls, other.lasted));
        assert!(one.trace.len() > 20, "seed {seed} did nothing");
    }
}

#[test]
fn seeds_differ() {
    let mut fingerprints: Vec<_> = (0..100).map(|seed| simulate(&Scenario::wild(seed)).fingerprint).collect();
    fingerprints.sort_unstable();
    fingerprints.dedup();
    assert_eq!(fingerprints.len(), 100);
}
