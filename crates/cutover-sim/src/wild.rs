//! A whole scenario from one seed. Each seed leaves out most kinds of fault, so that the rest can do its worst unmixed.

use std::time::Duration;

use cutover_model::migration::Phase;

use crate::{
    acts::{Fault, Storm},
    scenario::{Approvals, Behaviour, Repository, Rules, Wish},
    simulation::{Roughness, Scenario, Script},
};

impl Scenario {
    /// The scenario of a seed.
    pub fn wild(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let rng = &mut rng;
        let repository = repository(rng);
        let calm_at = Duration::from_secs(rng.u64(10..300));
        Self {
            name: format!("--seed {seed}"),
            seed,
            wishes: wishes(rng, repository.commits.len()),
            repository,
            rules: rules(rng),
            script: Script::Wild {
                storm: storm(rng),
                calm_at,
                aborts: rng.f64() * 0.4,
                roughness: roughness(rng),
            },
            sabotage: None,
            whole_trace: false,
        }
    }

    /// Two drivers at once, as often as can be.
    pub fn two_drivers(seed: u64) -> Self {
        Self { name: format!("--two-drivers --seed {seed}"), script: two_drivers(), ..Self::wild(seed) }
    }
}

/// Only drivers that are paused or lose their lease and go on, over lines that are slow.
fn two_drivers() -> Script {
    let faults = vec![Fault::DriverPaused, Fault::LeaseExpires];
    Script::Wild {
        storm: Storm { faults, pause: Duration::from_millis(2500) },
        calm_at: Duration::from_secs(120),
        aborts: 0.1,
        roughness: Roughness { late: 0.05, lost: 0.05, ..Roughness::default() },
    }
}

fn repository(rng: &mut fastrand::Rng) -> Repository {
    let mut repository = Repository::default();
    let commits = rng.usize(2..5);
    for at in 0..commits {
        let mut adds = vec![Phase::Expand; rng.usize(0..3)];
        adds.extend(vec![Phase::Contract; usize::from(rng.u8(..4) == 0)]);
        // The first release is watched by nobody; a bad one would be the team's own affair.
        let behaviour = if at == 0 { Behaviour::Good } else { behaviour(rng) };
        let making = repository.commit(behaviour, &adds);
        let mut rarely = || rng.u8(..24) == 0;
        (making.checks_fail, making.build_fails, making.smoke_fails) = (rarely(), rarely(), rarely());
        if rarely() {
            making.failing = making.folder.last().map(|(id, _)| id.clone());
        }
    }
    repository
}

fn behaviour(rng: &mut fastrand::Rng) -> Behaviour {
    match rng.u8(..14) {
        0 => Behaviour::Errors(0.3 + rng.f64() * 0.7),
        1 => Behaviour::Errors(0.05),
        2 => Behaviour::Slow(0.3 + rng.f64() * 0.7),
        3 => Behaviour::NeverReady,
        4 => Behaviour::ExitsAtOnce,
        5 | 6 => Behaviour::DiesAfter(Duration::from_millis(rng.u64(500..8_000))),
        _ => Behaviour::Good,
    }
}

fn wishes(rng: &mut fastrand::Rng, commits: usize) -> Vec<Wish> {
    let mut wishes = Vec::new();
    for commit in 0..commits {
        wishes.push(Wish::Release(commit));
        match rng.u8(..6) {
            0 => wishes.push(Wish::Rollback),
            1 => wishes.push(Wish::Resume),
            _ => {}
        }
    }
    wishes
}

fn rules(rng: &mut fastrand::Rng) -> Rules {
    let approvals = [Approvals::None, Approvals::None, Approvals::Anyone, Approvals::AnotherPerson];
    Rules {
        replicas: rng.u32(1..5),
        canary_percent: rng.u32(5..60),
        approval: approvals[rng.usize(..approvals.len())],
        than_old: rng.bool(),
        limit_slow: rng.bool(),
        watch_seconds: if rng.u8(..10) == 0 { 0 } else { rng.u32(5..60) },
        enough_requests: rng.u32(50..400),
        keep: rng.u32(2..4),
        checks: rng.bool(),
        smoke: rng.bool(),
    }
}

fn storm(rng: &mut fastrand::Rng) -> Storm {
    let mut faults = Vec::from(Fault::ALL);
    rng.shuffle(&mut faults);
    faults.truncate(rng.usize(0..5));
    Storm { faults, pause: Duration::from_millis(rng.u64(500..30_000)) }
}

fn roughness(rng: &mut fastrand::Rng) -> Roughness {
    let mut often = |most: f64| if rng.u8(..6) == 0 { rng.f64() * most } else { 0.0 };
    Roughness {
        lost: often(0.2),
        late: often(0.1),
        broken: often(0.1),
        lies: often(0.2),
        refused: often(0.1),
        empty: often(0.5),
        journal: often(0.05),
        session: often(0.3),
    }
}
