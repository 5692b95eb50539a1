//! The transition function and `decide`, tried exhaustively: from the plan, every state that any sequence of events can
//! reach is visited once, every event is offered there, and what must always hold is checked.

use std::collections::{HashSet, VecDeque};

use super::*;
use crate::{
    config::{Approval, Config, Settings},
    id::{ReleaseNumber, RunNumber},
};

fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
    let text = r#"
        smoke = "true"
        [service]
        name = "shop"
        [checks]
        unit = "true"
        [artifact]
        run = "./shop"
        [migrations]
        dir = "migrations"
        database = "env:DB"
        [health]
        live = "/live"
        ready = "/ready"
        [environments.production]
        target = "host"
        listen = "127.0.0.1:0"
        approval = "another-person"
        "#;
    let config = Config::parse(text).unwrap();
    let mut settings = config.environment(&"production".parse().unwrap()).unwrap();
    change(&mut settings);
    settings
}

fn plan(kind: Kind, from: Option<u64>, change: impl FnOnce(&mut Settings)) -> Plan {
    Plan {
        kind,
        release: ReleaseNumber::new(7).unwrap(),
        from: from.map(|number| ReleaseNumber::new(number).unwrap()),
        commit: Commit { sha: "a".repeat(40).parse().unwrap(), subject: "more".into() },
        by: Identity("ada".into()),
        settings: settings(change),
    }
}

fn record(run: &Run, event: Event) -> Record {
    let environment = run.plan.settings.environment.clone();
    Record { seq: Seq(run.last.0 + 1), environment, run: run.number, at_ms: 0, event }
}

fn begin(plan: Plan) -> Run {
    let environment = plan.settings.environment.clone();
    let event = Event::Planned { plan: Box::new(plan) };
    Run::begin(&Record { seq: Seq(1), environment, run: RunNumber(1), at_ms: 0, event }).unwrap()
}

fn broken() -> Cause {
    Cause::Broken { message: "no".into(), help: "yes".into() }
}

fn bad() -> Cause {
    Cause::Bad { findings: vec!["no replica is ready".into()] }
}

/// Every event that differs in kind, for every step there is.
fn every_event(run: &Run) -> Vec<Event> {
    let mut steps = run.plan.steps();
    steps.push(Step::Revert);
    let fence = run.state.driver.as_ref().map_or(0, |(_, fence)| *fence);
    let mut events = vec![
        Event::Driving { driver: Identity("ci".into()), fence },
        Event::Driving { driver: Identity("ci".into()), fence: fence + 1 },
        Event::Held { why: "no data".into() },
        Event::Approved { by: Identity("ada".into()) },
        Event::Approved { by: Identity("bob".into()) },
        Event::AbortRequested { by: Identity("bob".into()), reason: String::new() },
        Event::Ended { outcome: Outcome::Done },
        Event::Ended { outcome: Outcome::Stopped { cause: broken() } },
        Event::Ended { outcome: Outcome::Reverted { cause: broken() } },
    ];
    if let Some(cause) = run.state.going_back() {
        events.push(Event::Ended { outcome: Outcome::Stopped { cause: cause.clone() } });
        events.push(Event::Ended { outcome: Outcome::Reverted { cause } });
    }
    for step in steps {
        let attempt = run.state.attempts_at(step) + 1;
        events.extend([
            Event::Intended { step, attempt },
            Event::Intended { step, attempt: attempt + 1 },
            Event::Succeeded { step, note: Note::None },
            Event::Failed { step, cause: broken() },
            Event::Failed { step, cause: bad() },
        ]);
    }
    events
}

/// A state without the counters that only grow, so that the walk ends.
fn shape(run: &Run) -> String {
    let mut state = run.state.clone();
    state.driver = state.driver.map(|(who, _)| (who, 0));
    state.drivers = state.drivers.min(2);
    for open in [&mut state.open, &mut state.latest].into_iter().flatten() {
        open.attempt = open.attempt.min(2);
    }
    format!("{state:?}")
}

fn walk(plan: Plan, mut visit: impl FnMut(&Run, &Event, Option<&Run>)) -> usize {
    let first = begin(plan);
    let mut seen = HashSet::from([shape(&first)]);
    let mut queue = VecDeque::from([first]);
    while let Some(run) = queue.pop_front() {
        for event in every_event(&run) {
            let mut next = run.clone();
            let legal = next.apply(&record(&run, event.clone())).is_ok();
            assert!(legal || next == run, "a refused event changed something");
            visit(&run, &event, legal.then_some(&next));
            if legal && seen.insert(shape(&next)) {
                queue.push_back(next);
            }
        }
    }
    seen.len()
}

fn plans() -> Vec<Plan> {
    vec![
        plan(Kind::Release, Some(6), |_| {}),
        plan(Kind::Release, Some(6), |s| s.place.replicas = 1),
        plan(Kind::Release, None, |s| s.place.approval = Approval::None),
        plan(Kind::Release, Some(6), |s| s.bad.watch = crate::config::Span::from_secs(0)),
        plan(Kind::Rollback, Some(8), |s| s.place.approval = Approval::Anyone),
    ]
}

#[test]
fn the_rules_hold_in_every_reachable_state() {
    for plan in plans() {
        let steps = plan.steps();
        let migrate = steps.iter().position(|step| *step == Step::Migrate);
        let states = walk(plan, |run, event, next| {
            let Some(next) = next else { return };
            let state = &run.state;
            assert!(state.ended.is_none(), "an event after the end");
            match event {
                Event::Intended { step, .. } => {
                    assert!(state.open.is_none(), "two steps in hand");
                    assert!(state.driver.is_some(), "a step without a driver");
                    if matches!(step, Step::Advance { .. }) {
                        assert!(migrate.is_none_or(|at| state.done > at), "code before schema");
                    }
                    assert!(
                        (*step == Step::Revert) == state.going_back().is_some(),
                        "forward while going back, or the reverse"
                    );
                }
                Event::Ended { outcome: Outcome::Done } => assert_eq!(state.done, steps.len()),
                Event::Ended { outcome: Outcome::Stopped { .. } } => {
                    assert!(!state.advanced, "replicas left behind");
                }
                Event::Ended { outcome: Outcome::Reverted { .. } } => assert!(state.reverted),
                Event::Approved { by } => {
                    let own = run.plan.by == *by && run.decide() == Decision::Wait(Waiting::Approval);
                    assert!(
                        !own || run.plan.settings.place.approval != Approval::AnotherPerson,
                        "self-approval"
                    );
                }
                _ => {}
            }
            assert!(next.state.done >= state.done, "progress was lost");
        });
        assert!(states > 20, "the walk went nowhere: {states} states");
    }
}

#[test]
fn every_state_has_a_way_on() {
    for plan in plans() {
        walk(plan, |_, _, next| {
            let Some(run) = next else { return };
            let mut run = run.clone();
            // A new driver, then only what decide() asks for, everything succeeding: the run must end.
            for _ in 0..40 {
                let fence = run.state.driver.as_ref().map_or(1, |(_, fence)| fence + 1);
                let event = match (run.decide(), run.state.open, &run.state.driver) {
                    (Decision::Ended, ..) => return,
                    (_, Some(_), _) | (_, _, None) => {
                        Event::Driving { driver: Identity("new".into()), fence }
                    }
                    (Decision::Perform(step, attempt), ..) => {
                        run.apply(&record(&run, Event::Intended { step, attempt })).unwrap();
                        Event::Succeeded { step, note: Note::None }
                    }
                    (Decision::Wait(Waiting::Stuck), ..) => {
                        Event::Driving { driver: Identity("new".into()), fence }
                    }
                    (Decision::Wait(_), ..) => Event::Approved { by: Identity("bob".into()) },
                    (Decision::End(outcome), ..) => Event::Ended { outcome },
                };
                run.apply(&record(&run, event)).unwrap();
            }
            panic!("no end in sight: {:?}", run.state);
        });
    }
}

#[test]
fn the_default_order_is_the_design_page_s() {
    let shown = |plan: &Plan| plan.steps().iter().map(Step::to_string).collect::<Vec<_>>().join(", ");
    let [full, single, first, unwatched, back] = plans().try_into().ok().unwrap();
    assert_eq!(
        shown(&full),
        "checks, build, approval, migrate (expand), advance to 1 (traffic 10%), verify with 1, \
         advance to 2 (traffic 100%), verify with 2, smoke, finish"
    );
    assert_eq!(
        shown(&single),
        "checks, build, approval, migrate (expand), advance to 1 (traffic 10%), verify with 1, \
         advance to 1 (traffic 100%), verify with 1, smoke, finish"
    );
    assert_eq!(shown(&first), "checks, build, migrate (expand), advance to 2 (traffic 100%), smoke, finish");
    assert_eq!(
        shown(&unwatched),
        "checks, build, approval, migrate (expand), advance to 1 (traffic 10%), advance to 2 (traffic 100%), smoke, finish"
    );
    assert_eq!(shown(&back), "build, approval, advance to 2 (traffic 100%), finish");
}

#[test]
fn a_release_that_is_down_at_the_finish_goes_back_and_a_target_that_fails_there_does_not() {
    let mut run = begin(plan(Kind::Release, Some(6), |s| s.place.approval = Approval::None));
    let driving = Event::Driving { driver: Identity("ci".into()), fence: 1 };
    run.apply(&record(&run, driving)).unwrap();
    while run.decide() != Decision::Perform(Step::Finish, 1) {
        let Decision::Perform(step, attempt) = run.decide() else { panic!("{:?}", run.decide()) };
        run.apply(&record(&run, Event::Intended { step, attempt })).unwrap();
        run.apply(&record(&run, Event::Succeeded { step, note: Note::None })).unwrap();
    }
    run.apply(&record(&run, Event::Intended { step: Step::Finish, attempt: 1 })).unwrap();
    let mut other = run.clone();
    run.apply(&record(&run, Event::Failed { step: Step::Finish, cause: bad() })).unwrap();
    assert_eq!(run.decide(), Decision::Perform(Step::Revert, 1));
    other.apply(&record(&other, Event::Failed { step: Step::Finish, cause: broken() })).unwrap();
    assert_eq!(other.decide(), Decision::Perform(Step::Finish, 2));
}

#[test]
fn records_out_of_place_are_refused() {
    let run = begin(plan(Kind::Release, Some(6), |_| {}));
    let driving = Event::Driving { driver: Identity("ci".into()), fence: 1 };
    for change in [|r: &mut Record| r.seq = Seq(1), |r: &mut Record| r.run = RunNumber(2)] {
        let mut wrong = record(&run, driving.clone());
        change(&mut wrong);
        assert!(run.clone().apply(&wrong).is_err());
    }
    assert!(run.clone().apply(&record(&run, driving)).is_ok());
}

#[test]
fn events_survive_the_journal_s_form() {
    let run = begin(plan(Kind::Release, Some(6), |_| {}));
    for event in every_event(&run) {
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
    }
}
