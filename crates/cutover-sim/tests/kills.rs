//! A run killed at every place it can be killed at recovers to a legal state.

use std::{ops::Range, time::Duration};

use cutover_model::run::{Cause, Outcome};
use cutover_sim::{
    Behaviour, FaultAt, Harvest, Named, Report, Scenario, Script, harvest, on_all_cores, simulate,
};

fn passes(report: &Report) {
    assert!(report.violation.is_none(), "{report}");
}

fn all_pass(harvest: &Harvest) {
    if let Some((count, report)) = harvest.violations.values().next() {
        panic!("{report}\n({count} of {})", harvest.seeds);
    }
}

/// How the second run may end, wherever its driver is killed. `None`: there is none.
fn may_end(named: Named, outcome: Option<&Outcome>) -> bool {
    match (named, outcome) {
        (Named::First, None) => true,
        (Named::Good | Named::GoodOnThree | Named::Approval | Named::Rollback, Some(outcome)) => {
            *outcome == Outcome::Done
        }
        (Named::Bad | Named::Slow, Some(Outcome::Reverted { cause: Cause::Bad { .. } })) => true,
        (
            Named::NeverReady | Named::ExitsAtOnce | Named::FailingSmoke,
            Some(Outcome::Reverted { cause: Cause::Broken { .. } }),
        ) => true,
        // While it is watched, or while the next replica is started.
        (Named::Dies, Some(Outcome::Reverted { cause: Cause::Bad { .. } | Cause::Broken { .. } })) => true,
        (Named::FailingMigration, Some(Outcome::Stopped { cause: Cause::Broken { .. } })) => true,
        // A kill shifts the abort against the rollout: before it, in it, or too late.
        (Named::Aborted, Some(outcome)) => {
            matches!(
                outcome,
                Outcome::Stopped { cause: Cause::Aborted { .. } }
                    | Outcome::Reverted { cause: Cause::Aborted { .. } }
                    | Outcome::Done
            )
        }
        _ => false,
    }
}

fn ends_well(named: Named, report: &Report) {
    passes(report);
    assert_eq!(report.outcomes.first(), Some(&Some(Outcome::Done)), "{report}");
    let second = report.outcomes.get(1).map(|outcome| outcome.as_ref());
    assert!(second.flatten().is_some() == second.is_some(), "{report}");
    assert!(may_end(named, second.flatten()), "{named:?} ended as {:?}\n{report}", report.outcomes);
}

#[test]
fn every_scenario_ends_as_it_should_without_kills() {
    for named in Named::ALL {
        let report = simulate(&Scenario::exact(named, Vec::new()));
        ends_well(named, &report);
        assert_eq!(report.tally.killed, 0);
    }
}

fn recovers_from(faults: [fn(usize) -> FaultAt; 2], kills: u64) {
    for named in Named::ALL {
        let records = simulate(&Scenario::exact(named, Vec::new())).records;
        assert!(records > 10, "{named:?} has {records} records");
        on_all_cores(0..records as u64 * 2, |n| {
            let fault = faults[n as usize % 2](n as usize / 2);
            let report = simulate(&Scenario::exact(named, vec![fault]));
            ends_well(named, &report);
            assert_eq!(report.tally.killed, kills, "{fault} of {named:?}");
        });
    }
}

#[test]
fn killed_before_and_after_every_record_it_recovers() {
    recovers_from([FaultAt::Before, FaultAt::After], 1);
}

#[test]
fn failed_by_the_journal_at_every_record_it_stops_and_recovers() {
    recovers_from([FaultAt::Full, FaultAt::Unanswered], 0);
}

#[test]
fn killed_at_every_pair_of_records_it_recovers() {
    let records = simulate(&Scenario::exact(Named::Good, Vec::new())).records;
    // A kill adds at least one record, which the second kill may hit as well.
    let places: Vec<_> = (0..records + 2).flat_map(|at| [FaultAt::Before(at), FaultAt::After(at)]).collect();
    let pairs: Vec<_> = (0..places.len()).flat_map(|a| (a + 1..places.len()).map(move |b| (a, b))).collect();
    let all = harvest(0..pairs.len() as u64, |n| {
        let (a, b) = pairs[n as usize];
        Scenario::exact(Named::Good, vec![places[a], places[b]])
    });
    all_pass(&all);
    assert!(all.tally.done >= all.seeds * 2, "a good release did not end as done: {:?}", all.tally);
}

fn killed_at_polls(named: Named, polls: Range<u64>) -> Harvest {
    harvest(polls, |at| {
        let mut scenario = Scenario::exact(named, Vec::new());
        if let Script::Exact { kill_at_poll, .. } = &mut scenario.script {
            *kill_at_poll = Some(at);
        }
        scenario.name = format!("--scenario {named:?} --kill-at-poll {at}");
        scenario
    })
}

#[test]
fn killed_between_any_two_instructions_that_wait_it_recovers() {
    for named in [Named::Good, Named::Bad, Named::FailingMigration, Named::Rollback] {
        let polls = simulate(&Scenario::exact(named, Vec::new())).polls;
        let all = killed_at_polls(named, 0..polls);
        all_pass(&all);
        assert!(all.tally.killed > polls / 2, "{named:?}: {:?} of {polls} polls", all.tally);
    }
}

#[test]
fn a_release_that_dies_at_any_moment_is_not_left_alone_with_the_traffic() {
    let all = harvest(0..400, |n| {
        let mut scenario = Scenario::exact(Named::Dies, Vec::new());
        let lives = Duration::from_millis(200 + n * 25);
        scenario.repository.commits[1].behaviour = Behaviour::DiesAfter(lives);
        scenario.rules.replicas = 1 + (n % 2) as u32;
        scenario.seed = n;
        scenario.name = format!("a release that dies after {lives:?}");
        scenario
    });
    all_pass(&all);
    assert!(all.tally.reverted > 20 && all.tally.done > all.seeds, "{:?}", all.tally);
}
