//! People who release. One kind waits for each release to be over; another has no patience, and several hands.

use std::time::Duration;

use cutover_conductor::drive::Patience;
use cutover_model::{
    config::Settings,
    run::{Event, Identity},
};

use super::command::{self, Command};
use crate::{scenario::Wish, world::Shared};

pub(crate) fn approval(by: &str) -> Event {
    Event::Approved { by: Identity(by.into()) }
}

pub(crate) fn abort(by: &str) -> Event {
    Event::AbortRequested { by: Identity(by.into()), reason: "changed my mind".into() }
}

/// Types one command after another, each when the one before is over, and again when it came to nothing.
pub(crate) async fn methodical(shared: Shared, wishes: Vec<Wish>, settings: Settings) {
    let second = Duration::from_secs(1);
    for wish in wishes {
        let runs = shared.world().store.runs.len();
        while shared.world().store.runs.len() == runs {
            let by = Identity("ada".into());
            let command = Command { wish, patience: Patience::Stay, settings: settings.clone(), by };
            let pid = command::start(&shared, &command);
            while shared.world().alive(pid) {
                shared.kernel.sleep(second).await;
            }
            shared.kernel.sleep(second).await;
        }
        while shared.world().store.open_run().is_some() {
            shared.kernel.sleep(second).await;
        }
    }
    shared.world().wishes_said = true;
}

/// Types when the mood takes them, sometimes twice at once, and does not look whether it worked.
pub(crate) async fn impatient(shared: Shared, wishes: Vec<Wish>, settings: Settings) {
    for wish in wishes {
        let hands = 1 + u32::from(shared.world().chance(0.2));
        for hand in 0..hands {
            let stay = shared.world().chance(0.6);
            let patience = if stay { Patience::Stay } else { Patience::Leave };
            let by = Identity(["ada", "eve"][hand as usize].into());
            command::start(&shared, &Command { wish, patience, settings: settings.clone(), by });
        }
        if shared.world().chance(0.3) {
            shared.pass(0, 20_000).await;
            continue;
        }
        shared.pass(500, 3000).await;
        let until = shared.kernel.now() + Duration::from_secs(150);
        while shared.world().store.open_run().is_some() && shared.kernel.now() < until {
            shared.pass(1000, 5000).await;
        }
    }
    shared.world().wishes_said = true;
}

/// Approves and aborts at any moment, whether there is something to it or not.
pub(crate) async fn restless(shared: Shared, aborts: f64, until: Duration) {
    while shared.kernel.now() < until {
        shared.pass(500, 30_000).await;
        let aborts = shared.world().chance(aborts);
        let who = if shared.world().rng.bool() { "ada" } else { "bob" };
        command::say(&shared, if aborts { abort(who) } else { approval(who) });
    }
}
