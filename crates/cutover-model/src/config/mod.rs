//! `cutover.toml`: one description of a service and of the environments it runs in.
//!
//! ```text
//! text ──parse──► Config (shapes and values are right) ──validate──► (they make sense together)
//!                    └── environment(name) ──► Settings: all that one release needs to know
//! ```
//!
//! Every problem carries the place in the text. Secrets stand elsewhere and are referred to ([`Value`]); a literal
//! one is refused.

mod parse;
mod resolve;
mod secret;
mod value;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use parse::{ConfigError, Problem, schema};
pub use resolve::Unresolved;
pub use value::{CommandLine, InvalidValue, Share, SlowerThan, Span, UrlPath, Value, Variables};

use crate::id::{EnvironmentName, ServiceName};

/// The whole file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What is being shipped.
    pub service: Service,
    /// Commands that must succeed before anything is built, by name. They run through `sh -c` in a clean tree of the
    /// commit, at the same time; any failure blocks the release.
    #[serde(default)]
    pub checks: BTreeMap<String, String>,
    /// How a commit becomes something that runs.
    pub artifact: Artifact,
    /// The database schema's changes. Left out: the service has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrations: Option<Migrations>,
    /// How a replica says that it lives and that it may get traffic.
    pub health: Health,
    /// What makes a release bad, said before the deploy.
    #[serde(default)]
    pub bad: Bad,
    /// The reverse proxy in front of the replicas.
    #[serde(default)]
    pub gate: Gate,
    /// A last command against the new release when all its replicas serve. It runs through `sh -c` in the release's
    /// directory with `CUTOVER_URL` set to the gate's address, and may run again after an interruption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smoke: Option<String>,
    /// Where the service runs, by name.
    pub environments: BTreeMap<EnvironmentName, Environment>,
}

/// What is being shipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Its name: lower-case letters, digits and `-`.
    pub name: ServiceName,
}

/// How a commit becomes something that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// Builds the artifact, through `sh -c`, in a clean tree of the commit. Left out: the tree itself is the artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<String>,
    /// Starts one replica, in the built tree, without a shell. It must listen on the port given in `PORT`.
    pub run: CommandLine,
    /// How many releases are kept built, for an instant rollback: 2 or more, the current one included.
    #[serde(default = "default::keep")]
    pub keep: u32,
    /// How long `build` may take. `"0s"`: for ever.
    #[serde(default = "default::build_within")]
    pub build_within: Span,
}

/// The database schema's changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Migrations {
    /// The folder, relative to this file. Its format is recognised.
    pub dir: PathBuf,
    /// The folder's format where it can't be recognised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<MigrationFormat>,
    /// The database's URL, by reference (`"env:MIGRATION_DATABASE_URL"`); a `sqlite:` URL may stand here itself.
    pub database: Value,
    /// How long to wait for another runner that is migrating. `"0s"`: not at all.
    #[serde(default = "default::lock_wait")]
    pub lock_wait: Span,
}

/// The shape of a migrations folder, and with it of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MigrationFormat {
    /// `0001_name.sql` with phase headers; Cutover's own.
    Cutover,
    /// sqlx-cli's.
    Sqlx,
    /// drizzle-kit 0.x, with a journal.
    Drizzle,
    /// drizzle-kit 1.0, one folder a migration.
    #[serde(rename = "drizzle-1")]
    DrizzleFolders,
    /// refinery's `V1__name.sql`.
    Refinery,
    /// golang-migrate's `1_name.up.sql`; on an empty database it must be said, as sqlx's look the same.
    GolangMigrate,
    /// dbmate's, up and down in one file.
    Dbmate,
    /// diesel's, one folder a migration with `up.sql`.
    Diesel,
}

/// How a replica says that it lives and that it may get traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// Answers 2xx as long as the process works. Three failures in a row restart the replica.
    pub live: UrlPath,
    /// Answers 2xx while traffic is safe. Anything else, or nothing in time, takes the replica out.
    pub ready: UrlPath,
    /// How often each is asked once the replica has started. Above zero.
    #[serde(default = "default::interval")]
    pub interval: Span,
    /// How long an answer may take. Above zero.
    #[serde(default = "default::timeout")]
    pub timeout: Span,
    /// How long a replica may take from its start to its first readiness. Above zero.
    #[serde(default = "default::start_within")]
    pub start_within: Span,
}

/// What makes a release bad, said before the deploy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Bad {
    /// More than this share of requests fails (5xx, or no answer). `"0%"`: errors are not limited.
    pub error_rate: Share,
    /// More than this share of requests is slower than this. Left out: latency has no limit of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slower_than: Option<SlowerThan>,
    /// Worse than the old release that runs beside it, in errors or in requests much slower than the old one's p99 (half as
    /// much again, and at least 10 ms).
    pub than_old: bool,
    /// The chance that a good release is rolled back, over the whole watch; above 0 and at most 0.2.
    pub false_alarm: f64,
    /// How long a release is watched for a verdict before the run holds and asks. `"0s"`: releases are not watched.
    pub watch: Span,
    /// Requests of the new release, over all routes, without which no watch ends in a pass; a comparison with the old
    /// release needs a tenth of it from that one too. 1 or more.
    pub enough_requests: u64,
    /// The first requests of the new release, each time it gets more replicas, that are not judged: caches are cold. 0: all
    /// are.
    pub warm_up_requests: u64,
}

impl Default for Bad {
    fn default() -> Self {
        Self {
            error_rate: Share::percent(1),
            slower_than: None,
            than_old: true,
            false_alarm: 0.001,
            watch: Span::from_secs(600),
            enough_requests: 1000,
            warm_up_requests: 20,
        }
    }
}

/// The reverse proxy in front of the replicas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Gate {
    /// Routes measured by themselves, such as `/orders/{id}`; everything else is measured as `other`. At most 100.
    pub routes: Vec<String>,
    /// The largest request body, in bytes. 0: not limited.
    pub body_limit: u64,
    /// The largest request head, in bytes: 1 KiB to 1 MiB.
    pub head_limit: u32,
    /// How long a replica may take to begin its answer. Above zero.
    pub answer_within: Span,
    /// How long a new replica's share of traffic takes to rise to its full size. `"0s"`: it gets it at once.
    pub slow_start: Span,
    /// A file, relative to this one, that people get with a 503 while nothing is ready. Left out: a plain sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unavailable_page: Option<PathBuf>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            routes: Vec::new(),
            body_limit: 0,
            head_limit: 64 * 1024,
            answer_within: Span::from_secs(60),
            slow_start: Span::from_secs(0),
            unavailable_page: None,
        }
    }
}

/// Where the service runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// What runs the replicas.
    pub target: TargetKind,
    /// The address the gate listens on: `"127.0.0.1:8080"`.
    pub listen: SocketAddr,
    /// How many replicas serve: 1 to 1000.
    #[serde(default = "default::replicas")]
    pub replicas: u32,
    /// The largest share of traffic that the first replica of a new release gets before it was judged good.
    #[serde(default = "default::canary")]
    pub canary: Share,
    /// Who must agree before this environment changes.
    #[serde(default)]
    pub approval: Approval,
    /// How long requests in flight may take to finish before their replica is stopped. `"0s"`: they are cut.
    #[serde(default = "default::drain")]
    pub drain: Span,
    /// How long a replica may take from SIGTERM to its end before it is killed. Above zero.
    #[serde(default = "default::stop_within")]
    pub stop_within: Span,
    /// Variables of each replica: references for secrets, plain text for the rest. `PORT`, `CUTOVER_RELEASE` and
    /// `CUTOVER_REPLICA` are set by Cutover.
    #[serde(default)]
    pub environment: Variables,
    /// This environment's own migration database, instead of the one in `[migrations]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<Value>,
    /// This environment's own idea of bad, whole, instead of `[bad]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bad: Option<Bad>,
}

/// What runs the replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TargetKind {
    /// Processes on this machine, under `cutover host`.
    Host,
}

/// Who must agree before an environment changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Approval {
    /// Nobody.
    #[default]
    None,
    /// Somebody, also the one who began the run.
    Anyone,
    /// Somebody other than the one who began the run.
    AnotherPerson,
}

/// All that one release in one environment needs to know. It is part of the plan, so that a run goes on under the
/// rules it began with, whatever the file says by then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each field is the part of `Config` of the same name")]
pub struct Settings {
    pub service: ServiceName,
    pub environment: EnvironmentName,
    pub checks: BTreeMap<String, String>,
    pub artifact: Artifact,
    pub migrations: Option<Migrations>,
    pub health: Health,
    pub bad: Bad,
    pub gate: Gate,
    pub smoke: Option<String>,
    pub place: Environment,
}

impl Config {
    /// The settings of one environment; `None` where the file has no such environment.
    pub fn environment(&self, name: &EnvironmentName) -> Option<Settings> {
        let place = self.environments.get(name)?.clone();
        let mut migrations = self.migrations.clone();
        if let (Some(migrations), Some(database)) = (&mut migrations, &place.database) {
            migrations.database = database.clone();
        }
        Some(Settings {
            service: self.service.name.clone(),
            environment: name.clone(),
            checks: self.checks.clone(),
            artifact: self.artifact.clone(),
            migrations,
            health: self.health.clone(),
            bad: place.bad.clone().unwrap_or_else(|| self.bad.clone()),
            gate: self.gate.clone(),
            smoke: self.smoke.clone(),
            place,
        })
    }
}

mod default {
    use super::{Share, Span};

    pub(super) fn keep() -> u32 {
        5
    }
    pub(super) fn build_within() -> Span {
        Span::from_secs(3600)
    }
    pub(super) fn lock_wait() -> Span {
        Span::from_secs(300)
    }
    pub(super) fn interval() -> Span {
        Span::from_secs(1)
    }
    pub(super) fn timeout() -> Span {
        Span::from_secs(2)
    }
    pub(super) fn start_within() -> Span {
        Span::from_secs(60)
    }
    pub(super) fn replicas() -> u32 {
        2
    }
    pub(super) fn canary() -> Share {
        Share::percent(10)
    }
    pub(super) fn drain() -> Span {
        Span::from_secs(30)
    }
    pub(super) fn stop_within() -> Span {
        Span::from_secs(10)
    }
}
