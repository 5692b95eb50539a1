//! `cutover history`: the releases and runs of an environment, newest first: who, when, which commit, and how it ended.

use cutover_conductor::{history::History as Runs, journal::SqliteJournal};
use cutover_model::run::{Kind, Outcome, Run};
use serde::Serialize;

use crate::{
    args::{Global, History},
    failure::Failure,
    project::Project,
    say,
};

/// One run in the list.
#[derive(Debug, Serialize)]
struct Line {
    run: cutover_model::RunNumber,
    kind: Kind,
    release: cutover_model::ReleaseNumber,
    sha: String,
    subject: String,
    by: String,
    /// Milliseconds since 1970 UTC.
    began_ms: i64,
    /// Of its latest event, in milliseconds.
    took_ms: i64,
    /// Null while it is open.
    outcome: Option<Outcome>,
}

pub(super) async fn run(global: &Global, args: &History) -> Result<(), Failure> {
    let project = Project::load(global)?;
    let environment = project.environment(args.environment.as_ref())?;
    let journal = SqliteJournal::open_read_only(&project.state).await?;
    let history = Runs::read(&journal, &environment).await?;
    let lines: Vec<Line> = history.runs.iter().rev().take(args.number).map(line).collect();
    let document =
        serde_json::json!({ "environment": environment, "serving": history.serving(), "runs": lines });
    say::result(global.json, &document, || text(&lines, history.serving()));
    Ok(())
}

fn line(run: &Run) -> Line {
    Line {
        run: run.number,
        kind: run.plan.kind,
        release: run.plan.release,
        sha: run.plan.commit.sha.to_string(),
        subject: run.plan.commit.subject.clone(),
        by: run.plan.by.to_string(),
        began_ms: run.began_ms,
        took_ms: run.latest_ms - run.began_ms,
        outcome: run.state.ended.clone(),
    }
}

fn text(lines: &[Line], serving: Option<cutover_model::ReleaseNumber>) -> String {
    if lines.is_empty() {
        return "nothing was released yet".into();
    }
    let head =
        ["release", "when", "took", "how it ended", "commit", "by", "subject"].map(str::to_owned).to_vec();
    let rows = lines.iter().map(|line| {
        let mark = if Some(line.release) == serving { "*" } else { "" };
        let ended = match (&line.outcome, line.kind) {
            (None, _) => "open",
            (Some(Outcome::Done), Kind::Release) => "served",
            (Some(Outcome::Done), Kind::Rollback) => "returned to",
            (Some(Outcome::Reverted { .. }), _) => "taken back",
            (Some(Outcome::Stopped { .. }), _) => "stopped",
        };
        vec![
            format!("{}{mark}", line.release),
            when(line.began_ms),
            format!("{} s", line.took_ms / 1000),
            ended.to_owned(),
            line.sha.chars().take(12).collect(),
            line.by.clone(),
            line.subject.chars().take(60).collect(),
        ]
    });
    let table = say::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>());
    format!("{table}\n* serves")
}

fn when(ms: i64) -> String {
    let Ok(at) = jiff::Timestamp::from_millisecond(ms) else { return String::new() };
    at.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string()
}
