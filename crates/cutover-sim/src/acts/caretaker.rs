//! Sees everything to its end once the weather is calm: answers what a run waits for, and starts a driver where none lives.

use std::time::Duration;

use cutover_conductor::drive::Patience;
use cutover_model::{
    config::Settings,
    run::{Decision, Identity, Waiting},
};

use super::{
    command::{self, Command},
    operators::{abort, approval},
};
use crate::{
    scenario::{Behaviour, Wish},
    world::{Shared, World},
};

/// How often it looks.
const ROUND: Duration = Duration::from_secs(2);

/// How long after the last run replicas may take to drain and locks to be freed.
const SETTLES: Duration = Duration::from_secs(45);

/// What there is to do.
enum Task {
    Nothing,
    Drive,
    Approve,
    Abort,
    Stop,
}

/// Returns when all is over; then `World::over` is true.
pub(crate) async fn caretaker(shared: Shared, settings: Settings, calm_at: Duration, said: Option<usize>) {
    shared.kernel.sleep(calm_at).await;
    shared.world().calm_down();
    let mut said = said;
    loop {
        if said.is_some_and(|at| shared.world().store.records.len() > at) {
            said = None;
            command::say(&shared, abort("bob"));
        }
        let task = task(&mut shared.world());
        match task {
            Task::Nothing => {}
            Task::Drive => {
                let leave = shared.world().chance(0.3);
                let patience = if leave { Patience::Leave } else { Patience::Stay };
                let by = Identity("carol".into());
                command::start(
                    &shared,
                    &Command { wish: Wish::Resume, patience, settings: settings.clone(), by },
                );
            }
            Task::Approve => {
                command::say(&shared, approval("bob"));
            }
            Task::Abort => {
                command::say(&shared, abort("bob"));
            }
            Task::Stop => {
                // What a dead driver sent may arrive yet.
                shared.kernel.sleep(SETTLES).await;
                if matches!(self::task(&mut shared.world()), Task::Stop) {
                    break;
                }
            }
        }
        shared.kernel.sleep(if said.is_some() { ROUND / 40 } else { ROUND }).await;
    }
    shared.world().over = true;
}

fn task(world: &mut World) -> Task {
    let Some(run) = world.store.open_run() else {
        let busy = world.processes.values().any(|process| process.alive);
        return if world.wishes_said && !busy { Task::Stop } else { Task::Nothing };
    };
    let decision = run.decide();
    if is_hopeless(world) {
        world.hopeless = true;
        return Task::Stop;
    }
    match decision {
        Decision::Wait(Waiting::Approval) => Task::Approve,
        Decision::Wait(Waiting::Held) => {
            if world.rng.bool() {
                Task::Approve
            } else {
                Task::Abort
            }
        }
        _ if world.store.holder.is_some() => Task::Nothing,
        _ => Task::Drive,
    }
}

/// The run goes back to a release that can't run any more: only a person can help.
fn is_hopeless(world: &World) -> bool {
    let Some(run) = world.store.open_run() else { return false };
    let back = run.state.going_back().is_some() && run.state.advanced && !run.state.reverted;
    let dead = |release| {
        matches!(world.behaviour(release), Behaviour::DiesAfter(_)) && world.host.ready(release) == 0
    };
    back && run.decide() == Decision::Wait(Waiting::Stuck) && run.plan.from.is_some_and(dead)
}
