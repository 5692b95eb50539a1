//! `cutover rollback ENV`: lets an earlier release serve again. While a run is open, that means to abort it.

use cutover_conductor::{drive::Patience, history::History, planning};

use super::{abort, migrate, session::Session};
use crate::{
    args::{Abort, Global, Rollback},
    failure::{Failure, Kind},
};

pub(super) async fn run(global: &Global, args: &Rollback) -> Result<(), Failure> {
    let session = Session::open(global).await?;
    let environment = &args.environment;
    let settings = session.project.settings(environment)?;
    let history = History::read(&session.journal, environment).await?;
    if let Some(run) = history.open_run() {
        if args.to.is_some_and(|to| Some(to) != run.plan.from) {
            let message = format!("{} is open, and goes back to {:?} only", run.number, run.plan.from);
            return Err(
                Failure::new(Kind::Refused, message).help(format!("`cutover abort {environment}` first"))
            );
        }
        let reason = "rollback".to_owned();
        return abort::go_back(&session, global, &Abort { environment: environment.clone(), reason }).await;
    }
    let contracted = match &settings.migrations {
        Some(migrations) => migrate::contracted(&session.project.root, migrations).await?,
        None => Vec::new(),
    };
    let lease = session.lease(environment).await?;
    let history = History::read(&session.journal, environment).await?;
    let plan = planning::rollback(&history, args.to, &contracted, session.me.clone())?;
    let patience = if args.no_wait { Patience::Leave } else { Patience::Stay };
    session.begin(lease.as_ref(), &plan, patience).await
}
