//! Every checker can fail: a part is broken on purpose, and the rule that it breaks says so.

use std::time::Duration;

use cutover_sim::{Behaviour, Harvest, Named, Sabotage, Scenario, Script, harvest};

/// The rules that found the sabotage, in enough scenarios for it to show.
fn found(sabotage: Sabotage) -> Harvest {
    match sabotage {
        // Need two drivers at once.
        Sabotage::MigrationsWithoutLock
        | Sabotage::TargetIgnoresGenerations
        | Sabotage::JournalIgnoresFences => {
            harvest(0..600, |seed| Scenario { sabotage: Some(sabotage), ..Scenario::two_drivers(seed) })
        }
        // Need a runner that dies.
        Sabotage::LockOutlivesOwner => harvest(0..400, |poll| Scenario {
            sabotage: Some(sabotage),
            script: Script::Exact { faults: vec![], kill_at_poll: Some(poll), abort_after: None },
            ..Scenario::exact(Named::Good, vec![])
        }),
        // Need something to go wrong.
        Sabotage::ErrorsQuoteSecrets | Sabotage::ErrorsWithoutHelp => harvest(0..1, |_| Scenario {
            sabotage: Some(sabotage),
            ..Scenario::exact(Named::FailingSmoke, vec![])
        }),
        Sabotage::TargetLiesAboutReverting | Sabotage::MetricsInvented => {
            harvest(0..1, |_| Scenario { sabotage: Some(sabotage), ..Scenario::exact(Named::Bad, vec![]) })
        }
        // Needs a release that dies while it is watched, and not a moment sooner or later.
        Sabotage::HostHidesFailures => harvest(0..300, |n| {
            let mut scenario = Scenario::exact(Named::Dies, vec![]);
            let lives = Duration::from_millis(5500 + n * 10);
            scenario.repository.commits[1].behaviour = Behaviour::DiesAfter(lives);
            (scenario.rules.canary_percent, scenario.rules.enough_requests) = (50, 1000);
            Scenario { sabotage: Some(sabotage), seed: n, ..scenario }
        }),
        _ => harvest(0..1, |_| Scenario {
            sabotage: Some(sabotage),
            ..Scenario::exact(Named::GoodOnThree, vec![])
        }),
    }
}

/// The beginning of the name of the rule that each breaks.
fn broken_rule(sabotage: Sabotage) -> &'static str {
    match sabotage {
        Sabotage::MigrationsWithoutLock | Sabotage::LockOutlivesOwner => "rule 1",
        Sabotage::MigrationsNotApplied => "rule 2",
        Sabotage::ContractsApplied => "rule 3",
        Sabotage::GateRoutesToStarting | Sabotage::HostCutsRequests | Sabotage::TargetRetiresEarly => {
            "rule 4"
        }
        Sabotage::MetricsInvented => "rule 5",
        Sabotage::JournalAcknowledgesWithoutStoring
        | Sabotage::JournalIgnoresFences
        | Sabotage::TargetIgnoresGenerations
        | Sabotage::TargetLiesAboutReverting => "rule 6",
        Sabotage::ErrorsQuoteSecrets => "rule 7",
        Sabotage::ErrorsWithoutHelp => "rule 8",
        Sabotage::TargetNeverAnswers => "liveness",
        Sabotage::HostHidesFailures => "verdicts",
        Sabotage::PrunerTakesAll => "artifacts",
    }
}

#[test]
fn every_broken_part_is_reported_by_the_rule_that_it_breaks() {
    for sabotage in Sabotage::ALL {
        let harvest = found(sabotage);
        let rules: Vec<_> = harvest.violations.keys().copied().collect();
        let expected = broken_rule(sabotage);
        assert!(
            rules.iter().any(|rule| rule.starts_with(expected)),
            "{sabotage:?} broke {expected}, found: {rules:?}"
        );
    }
}

#[test]
fn the_same_scenarios_hold_with_whole_parts() {
    let all = harvest(0..600, Scenario::two_drivers);
    if let Some((_, report)) = all.violations.values().next() {
        panic!("{report}");
    }
    assert!(all.tally.fenced > 100 && all.tally.writes_refused > 100, "{:?}", all.tally);
}
