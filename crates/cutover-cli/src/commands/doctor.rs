//! `cutover doctor`: checks everything a release would need, and changes nothing.
//!
//! Each check is a line: what was looked at, what was found, and what to do about it. All are made, whatever the ones
//! before them found.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use cutover_conductor::{
    artifact,
    history::History,
    journal::SqliteJournal,
    ports::{Journal, JournalError, Target},
};
use cutover_model::{
    EnvironmentName,
    config::{Settings, Value},
    fleet::FleetName,
};
use cutover_targets::host::HostTarget;
use serde::Serialize;

use super::migrate;
use crate::{
    args::{Doctor, Global},
    failure::{Failure, Kind},
    project::Project,
    say,
};

/// Free space below which a build may not fit.
const LITTLE_SPACE: u64 = 1 << 30;

/// One check.
#[derive(Debug, Serialize)]
struct Finding {
    /// What was looked at.
    check: String,
    state: State,
    /// What was found.
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    /// A release would work, but this should be known.
    Warning,
    /// A release would fail.
    Failing,
}

fn ok(check: &str, found: impl Into<String>) -> Finding {
    Finding { check: check.into(), state: State::Ok, found: found.into(), help: None }
}

fn not(state: State, check: &str, found: impl Into<String>, help: impl Into<String>) -> Finding {
    Finding { check: check.into(), state, found: found.into(), help: Some(help.into()) }
}

pub(super) async fn run(global: &Global, args: &Doctor) -> Result<(), Failure> {
    let project = Project::load(global)?;
    if args.mend_journal {
        return mend(global, &project).await;
    }
    let mut findings = vec![ok("description", project.file.display().to_string())];
    findings.extend(source(&project.root).await);
    findings.push(space(&project.state));
    let environments: Vec<EnvironmentName> = match &args.environment {
        Some(name) => vec![project.environment(Some(name))?],
        None => project.config.environments.keys().cloned().collect(),
    };
    for name in &environments {
        let settings = project.settings(name)?;
        findings.push(journal(&project, name).await);
        findings.extend(host(&project, &settings).await);
        findings.push(migrate::doctor(&project.root, &settings).await.map_or_else(
            |(found, help)| not(State::Failing, "database", found, help),
            |found| ok("database", found),
        ));
        findings.extend(variables(&settings));
    }
    let failing = findings.iter().filter(|finding| finding.state == State::Failing).count();
    say::result(global.json, &serde_json::json!({ "ok": failing == 0, "checks": findings }), || {
        text(&findings)
    });
    if failing == 0 {
        return Ok(());
    }
    Err(Failure::new(Kind::Failed, format!("{failing} of {} checks failed", findings.len()))
        .fact("nothing was changed")
        .documented())
}

/// Keeps the sound part of a damaged journal, and the damaged file beside it.
async fn mend(global: &Global, project: &Project) -> Result<(), Failure> {
    let mended = cutover_conductor::journal::mend(&project.state).await?;
    let document = serde_json::json!({
        "kept": mended.kept, "lost": mended.lost, "why": mended.why, "aside": mended.aside,
    });
    say::result(global.json, &document, || {
        let why = mended.why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        let (kept, lost, aside) = (mended.kept, mended.lost, mended.aside.display());
        format!(
            "{kept} events kept, {lost} lost{why}; the journal as it was is in {aside}\nnext: `cutover status` shows what is running"
        )
    });
    Ok(())
}

fn text(findings: &[Finding]) -> String {
    let lines = findings.iter().map(|finding| {
        let mark = match finding.state {
            State::Ok => "✓",
            State::Warning => "!",
            State::Failing => "✗",
        };
        let help = finding.help.as_ref().map(|help| format!("\n    next: {help}")).unwrap_or_default();
        format!("{mark} {:<12} {}{help}", finding.check, finding.found)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// git, and what a release would be made from.
async fn source(root: &Path) -> Vec<Finding> {
    let commit = match artifact::commit(root, "HEAD").await {
        Ok(commit) => ok("git", format!("HEAD is {} {}", commit.sha.short(), commit.subject)),
        Err(error) => {
            return vec![not(
                State::Failing,
                "git",
                error.to_string(),
                "a release is made from a git commit",
            )];
        }
    };
    let tree = match artifact::is_dirty(root).await {
        Ok(false) => ok("tree", "no uncommitted changes"),
        Ok(true) => not(
            State::Warning,
            "tree",
            "there are uncommitted changes",
            "commit or stash them: a release has only what is committed",
        ),
        Err(error) => not(State::Failing, "tree", error.to_string(), "`git status` has to work here"),
    };
    vec![commit, tree]
}

fn space(state: &Path) -> Finding {
    let there: PathBuf = state.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/")).to_owned();
    match rustix::fs::statvfs(&there) {
        Ok(stat) => {
            let free = stat.f_bavail * stat.f_frsize;
            let found = format!("{:.1} GB free for {}", free as f64 / 1e9, state.display());
            if free >= LITTLE_SPACE {
                ok("disk", found)
            } else {
                not(State::Warning, "disk", found, "make room, or keep fewer releases ([artifact] keep)")
            }
        }
        Err(error) => {
            not(State::Failing, "disk", format!("{}: {error}", there.display()), "choose another --state")
        }
    }
}

async fn journal(project: &Project, environment: &EnvironmentName) -> Finding {
    match read_journal(project, environment).await {
        Ok(history) => match history.open_run() {
            None => {
                let serving = history
                    .serving()
                    .map_or("nothing was released yet".to_owned(), |r| format!("{r} serves"));
                ok("journal", format!("{environment}: {serving}, no run is open"))
            }
            Some(run) => not(
                State::Warning,
                "journal",
                format!("{environment}: {} of {} is open", run.number, run.plan.release),
                format!(
                    "`cutover release {environment} --resume` goes on, `cutover abort {environment}` goes back"
                ),
            ),
        },
        Err(error) => {
            let failure = Failure::from(error);
            not(State::Failing, "journal", failure.message, failure.help.unwrap_or_default())
        }
    }
}

async fn read_journal(project: &Project, environment: &EnvironmentName) -> Result<History, JournalError> {
    let journal = SqliteJournal::open_read_only(&project.state).await?;
    History::read(&journal as &dyn Journal, environment).await
}

/// The host, and the address that its gate shall listen on.
async fn host(project: &Project, settings: &Settings) -> Vec<Finding> {
    let target = HostTarget::new(&project.socket);
    let fleet = FleetName { service: settings.service.clone(), environment: settings.environment.clone() };
    let listen = settings.place.listen;
    match target.observe(&fleet).await {
        Ok(Some(observed)) => {
            let replicas: usize = observed.releases.iter().map(|release| release.replicas.len()).sum();
            vec![ok("host", format!("{}: {replicas} replicas of {fleet}", project.socket.display()))]
        }
        Ok(None) => {
            vec![ok("host", format!("{}: nothing of {fleet} yet", project.socket.display())), port(listen)]
        }
        Err(error) => {
            let help = "start it with `cutover host`, under systemd or in a terminal of its own";
            vec![not(State::Failing, "host", error.to_string(), help), port(listen)]
        }
    }
}

fn port(listen: SocketAddr) -> Finding {
    // Bound and let go at once: nothing listens, so no connection can come in.
    match TcpListener::bind(listen) {
        Ok(_) => ok("port", format!("{listen} is free")),
        Err(error) => not(
            State::Failing,
            "port",
            format!("{listen}: {error}"),
            "stop what listens there, or choose another address in `listen`",
        ),
    }
}

/// References that have no value here. The host resolves them itself, so a missing one here is only a hint.
fn variables(settings: &Settings) -> Vec<Finding> {
    let missing = settings.place.environment.iter().filter_map(|(name, value)| {
        let gone = match value {
            Value::Plain(_) => return None,
            Value::Env(variable) => std::env::var_os(variable).is_none(),
            Value::File(path) => !path.exists(),
        };
        gone.then(|| {
            not(
                State::Warning,
                "variable",
                format!("{name} refers to {value}, which has no value here"),
                "make sure that it has one where `cutover host` runs",
            )
        })
    });
    missing.collect()
}
