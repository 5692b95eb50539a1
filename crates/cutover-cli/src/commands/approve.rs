//! `cutover approve ENV`: says yes to what the environment's run waits for.

use cutover_conductor::{artifact, drive, journal::SqliteJournal};
use cutover_model::run::Event;

use crate::{
    args::{Approve, Global},
    clock::now_ms,
    failure::Failure,
    project::Project,
    say,
};

pub(super) async fn run(global: &Global, args: &Approve) -> Result<(), Failure> {
    let project = Project::load(global)?;
    project.settings(&args.environment)?;
    project.make_state()?;
    let journal = SqliteJournal::open(&project.state).await?;
    let by = artifact::identity(&project.root);
    let run = drive::say(&journal, &args.environment, now_ms(), &Event::Approved { by: by.clone() }).await?;
    let document = serde_json::json!({ "run": run.number, "release": run.plan.release, "approved_by": by });
    say::result(global.json, &document, || {
        format!(
            "{} of {} is approved by {by}; if no command is driving it, `cutover release {} --resume` goes on",
            run.number, run.plan.release, args.environment
        )
    });
    Ok(())
}
