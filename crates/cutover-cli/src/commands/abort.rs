//! `cutover abort ENV`: stops the environment's run and sees it go back, by its driver if one lives, else itself.

use cutover_conductor::{
    drive::{self, Patience},
    history::History,
    ports::{Journal, JournalError},
};
use cutover_model::run::{Cause, Event, Outcome};

use super::session::Session;
use crate::{
    args::{Abort, Global},
    clock::now_ms,
    failure::{Failure, Kind},
    say,
};

pub(super) async fn run(global: &Global, args: &Abort) -> Result<(), Failure> {
    let session = Session::open(global).await?;
    session.project.settings(&args.environment)?;
    go_back(&session, global, args).await
}

/// Journals the wish, and waits for whoever drives the run to fulfil it.
pub(super) async fn go_back(session: &Session, global: &Global, args: &Abort) -> Result<(), Failure> {
    let environment = &args.environment;
    let event = Event::AbortRequested { by: session.me.clone(), reason: args.reason.clone() };
    let wished = drive::say(&session.journal, environment, now_ms(), &event).await?;
    if global.json.is_none() {
        say::note(&format!("{} of {} goes back", wished.number, wished.plan.release));
    }
    loop {
        match session.journal.lease(environment, &session.me).await {
            Ok(lease) => {
                return match session.resume(lease.as_ref(), environment, Patience::Leave).await {
                    Ok(_) => ended(session, global, args).await,
                    Err(failure) if failure.kind == Kind::Failed => ended(session, global, args).await,
                    Err(failure) => Err(failure),
                };
            }
            // Its driver lives, and has read the wish or will within a moment.
            Err(JournalError::Busy { .. }) => tokio::time::sleep(std::time::Duration::from_millis(200)).await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether the wish came true: an abort that found the release taken back is a success.
async fn ended(session: &Session, global: &Global, args: &Abort) -> Result<(), Failure> {
    let history = History::read(&session.journal, &args.environment).await?;
    let Some(run) = history.runs.last() else { return Ok(()) };
    match &run.state.ended {
        Some(
            Outcome::Reverted { cause: Cause::Aborted { .. } }
            | Outcome::Stopped { cause: Cause::Aborted { .. } },
        ) => {
            let serving = history.serving();
            say::result(global.json, &serde_json::json!({ "run": run.number, "serving": serving }), || {
                match serving {
                    Some(release) => format!("{release} serves"),
                    None => "nothing serves".into(),
                }
            });
            Ok(())
        }
        other => {
            Err(Failure::new(Kind::Failed, format!("{} did not end by the abort: {other:?}", run.number))
                .help("`cutover status` shows how it stands"))
        }
    }
}
