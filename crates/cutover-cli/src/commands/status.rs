//! `cutover status`: what serves, what runs and what waits, from the journal and from the host.

use cutover_conductor::{history::History, journal::SqliteJournal, ports::Target};
use cutover_model::{
    fleet::{FleetName, Observed, ReplicaState},
    run::{Decision, Run},
};
use cutover_targets::host::HostTarget;

use crate::{
    args::{At, Global},
    failure::Failure,
    progress,
    project::Project,
    say,
};

pub(super) async fn run(global: &Global, args: &At) -> Result<(), Failure> {
    let project = Project::load(global)?;
    let environment = project.environment(args.environment.as_ref())?;
    let journal = SqliteJournal::open_read_only(&project.state).await?;
    let history = History::read(&journal, &environment).await?;
    let fleet = FleetName { service: project.config.service.name.clone(), environment: environment.clone() };
    let observed = HostTarget::new(&project.socket).observe(&fleet).await;
    let open = history.open_run();
    let document = serde_json::json!({
        "environment": environment,
        "serving": history.serving(),
        "run": open.map(|run| serde_json::json!({
            "run": run.number, "release": run.plan.release, "from": run.plan.from, "next": next(run),
        })),
        "fleet": observed.as_ref().ok(),
        "host_error": observed.as_ref().err().map(ToString::to_string),
    });
    say::result(global.json, &document, || {
        let serving = history.serving().map_or("nothing".to_owned(), |release| release.to_string());
        let mut text = vec![format!("{fleet}: {serving} serves")];
        if let Some(run) = open {
            text.push(format!("{}: {}", run.number, progress::headline(&run.plan)));
            text.push(format!("  next: {}", next(run)));
        }
        text.push(match &observed {
            Ok(Some(observed)) => replicas(observed),
            Ok(None) => "the host knows no replicas of it".into(),
            Err(error) => format!("the host can't be asked: {error}"),
        });
        text.join("\n")
    });
    Ok(())
}

fn next(run: &Run) -> String {
    match run.decide() {
        Decision::Perform(step, 1) => step.to_string(),
        Decision::Perform(step, attempt) => format!("{step}, attempt {attempt}"),
        Decision::Wait(what) => {
            progress::waiting(what).replace("ENVIRONMENT", run.plan.settings.environment.as_str())
        }
        Decision::End(outcome) => progress::outcome(&run.plan, &outcome),
        Decision::Ended => "nothing".into(),
    }
}

fn replicas(observed: &Observed) -> String {
    let head = ["replica", "state", "traffic", "port", "pid", "restarts", "in flight", ""]
        .map(str::to_owned)
        .to_vec();
    let rows = observed.releases.iter().flat_map(|release| {
        release.replicas.iter().map(move |replica| {
            let ready =
                release.replicas.iter().filter(|replica| replica.state == ReplicaState::Ready).count().max(1);
            let share = if replica.state == ReplicaState::Ready { release.share / ready as f64 } else { 0.0 };
            vec![
                replica.id.clone(),
                format!("{:?}", replica.state).to_lowercase(),
                format!("{:.1}%", share * 100.0),
                replica.port.to_string(),
                replica.pid.map(|pid| pid.to_string()).unwrap_or_default(),
                replica.restarts.to_string(),
                replica.in_flight.to_string(),
                replica.reason.clone().unwrap_or_default(),
            ]
        })
    });
    say::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}
