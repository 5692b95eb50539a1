//! What is simulated: the commits that are released, how each behaves, under which rules, and what the operators want.

use std::time::Duration;

use cutover_model::{
    config::{Config, Settings},
    id::GitSha,
    migration::{MigrationId, Phase},
    run::{Commit, Plan},
};

/// How a release's replicas behave, whatever the weather.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Behaviour {
    /// As one wishes: 0.1 % errors, 0.2 % slow requests.
    Good,
    /// This share of requests fails.
    Errors(f64),
    /// This share of requests is slow.
    Slow(f64),
    /// Its readiness never succeeds.
    NeverReady,
    /// It ends right after its start.
    ExitsAtOnce,
    /// It serves well for so long after its first readiness, then ends, and from then on ends at each start.
    DiesAfter(Duration),
}

impl Behaviour {
    pub(crate) fn error_rate(self) -> f64 {
        if let Self::Errors(rate) = self { rate } else { 0.001 }
    }

    pub(crate) fn slow_rate(self) -> f64 {
        if let Self::Slow(rate) = self { rate } else { 0.002 }
    }

    /// So bad that no watch may pass it.
    pub(crate) fn is_grossly_bad(self) -> bool {
        matches!(self, Self::Errors(rate) | Self::Slow(rate) if rate >= 0.3)
    }
}

/// One commit that may be released.
#[derive(Debug, Clone)]
pub struct Making {
    /// Of its replicas.
    pub behaviour: Behaviour,
    /// Its migration folder, in order, with phases.
    pub folder: Vec<(MigrationId, Phase)>,
    /// The migration in it that fails.
    pub failing: Option<MigrationId>,
    /// Its checks fail.
    pub checks_fail: bool,
    /// Its build fails.
    pub build_fails: bool,
    /// Its smoke command fails.
    pub smoke_fails: bool,
}

/// What an operator wants from a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Release this commit (by its index), after any open run was taken to its end.
    Release(usize),
    /// Return to the release before.
    Rollback,
    /// Take the open run to its end.
    Resume,
}

/// Who must approve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the configuration's own words")]
pub enum Approvals {
    None,
    Anyone,
    AnotherPerson,
}

impl Approvals {
    fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Anyone => "anyone",
            Self::AnotherPerson => "another-person",
        }
    }
}

/// The rules a scenario's releases run under.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Replicas of a release.
    pub replicas: u32,
    /// The canary's share, in percent.
    pub canary_percent: u32,
    /// Who must approve.
    pub approval: Approvals,
    /// Compare with the old release.
    pub than_old: bool,
    /// Limit slow requests.
    pub limit_slow: bool,
    /// How long a watch may take.
    pub watch_seconds: u32,
    /// Requests after which a watch may pass.
    pub enough_requests: u32,
    /// Artifacts kept.
    pub keep: u32,
    /// Run checks.
    pub checks: bool,
    /// Run a smoke command.
    pub smoke: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            replicas: 2,
            canary_percent: 20,
            approval: Approvals::None,
            than_old: true,
            limit_slow: true,
            watch_seconds: 60,
            enough_requests: 200,
            keep: 2,
            checks: true,
            smoke: true,
        }
    }
}

/// How long a replica may take to become ready in every scenario.
pub(crate) const START_WITHIN: Duration = Duration::from_secs(10);

/// The reference in the configuration; its value is [`CANARY`], which must never be seen outside of a replica.
const SECRET_NAME: &str = "SESSION_SECRET";

/// The secret that is planted wherever a secret would be.
pub(crate) const CANARY: &str = "canary-7c9e6679-do-not-print";

impl Rules {
    /// The settings that a team's file with these rules gives.
    ///
    /// # Panics
    /// Where a rule is out of the configuration's range: a mistake in the scenario.
    pub fn settings(&self) -> Settings {
        let text = self.text();
        let config = Config::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let environment = "production".parse().expect("a plain name");
        config.environment(&environment).expect("it stands in the text")
    }

    fn text(&self) -> String {
        let smoke = if self.smoke { "smoke = \"./smoke\"" } else { "" };
        let checks = if self.checks { "unit = \"make test\"" } else { "" };
        let slow = if self.limit_slow { "slower_than = \"250ms for 2%\"" } else { "" };
        format!(
            r#"{smoke}
[service]
name = "shop"
[checks]
{checks}
[artifact]
build = "make"
run = "./shop"
keep = {keep}
[migrations]
dir = "migrations"
database = "env:MIGRATION_DATABASE_URL"
lock_wait = "2m"
[health]
live = "/live"
ready = "/ready"
start_within = "{start}s"
[bad]
error_rate = "2%"
{slow}
than_old = {than_old}
watch = "{watch}s"
enough_requests = {enough}
[environments.production]
target = "host"
listen = "127.0.0.1:8080"
replicas = {replicas}
canary = "{canary}%"
approval = "{approval}"
drain = "3s"
stop_within = "2s"
environment = {{ {SECRET_NAME} = "env:{SECRET_NAME}" }}
"#,
            keep = self.keep,
            start = START_WITHIN.as_secs(),
            than_old = self.than_old,
            watch = self.watch_seconds,
            enough = self.enough_requests,
            replicas = self.replicas,
            canary = self.canary_percent,
            approval = self.approval.as_str(),
        )
    }
}

/// The commits there are.
#[derive(Debug, Clone, Default)]
pub struct Repository {
    /// Oldest first.
    pub commits: Vec<Making>,
}

impl Repository {
    /// Adds a commit on top, whose folder has the migrations before and `adds`.
    pub fn commit(&mut self, behaviour: Behaviour, adds: &[Phase]) -> &mut Making {
        let before = self.commits.last();
        // A commit that brought a failing migration is followed by one that took it out again.
        let mut folder: Vec<_> = before.map(|making| making.folder.clone()).unwrap_or_default();
        if let Some(failing) = before.and_then(|making| making.failing.as_ref()) {
            folder.retain(|(id, _)| id != failing);
        }
        let at = self.commits.len() + 1;
        for (n, phase) in adds.iter().enumerate() {
            let id = format!("{at:04}_{n}_{phase}").parse().expect("a plain id");
            folder.push((id, *phase));
        }
        self.commits.push(Making {
            behaviour,
            folder,
            failing: None,
            checks_fail: false,
            build_fails: false,
            smoke_fails: false,
        });
        self.commits.last_mut().expect("pushed above")
    }

    /// The commit of an index as a plan names it.
    pub(crate) fn named(&self, index: usize) -> Commit {
        let sha = format!("{:040x}", index + 1).parse::<GitSha>().expect("40 digits");
        Commit { sha, subject: format!("commit {index}") }
    }

    /// The commit that a plan is made from.
    pub(crate) fn of(&self, plan: &Plan) -> usize {
        usize::from_str_radix(plan.commit.sha.as_str(), 16).map_or(0, |number| number - 1)
    }
}
