use std::time::Duration;

use cutover_model::{
    config::{Gate, Health},
    fleet::{DesiredRelease, Generation, RunSpec},
};
use proptest::prelude::*;

use super::*;
use crate::replica::Patience;

const SECOND: Duration = Duration::from_secs(1);

fn release(number: u64) -> ReleaseNumber {
    ReleaseNumber::new(number).unwrap()
}

fn run() -> RunSpec {
    let health = r#"{"live":"/live","ready":"/ready","interval":"1s","timeout":"1s","start_within":"10s"}"#;
    RunSpec {
        command: "true".parse().unwrap(),
        directory: "/".into(),
        variables: Default::default(),
        health: serde_json::from_str::<Health>(health).unwrap(),
        drain: 5 * SECOND,
        stop_within: 2 * SECOND,
    }
}

fn desired(counts: &[(u64, u32)]) -> Desired {
    let entry = |(number, replicas): &(u64, u32)| DesiredRelease {
        release: release(*number),
        replicas: *replicas,
        weight: 1.0,
        run: run(),
    };
    Desired {
        generation: Generation::default(),
        listen: "127.0.0.1:1".parse().unwrap(),
        gate: Gate::default(),
        releases: counts.iter().map(entry).collect(),
    }
}

fn id(number: u64, which: u64) -> ReplicaId {
    ReplicaId::new(release(number), which)
}

/// A fleet in which each of these replicas is in this phase.
fn actual(replicas: &[(u64, u64, Phase)]) -> Actual {
    let entry = |(number, which, phase): &(u64, u64, Phase)| {
        let mut replica = Replica::new(release(*number), Patience::of(&run()));
        replica.phase = *phase;
        replica.leaving = matches!(phase, Phase::Draining { .. });
        (id(*number, *which), replica)
    };
    Actual { replicas: replicas.iter().map(entry).collect(), predecessor: false }
}

/// What it is about, the releases and counts wanted, what is there, and what follows.
type Case = (&'static str, &'static [(u64, u32)], Vec<(u64, u64, Phase)>, Vec<Action>);

#[test]
fn each_situation_asks_for_its_action() {
    let now = Instant::now();
    let (past, later) = (now - SECOND, now + SECOND);
    let starting = |since| Phase::Serving(Serving::Starting { since });
    let ready = Phase::Serving(Serving::Ready { since: past });
    let draining = |until, drained| Phase::Draining { until, drained, was: Serving::Ready { since: past } };
    let stopping = |kill_at| Phase::Stopping { kill_at };
    let terminate = |cause| vec![Action::Terminate(id(1, 1), cause)];
    let table: [Case; 15] = [
        ("nothing is wanted, nothing runs", &[], vec![], vec![]),
        ("all missing start at once", &[(1, 2)], vec![], vec![Action::Start(release(1)); 2]),
        ("what runs is wanted", &[(1, 1)], vec![(1, 1, ready)], vec![]),
        ("a release that is no longer named leaves", &[], vec![(1, 1, ready)], vec![Action::Leave(id(1, 1))]),
        ("none wanted leaves too", &[(1, 0)], vec![(1, 1, ready)], vec![Action::Leave(id(1, 1))]),
        (
            "the one that is not ready leaves first",
            &[(1, 1)],
            vec![(1, 1, ready), (1, 2, starting(now))],
            vec![Action::Leave(id(1, 2))],
        ),
        (
            "a warm one is taken back before any is started",
            &[(1, 2)],
            vec![(1, 1, draining(later, false))],
            vec![Action::Keep(id(1, 1)), Action::Start(release(1))],
        ),
        ("one that got SIGTERM is not taken back", &[(1, 1)], vec![(1, 1, stopping(Some(later)))], vec![]),
        ("it drains until its time is over", &[], vec![(1, 1, draining(later, false))], vec![]),
        ("then it is stopped", &[], vec![(1, 1, draining(now, false))], terminate(Cause::Surplus)),
        ("or when it is drained", &[], vec![(1, 1, draining(later, true))], terminate(Cause::Surplus)),
        (
            "one that is being restarted and is not wanted any more leaves",
            &[],
            vec![(1, 1, stopping(Some(now)))],
            vec![Action::Leave(id(1, 1))],
        ),
        ("a pause is kept", &[(1, 1)], vec![(1, 1, Phase::Waiting { until: later })], vec![]),
        (
            "and ends",
            &[(1, 1)],
            vec![(1, 1, Phase::Waiting { until: now })],
            vec![Action::Relaunch(id(1, 1))],
        ),
        (
            "surplus in a pause goes",
            &[],
            vec![(1, 1, Phase::Waiting { until: now })],
            vec![Action::Remove(id(1, 1))],
        ),
    ];
    for (what, wanted, replicas, expected) in table {
        assert_eq!(converge(&desired(wanted), &actual(&replicas), now), expected, "{what}");
    }
}

#[test]
fn sigkill_follows_sigterm() {
    let now = Instant::now();
    let mut fleet = actual(&[(1, 1, Phase::Stopping { kill_at: Some(now) })]);
    fleet.replicas.get_mut(&id(1, 1)).unwrap().leaving = true;
    assert_eq!(converge(&desired(&[]), &fleet, now), [Action::Kill(id(1, 1))]);
    assert_eq!(converge(&desired(&[]), &fleet, now - SECOND), []);
}

#[test]
fn a_start_that_takes_too_long_and_a_lost_liveness_end_in_a_restart() {
    let now = Instant::now();
    let fleet = actual(&[(1, 1, Phase::Serving(Serving::Starting { since: now }))]);
    assert_eq!(converge(&desired(&[(1, 1)]), &fleet, now + 9 * SECOND), []);
    let late = converge(&desired(&[(1, 1)]), &fleet, now + 10 * SECOND);
    assert_eq!(late, [Action::Terminate(id(1, 1), Cause::NeverReady)]);

    let mut fleet = actual(&[(1, 1, Phase::Serving(Serving::Ready { since: now }))]);
    fleet.replicas.get_mut(&id(1, 1)).unwrap().probed_dead("no answer".into());
    assert_eq!(converge(&desired(&[(1, 1)]), &fleet, now), [Action::Terminate(id(1, 1), Cause::NotAlive)]);
}

#[test]
fn nothing_counts_as_drained_while_a_predecessor_answers_requests() {
    let now = Instant::now();
    let was = Serving::Ready { since: now };
    let mut fleet = actual(&[(1, 1, Phase::Draining { until: now + SECOND, drained: true, was })]);
    fleet.predecessor = true;
    assert_eq!(converge(&desired(&[]), &fleet, now), []);
    assert_eq!(converge(&desired(&[]), &fleet, now + SECOND), [Action::Terminate(id(1, 1), Cause::Surplus)]);
}

/// A world that obeys: actions take effect, processes start, answer, drain and end, in the order a seed chooses.
struct World {
    fleet: Actual,
    now: Instant,
    started: u64,
}

impl World {
    fn apply(&mut self, action: &Action, killed: &mut Vec<ReplicaId>) {
        let now = self.now;
        match action {
            Action::Start(release) => {
                self.started += 1;
                let replica = Replica::new(*release, Patience::of(&run()));
                self.fleet.replicas.insert(ReplicaId::new(*release, self.started), replica);
            }
            Action::Remove(id) => {
                assert!(
                    matches!(self.fleet.replicas[id].phase, Phase::Waiting { .. }),
                    "a process was forgotten"
                );
                self.fleet.replicas.remove(id);
            }
            Action::Leave(id) => self.get(id).leave(now),
            Action::Keep(id) => self.get(id).keep(),
            Action::Relaunch(id) => self.get(id).relaunch(Patience::of(&run())),
            Action::Terminate(id, cause) => {
                let replica = self.get(id);
                match (replica.phase, cause) {
                    (Phase::Draining { until, drained, .. }, Cause::Surplus) => {
                        assert!(drained || now >= until);
                    }
                    (Phase::Serving(_), Cause::NeverReady | Cause::NotAlive) => {}
                    other => panic!("stopped in {other:?}"),
                }
                replica.terminate(now);
            }
            Action::Kill(id) => {
                let Phase::Stopping { kill_at: Some(at) } = self.get(id).phase else {
                    panic!("killed without warning")
                };
                assert!(now >= at);
                self.get(id).kill();
                killed.push(id.clone());
            }
        }
    }

    fn get(&mut self, id: &ReplicaId) -> &mut Replica {
        self.fleet.replicas.get_mut(id).unwrap()
    }

    fn happen(&mut self, which: usize, what: u8) {
        let now = self.now;
        let Some(id) = self.fleet.replicas.keys().nth(which % self.fleet.replicas.len().max(1)).cloned()
        else {
            return;
        };
        let replica = self.get(&id);
        let has_process = !matches!(replica.phase, Phase::Waiting { .. } | Phase::Launching);
        match what {
            0..=3 => replica.launched(now),
            4..=7 => replica.probed_ready(now),
            8 => replica.probed_unready("503".into(), now),
            9 => replica.probed_dead("no answer".into()),
            10 | 11 => replica.drained(),
            _ if has_process => {
                replica.ending(now);
                if replica.ended("ended".into(), 0.5, now) {
                    self.fleet.replicas.remove(&id);
                }
            }
            _ => {}
        }
    }

    fn settle(&mut self, wanted: &Desired) {
        let mut killed = Vec::new();
        for round in 0.. {
            assert!(
                round < 10,
                "converge does not come to rest: {:?}",
                converge(wanted, &self.fleet, self.now)
            );
            let actions = converge(wanted, &self.fleet, self.now);
            if actions.is_empty() {
                break;
            }
            actions.iter().for_each(|action| self.apply(action, &mut killed));
        }
        for release in &wanted.releases {
            let staying =
                self.fleet.replicas.values().filter(|r| r.release == release.release && !r.leaving).count();
            assert_eq!(staying, release.replicas as usize);
        }
    }
}

proptest! {
    /// Whatever happens in whatever order, the count is right after each look, no process is forgotten or stopped without
    /// draining, and in a world where all goes well the fleet becomes what was asked and stays it.
    #[test]
    fn any_history_converges(
        plans in prop::collection::vec((0_u32..4, 0_u32..4), 1..5),
        events in prop::collection::vec((0_usize..8, 0_u8..14, 0_u64..4000), 0..80),
    ) {
        let mut world = World { fleet: Actual::default(), now: Instant::now(), started: 0 };
        let mut wanted = desired(&[]);
        for (at, (which, what, millis)) in events.iter().enumerate() {
            if at % 16 == 0 {
                let (old, new) = plans[(at / 16) % plans.len()];
                wanted = desired(&[(1, old), (2, new)]);
            }
            world.happen(*which, *what);
            world.now += Duration::from_millis(*millis);
            world.settle(&wanted);
        }
        for _ in 0..200 {
            let ids: Vec<ReplicaId> = world.fleet.replicas.keys().cloned().collect();
            for id in ids {
                let now = world.now;
                let replica = world.get(&id);
                replica.launched(now);
                replica.probed_ready(now);
                replica.drained();
                if matches!(replica.phase, Phase::Stopping { .. }) && replica.ended("ended".into(), 0.5, now) {
                    world.fleet.replicas.remove(&id);
                }
            }
            world.now += SECOND;
            world.settle(&wanted);
        }
        for release in &wanted.releases {
            let all = world.fleet.replicas.values().filter(|r| r.release == release.release);
            prop_assert_eq!(all.clone().count(), release.replicas as usize);
            prop_assert!(all.clone().all(Replica::is_ready));
        }
    }
}
