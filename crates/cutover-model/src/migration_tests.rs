//! The order and floor rules, by table and by property.

use proptest::prelude::*;

use super::*;

fn id(text: &str) -> MigrationId {
    text.parse().unwrap()
}

fn clear(phase: Phase) -> PhaseReading {
    PhaseReading::Clear { phase, by: DecidedBy::Classification }
}

fn r(number: u64) -> ReleaseNumber {
    ReleaseNumber::new(number).unwrap()
}

fn place_phases(phases: &[Phase], carried: &[usize]) -> Result<Placed, OrderRefused> {
    let list: Vec<_> =
        phases.iter().enumerate().map(|(i, p)| (id(&format!("{i:04}_m")), clear(*p))).collect();
    let carried: Vec<_> = carried.iter().map(|i| list[*i].0.clone()).collect();
    place(list.iter().map(|(i, p)| (i, p)), |i| carried.contains(i))
}

#[test]
fn ids_are_bounded_and_printable() {
    assert!("0001_users".parse::<MigrationId>().is_ok());
    assert!("".parse::<MigrationId>().is_err());
    assert!("a/b".parse::<MigrationId>().is_err());
    assert!("a\nb".parse::<MigrationId>().is_err());
    assert!("x".repeat(MigrationId::MAX).parse::<MigrationId>().is_ok());
    assert!("x".repeat(MigrationId::MAX + 1).parse::<MigrationId>().is_err());
    assert!(serde_json::from_str::<MigrationId>("\"../x\"").is_err());
}

#[test]
fn expand_runs_before_code_and_contract_waits() {
    use Phase::{Backfill, Contract, Expand};
    let placed = place_phases(&[Expand, Expand, Backfill, Contract], &[]).unwrap();
    assert_eq!(placed.expand, [id("0000_m"), id("0001_m")]);
    assert_eq!(placed.backfill, [id("0002_m")]);
    assert_eq!(placed.contract, [id("0003_m")]);
}

#[test]
fn a_contract_before_an_expand_is_refused_with_the_split() {
    let refused = place_phases(&[Phase::Contract, Phase::Expand], &[]).unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("contract migration 0000_m comes before expand migration 0001_m"), "{text}");
    assert!(text.contains("release the commit up to 0000_m first"), "{text}");
}

#[test]
fn a_contract_carried_from_the_live_release_does_not_block() {
    let placed = place_phases(&[Phase::Contract, Phase::Expand], &[0]).unwrap();
    assert_eq!((placed.expand, placed.carried), (vec![id("0001_m")], vec![id("0000_m")]));
}

#[test]
fn mixed_unclear_and_unsafe_are_refused_by_name_and_line() {
    let evidence = |phase, line| PhaseEvidence { phase, line, summary: "ALTER TABLE t".into() };
    let readings = [
        PhaseReading::Mixed { found: vec![evidence(Phase::Expand, 1), evidence(Phase::Contract, 9)] },
        PhaseReading::Unclear { line: 9, summary: "DO".into() },
        PhaseReading::Unsafe { line: 9, summary: "ALTER TABLE t".into(), instead: "add it nullable".into() },
    ];
    for reading in &readings {
        let text = place([(&id("0007_x"), reading)], |_| false).unwrap_err().to_string();
        assert!(text.contains("0007_x") && text.contains("line 9"), "{text}");
    }
}

fn released(number: u64, ids: &[&str]) -> ReleasedWith {
    ReleasedWith { release: r(number), migrations: ids.iter().map(|i| id(i)).collect() }
}

#[test]
fn the_floor_is_the_first_release_that_knew_of_the_removal() {
    let releases = [released(1, &["a"]), released(2, &["a", "drop_b"]), released(3, &["a", "drop_b", "c"])];
    assert_eq!(floor(&releases, []), Floor::None);
    assert_eq!(floor(&releases, [&id("drop_b")]), Floor::At(r(2)));
    assert!(!floor(&releases, [&id("drop_b")]).allows(r(1)));
    assert!(floor(&releases, [&id("drop_b")]).allows(r(2)));
    assert_eq!(floor(&releases, [&id("drop_b"), &id("drop_x")]), Floor::AboveAll);
    assert_eq!(needed_by(&id("drop_b"), &releases), [r(1)]);
    assert_eq!(needed_by(&id("drop_b"), &releases[1..]), []);
}

fn any_phase() -> impl Strategy<Value = Phase> {
    prop_oneof![Just(Phase::Expand), Just(Phase::Backfill), Just(Phase::Contract)]
}

proptest! {
    #[test]
    fn placed_exactly_when_sorted_and_nothing_is_lost(phases in prop::collection::vec(any_phase(), 0..12)) {
        match place_phases(&phases, &[]) {
            Ok(placed) => {
                prop_assert!(phases.is_sorted());
                let all: Vec<_> = [placed.expand, placed.backfill, placed.contract].concat();
                prop_assert!(all.is_sorted() && all.len() == phases.len());
            }
            Err(_) => prop_assert!(!phases.is_sorted()),
        }
    }

    #[test]
    fn no_release_at_or_above_the_floor_needs_what_was_removed(
        folders in prop::collection::vec(0usize..8, 1..8),
        applied in prop::collection::btree_set(0usize..8, 0..4),
    ) {
        // Folders only grow: release n has migrations 0..len.
        let mut longest = 0;
        let releases: Vec<_> = folders.iter().enumerate().map(|(n, len)| {
            longest = longest.max(*len);
            ReleasedWith { release: r(n as u64 + 1), migrations: (0..longest).map(|i| id(&i.to_string())).collect() }
        }).collect();
        let applied: Vec<_> = applied.iter().map(|i| id(&i.to_string())).collect();
        let floor = floor(&releases, &applied);
        for release in &releases {
            let knows_all = applied.iter().all(|c| release.migrations.contains(c));
            prop_assert_eq!(floor.allows(release.release), knows_all);
        }
    }
}
