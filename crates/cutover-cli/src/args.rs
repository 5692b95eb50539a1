//! The command line. What stands here as documentation is the help people read.

use std::path::PathBuf;

use clap::{Args as Group, Parser, Subcommand, ValueEnum};
use cutover_model::{EnvironmentName, ReleaseNumber};

/// Ships database-backed services: schema first, then code, then traffic, and back again safely.
#[derive(Debug, Parser)]
#[command(name = "cutover", version, propagate_version = true, after_help = EXIT_CODES)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed (the message says what is still serving), 2 bad usage or \
                          configuration, 3 refused (lock, approval, floor, order of migrations, lint), 4 interrupted or \
                          waiting; the same command goes on";

/// What every command takes.
#[derive(Debug, Group)]
pub(crate) struct Global {
    /// The description of the service
    #[arg(
        long,
        short,
        global = true,
        default_value = "cutover.toml",
        value_name = "FILE",
        env = "CUTOVER_FILE"
    )]
    pub(crate) file: PathBuf,
    /// Where journal, artifacts and logs are kept [default: .cutover beside the description]
    #[arg(long, global = true, value_name = "DIR", env = "CUTOVER_STATE")]
    pub(crate) state: Option<PathBuf>,
    /// The host's socket [default: host/host.sock in the state directory]
    #[arg(long, global = true, value_name = "SOCKET", env = "CUTOVER_HOST")]
    pub(crate) host: Option<PathBuf>,
    /// Print one JSON document, or with `events` one line for each event, on standard output
    #[arg(long, global = true, value_name = "FORM", num_args = 0..=1, require_equals = true, default_missing_value = "document")]
    pub(crate) json: Option<Json>,
    /// Log more; twice for still more
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// The form of machine-readable output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Json {
    /// One document at the end.
    Document,
    /// One line for each event as it happens.
    Events,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show a whole release story on this machine: good, bad, slow, failing and interrupted releases under load
    Demo(Demo),
    /// Release a commit to an environment, or go on with a release that was interrupted
    Release(Release),
    /// Approve what the environment's run waits for
    Approve(Approve),
    /// Stop the environment's run and go back to the release that served before
    Abort(Abort),
    /// Let an earlier release serve again
    Rollback(Rollback),
    /// Show what serves, what runs and what waits
    Status(At),
    /// List the releases and runs of an environment
    History(History),
    /// Apply and inspect migrations
    #[command(subcommand)]
    Migrate(Migrate),
    /// Run replicas and the gate on this machine
    Host(Host),
    /// Check everything a release would need; changes nothing
    Doctor(Doctor),
    /// Print the JSON schema of cutover.toml
    Schema,
    #[command(hide = true)]
    DemoService,
}

/// Arguments of `cutover demo`.
#[derive(Debug, Group)]
pub(crate) struct Demo {
    /// Requests a second while releasing
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(10..=20_000))]
    pub(crate) rate: u32,
    /// Keep the directory it worked in, and say where it is
    #[arg(long)]
    pub(crate) keep: bool,
}

/// Arguments of `cutover release`.
#[derive(Debug, Group)]
pub(crate) struct Release {
    /// The environment
    pub(crate) environment: EnvironmentName,
    /// The commit to release
    #[arg(long = "ref", value_name = "REV", default_value = "HEAD")]
    pub(crate) reference: String,
    /// Release the commit although there are uncommitted changes, which are left out
    #[arg(long)]
    pub(crate) allow_dirty: bool,
    /// Go on with the environment's open run, whatever commit it is about
    #[arg(long)]
    pub(crate) resume: bool,
    /// Leave with exit code 4 when the run waits for a person
    #[arg(long)]
    pub(crate) no_wait: bool,
}

/// An environment.
#[derive(Debug, Group)]
pub(crate) struct At {
    /// The environment [default: the only one described]
    pub(crate) environment: Option<EnvironmentName>,
}

/// Arguments of `cutover approve`.
#[derive(Debug, Group)]
pub(crate) struct Approve {
    /// The environment
    pub(crate) environment: EnvironmentName,
}

/// Arguments of `cutover abort`.
#[derive(Debug, Group)]
pub(crate) struct Abort {
    /// The environment
    pub(crate) environment: EnvironmentName,
    /// Why, for the journal
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
}

/// Arguments of `cutover rollback`.
#[derive(Debug, Group)]
pub(crate) struct Rollback {
    /// The environment
    pub(crate) environment: EnvironmentName,
    /// The release to return to [default: the one before]
    #[arg(long, value_name = "RELEASE")]
    pub(crate) to: Option<ReleaseNumber>,
    /// Leave with exit code 4 when the run waits for a person
    #[arg(long)]
    pub(crate) no_wait: bool,
}

/// Arguments of `cutover history`.
#[derive(Debug, Group)]
pub(crate) struct History {
    /// The environment [default: the only one described]
    pub(crate) environment: Option<EnvironmentName>,
    /// How many runs, newest first
    #[arg(long, short = 'n', default_value_t = 20)]
    pub(crate) number: usize,
}

/// Commands about migrations.
#[derive(Debug, Subcommand)]
pub(crate) enum Migrate {
    /// List each migration with its phase and state
    Status(MigrateAt),
    /// Show what `up` would do, in order
    Plan(MigrateAt),
    /// Apply pending migrations, exactly once whoever else tries
    Up(MigrateUp),
    /// Say what migrations would do to the service that is running, before they do; changes nothing
    Lint(MigrateLint),
    /// Compare the ledger with the folder: changed, late, unknown and unfinished ones; changes nothing, fails when something is wrong
    Verify(MigrateAt),
    /// Take a database over from the tool that migrated it: report what its ledger says wrongly, and mend it with --apply
    Adopt(MigrateAdopt),
}

/// Which migrations and which database.
#[derive(Debug, Group)]
pub(crate) struct MigrateAt {
    /// Take folder and database from this environment of cutover.toml [default: the only one described]
    pub(crate) environment: Option<EnvironmentName>,
    /// The folder, instead of the described one
    #[arg(long, value_name = "DIR", requires = "database")]
    pub(crate) dir: Option<PathBuf>,
    /// The database's URL by reference, instead of the described one: env:NAME or file:PATH
    #[arg(long, value_name = "REFERENCE")]
    pub(crate) database: Option<cutover_model::config::Value>,
    /// Whose folder --dir is, where that can't be seen: cutover, drizzle, drizzle-1, sqlx, refinery, golang-migrate, dbmate, diesel
    #[arg(long, value_name = "FORMAT", requires = "dir")]
    pub(crate) folder_format: Option<cutover_migrate::Format>,
}

/// Arguments of `cutover migrate adopt`.
#[derive(Debug, Group)]
pub(crate) struct MigrateAdopt {
    #[command(flatten)]
    pub(crate) at: MigrateAt,
    /// Mend the ledger's rows whose right content is known from the folder; no other table is changed
    #[arg(long)]
    pub(crate) apply: bool,
}

/// Arguments of `cutover migrate up`.
#[derive(Debug, Group)]
pub(crate) struct MigrateUp {
    #[command(flatten)]
    pub(crate) at: MigrateAt,
    /// Apply backfill and contract migrations too, although old code may need what they remove
    #[arg(long)]
    pub(crate) all: bool,
    /// What is so of the statement that was running when a migration was cut off: `done` or `not-done`
    #[arg(long, value_name = "ANSWER")]
    pub(crate) interrupted: Option<cutover_migrate::OnInterrupted>,
}

/// Arguments of `cutover migrate lint`.
#[derive(Debug, Group)]
pub(crate) struct MigrateLint {
    /// Take the folder from this environment of cutover.toml [default: the only one described]
    pub(crate) environment: Option<EnvironmentName>,
    /// The folder, instead of the described one
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Look into a database, by reference: env:NAME or file:PATH. What it has is left out, and what is dangerous only on
    /// a large table is judged by its tables
    #[arg(long, value_name = "REFERENCE")]
    pub(crate) database: Option<cutover_model::config::Value>,
    /// Which database's rules [default: what the folder or the described database says]
    #[arg(long, value_name = "DATABASE", conflicts_with = "database")]
    pub(crate) dialect: Option<LintDialect>,
    /// Only files that were added or changed since this revision of git
    #[arg(long, value_name = "REV")]
    pub(crate) since: Option<String>,
    /// Read what the database has too
    #[arg(long)]
    pub(crate) all: bool,
    /// For whom
    #[arg(long, value_name = "FORM", default_value = "people", conflicts_with = "json")]
    pub(crate) format: LintForm,
    /// Print the page of a rule or of a family of rules, and read no migration
    #[arg(long, value_name = "NAME", exclusive = true)]
    pub(crate) explain: Option<String>,
}

/// Whose rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LintDialect {
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    Mysql,
    /// SQLite.
    Sqlite,
}

impl From<LintDialect> for cutover_migrate::Dialect {
    fn from(said: LintDialect) -> Self {
        match said {
            LintDialect::Postgres => Self::Postgres,
            LintDialect::Mysql => Self::Mysql,
            LintDialect::Sqlite => Self::Sqlite,
        }
    }
}

/// The form of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LintForm {
    /// Text.
    People,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// Annotations in a GitHub workflow.
    Github,
}

/// Arguments of `cutover host`.
#[derive(Debug, Group)]
pub(crate) struct Host {
    /// Take over sockets and replicas from the host that runs now, without losing a request
    #[arg(long)]
    pub(crate) takeover: bool,
    /// How long requests in flight may take to finish when the host stops or was taken over; 0s cuts them
    #[arg(long, default_value = "30s", value_name = "TIME")]
    pub(crate) grace: cutover_model::config::Span,
}

/// Arguments of `cutover doctor`.
#[derive(Debug, Group)]
pub(crate) struct Doctor {
    /// The environment [default: every one described]
    pub(crate) environment: Option<EnvironmentName>,
    /// Put a damaged journal aside and go on from its sound part. This alone changes something
    #[arg(long)]
    pub(crate) mend_journal: bool,
}
