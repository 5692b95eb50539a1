//! `cutover demo`: a whole release story on this machine, with the real conductor, host and gate, under load.
//!
//! ```text
//! demo ──drives──► conductor ──► host (a process of its own) ──► replicas: `cutover demo-service`
//!   └────requests────────────────────► gate ─────────────────────────┘
//! ```
//!
//! Nothing is simulated and nothing is assumed: what the table at the end says was counted at the requests' end.

mod load;
mod report;
mod service;
mod stage;

use std::{collections::BTreeSet, time::Duration};

use cutover_conductor::{
    artifact,
    drive::{Driver, Patience},
    history::History,
    planning,
};
use cutover_model::{
    ReleaseNumber,
    run::{Cause, Event, Outcome, Run, Step},
};

use self::{
    load::Load,
    report::{Report, Told, tell},
    service::Behaviour,
    stage::Stage,
};
use super::session::Session;
use crate::{
    args::{Demo, Global, Json},
    failure::{Failure, Kind},
    say,
};

/// Steady traffic before and after the story.
const BREATH: Duration = Duration::from_millis(700);

/// How long the host stays away after it was killed.
const AWAY: Duration = Duration::from_millis(400);

/// One release of the story.
struct Chapter {
    story: &'static str,
    subject: &'static str,
    behaviour: Behaviour,
    migrations: &'static [(&'static str, Option<&'static str>)],
    expected: &'static str,
    killed: bool,
}

fn chapters() -> Vec<Chapter> {
    let good = Behaviour { discounts: true, ..Behaviour::default() };
    let chapter = |story, subject, behaviour, expected| Chapter {
        story,
        subject,
        behaviour,
        migrations: &[],
        expected,
        killed: false,
    };
    vec![
        Chapter {
            migrations: &[(
                "0001_orders.sql",
                Some("create table orders (id integer primary key, item text not null);\n"),
            )],
            ..chapter("the first one", "Take orders", Behaviour::default(), "done")
        },
        Chapter {
            migrations: &[(
                "0002_discount.sql",
                Some("alter table orders add column discount integer not null default 0;\n"),
            )],
            ..chapter("a new column and the code for it", "Give discounts", good.clone(), "done")
        },
        chapter("errors", "Round prices", Behaviour { error_every: 6, ..good.clone() }, "reverted"),
        chapter("slowness", "Ask the warehouse", Behaviour { slow_every: 5, ..good.clone() }, "reverted"),
        Chapter {
            migrations: &[("0003_note.sql", Some("alter table ordrs add column note text;\n"))],
            ..chapter("a migration that fails", "Take notes", good.clone(), "stopped")
        },
        Chapter {
            migrations: &[("0003_note.sql", None)],
            killed: true,
            ..chapter("good, host killed meanwhile", "Leave the notes for later", good, "done")
        },
    ]
}

/// The hidden command that runs the demo's service.
pub(super) async fn service() -> Result<(), Failure> {
    service::run().await
}

pub(super) async fn run(global: &Global, args: &Demo) -> Result<(), Failure> {
    let mut stage = Stage::set(args.keep)?;
    let played = tokio::select! {
        played = play(&mut stage, global.json, args.rate) => played,
        _ = tokio::signal::ctrl_c() => Err(Failure::new(Kind::Interrupted, "the demo was interrupted").help("run it again")),
    };
    let kept = stage.strike().await;
    let report = played?;
    say::result(global.json, &report, || format!("\n{}", report.text()));
    if let Some(dir) = kept? {
        say::note(&format!("kept: {}", dir.display()));
    }
    if report.ok {
        return Ok(());
    }
    Err(Failure::new(Kind::Failed, format!("did not hold: {}", report.broken.join("; ")))
        .documented()
        .help("run `cutover demo --keep` and look at host.log in its directory"))
}

async fn play(stage: &mut Stage, json: Option<Json>, rate: u32) -> Result<Report, Failure> {
    // Only the report goes to standard output: events of six runs are not one stable document.
    let quiet = json.map(|_| Json::Document);
    stage.start_host().await?;
    let mut load = None;
    let mut tales = Vec::new();
    let (mut recovered, mut broken) = (false, Vec::new());
    for chapter in chapters() {
        stage.commit(chapter.subject, &chapter.behaviour, chapter.migrations)?;
        let session = Session::open(&stage.global(quiet)).await?;
        let killing = chapter.killed.then_some(load.as_ref()).flatten();
        let (run, outcome, adopted) = release(stage, &session, killing).await?;
        recovered |= adopted && outcome == Outcome::Done;
        let verdict = session.screen.recorded().into_iter().find_map(|(at, record)| {
            matches!(record.event, Event::Failed { cause: Cause::Bad { .. }, .. }).then_some(at)
        });
        tales.push((chapter, run, outcome, verdict));
        if load.is_none() {
            load = Some(Load::begin(stage.address()?, rate));
        }
        tokio::time::sleep(BREATH).await;
        if load.as_ref().is_some_and(|load| load.count() == 0) {
            broken.push("no request was answered in the first moments".to_owned());
        }
    }
    let answers = match load {
        Some(load) => load.end().await,
        None => Vec::new(),
    };
    let told: Vec<Told> = tales
        .iter()
        .map(|(chapter, run, outcome, verdict)| {
            tell(run, outcome, chapter.expected, chapter.story, *verdict, &answers)
        })
        .collect();
    Ok(Report::of(told, &answers, recovered, broken))
}

/// Releases HEAD. With a load, kills the host while the first replica is being watched, and starts it again; the last value
/// says whether it took over the replicas as they were.
async fn release(
    stage: &mut Stage,
    session: &Session,
    killing: Option<&Load>,
) -> Result<(Run, Outcome, bool), Failure> {
    let environment = stage.environment().clone();
    let commit = artifact::commit(&session.project.root, "HEAD").await?;
    let lease = session.lease(&environment).await?;
    let history = History::read(&session.journal, &environment).await?;
    let plan = planning::release(
        &history,
        session.kept(&environment)?,
        session.project.settings(&environment)?,
        commit,
        session.me.clone(),
    )?;
    let driver = Driver::begin(session.ports(), lease.as_ref(), &session.me, &plan).await?;
    let Some(load) = killing else {
        return session.drive(driver, Patience::Leave).await.map(|(run, outcome)| (run, outcome, false));
    };
    let (ended, adopted) =
        tokio::join!(session.drive(driver, Patience::Leave), kill_in_the_middle(stage, session, load));
    let ((run, outcome), adopted) = (ended?, adopted?);
    Ok((run, outcome, adopted))
}

/// True where the host, started again, had the same processes.
async fn kill_in_the_middle(stage: &mut Stage, session: &Session, load: &Load) -> Result<bool, Failure> {
    let watching = |event: &Event| matches!(event, Event::Intended { step: Step::Verify { .. }, .. });
    let over = |event: &Event| matches!(event, Event::Ended { .. });
    loop {
        let recorded = session.screen.recorded();
        if recorded.iter().any(|(_, record)| over(&record.event)) {
            return Ok(false);
        }
        if recorded.iter().any(|(_, record)| watching(&record.event)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let before = replicas(stage).await;
    load.killed();
    stage.kill_host()?;
    session.remark("kill -9 of the host, in the middle of the watch");
    tokio::time::sleep(AWAY).await;
    stage.start_host().await?;
    session.remark("the host is back");
    Ok(!before.is_empty() && replicas(stage).await == before)
}

/// Process ids of every release's replicas.
async fn replicas(stage: &Stage) -> BTreeSet<(ReleaseNumber, u32)> {
    let observed = stage.client().observe(&stage.fleet).await;
    let releases = observed.map(|observed| observed.releases).unwrap_or_default();
    let pids = releases.into_iter().flat_map(|release| {
        let number = release.release;
        release.replicas.into_iter().filter_map(move |replica| Some((number, replica.pid?)))
    });
    pids.collect()
}
