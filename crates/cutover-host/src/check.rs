//! Says before anything is changed why a desired state can't be honoured.
//!
//! Only what would have to be started is looked up: going back to a release whose replicas are warm must not fail because
//! some secret of another release has been moved.

use std::{collections::BTreeSet, time::Duration};

use cutover_gate::Page;
use cutover_model::fleet::{Desired, DesiredRelease};
use tokio::task::spawn_blocking;

use crate::{converge::Actual, front, variables};

/// As `replicas` in the configuration: 1 to 1000.
const MOST_REPLICAS: u32 = 1000;

/// A disk or a network file system that does not answer must not hold the fleet up for ever.
const PATIENCE: Duration = Duration::from_secs(10);

/// Every reason, without any secret; empty where all can be honoured. And the gate's page, where there is one.
pub(crate) async fn within_patience(desired: &Desired, actual: &Actual) -> (Vec<String>, Option<Page>) {
    let (desired, actual) = (desired.clone(), actual.clone());
    let looking = spawn_blocking(move || {
        let mut reasons = reasons(&desired, &actual);
        let page = front::page(&desired.gate).unwrap_or_else(|reason| {
            reasons.push(reason);
            None
        });
        (reasons, page)
    });
    match tokio::time::timeout(PATIENCE, looking).await {
        Ok(Ok(looked)) => looked,
        Ok(Err(error)) => (vec![error.to_string()], None),
        Err(_) => (vec![format!("looking its files up took longer than {PATIENCE:?}")], None),
    }
}

fn reasons(desired: &Desired, actual: &Actual) -> Vec<String> {
    let mut reasons = Vec::new();
    let mut seen = BTreeSet::new();
    for wanted in &desired.releases {
        let release = wanted.release;
        let mut say = |reason: String| reasons.push(format!("{release}: {reason}"));
        if !seen.insert(release) {
            say("it is named twice".into());
        }
        if !(wanted.weight.is_finite() && wanted.weight >= 0.0) {
            say(format!("its weight {} is not a number from 0 on", wanted.weight));
        }
        if wanted.replicas > MOST_REPLICAS {
            say(format!("{} replicas are more than {MOST_REPLICAS}", wanted.replicas));
        }
        let staying = actual.replicas.values().filter(|replica| replica.release == release).count();
        if wanted.replicas as usize > staying {
            unstartable(wanted).into_iter().for_each(say);
        }
    }
    reasons
}

fn unstartable(wanted: &DesiredRelease) -> Vec<String> {
    let run = &wanted.run;
    let mut reasons = Vec::new();
    if !run.directory.is_absolute() {
        reasons.push(format!("the directory {} is not absolute", run.directory.display()));
    } else if !run.directory.is_dir() {
        reasons.push(format!("the directory {} does not exist", run.directory.display()));
    } else if let Err(reason) = variables::program(run) {
        reasons.push(reason);
    }
    if let Err(missing) = variables::resolve(&run.variables, &run.directory) {
        reasons.extend(missing.iter().map(ToString::to_string));
    }
    let bad_name = |name: &&String| name.is_empty() || name.contains(['=', '\0']);
    reasons
        .extend(run.variables.keys().filter(bad_name).map(|name| format!("`{name}` can't name a variable")));
    let health = &run.health;
    for (what, span) in
        [("interval", health.interval), ("timeout", health.timeout), ("start_within", health.start_within)]
    {
        if span.is_zero() {
            reasons.push(format!("health.{what} must be above zero"));
        }
    }
    reasons
}
