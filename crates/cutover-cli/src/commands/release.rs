//! `cutover release ENV`: releases a commit, or goes on with a release that was interrupted.

use cutover_conductor::{
    artifact,
    drive::Patience,
    history::History,
    planning::{self, NoPlan},
};

use super::session::Session;
use crate::{
    args::{Global, Release},
    failure::{Failure, Kind},
    say,
};

pub(super) async fn run(global: &Global, args: &Release) -> Result<(), Failure> {
    let session = Session::open(global).await?;
    let environment = &args.environment;
    let settings = session.project.settings(environment)?;
    let patience = if args.no_wait { Patience::Leave } else { Patience::Stay };
    if args.resume {
        let lease = session.lease(environment).await?;
        return match session.resume(lease.as_ref(), environment, patience).await? {
            true => Ok(()),
            false => Err(Failure::new(Kind::Refused, format!("no run is open in {environment}"))
                .fact("nothing was changed")
                .help(format!("`cutover release {environment}` begins one"))),
        };
    }
    let commit = artifact::commit(&session.project.root, &args.reference).await?;
    let lease = session.lease(environment).await?;
    let history = History::read(&session.journal, environment).await?;
    match planning::release(
        &history,
        session.kept(environment)?,
        settings,
        commit.clone(),
        session.me.clone(),
    ) {
        // The same commit again means: go on with it.
        Err(NoPlan::Open { sha, .. }) if sha == commit.sha => {
            session.resume(lease.as_ref(), environment, patience).await.map(|_| ())
        }
        Err(NoPlan::Serving { release }) => {
            let document = serde_json::json!({ "release": release, "serving": release, "outcome": { "outcome": "done" } });
            say::result(global.json, &document, || format!("{release} is this commit, and serves already"));
            Ok(())
        }
        Err(error) => Err(error.into()),
        Ok(plan) => {
            clean(&session, args).await?;
            session.begin(lease.as_ref(), &plan, patience).await
        }
    }
}

/// A release is made from a commit. Changes beside it would not be in it, which is rarely what is meant.
async fn clean(session: &Session, args: &Release) -> Result<(), Failure> {
    if args.allow_dirty || args.reference != "HEAD" || !artifact::is_dirty(&session.project.root).await? {
        return Ok(());
    }
    Err(Failure::new(Kind::Refused, "there are uncommitted changes, which a release would not have in it")
        .fact("nothing was changed")
        .help("commit or stash them, or release the commit as it is with --allow-dirty"))
}
