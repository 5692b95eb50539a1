//! What a run needs of the world, in its own words. Each trait is small, has no default bodies, and is implemented for real
//! in `cutover-targets`, `cutover-cli` and [`crate::journal`], and with faults in `cutover-sim`.
//!
//! ```text
//!              ┌── Journal      what happened, durable before anything follows from it
//!   driver ────┼── Target       the fleet, in whole intents
//!              ├── Metrics      what the gate counted
//!              ├── Migrations   the schema
//!              ├── Commands     the team's checks, build and smoke; artifacts
//!              ├── Clock        time, virtual in the simulator
//!              └── Notify       what a person is shown
//! ```
//!
//! Every call may be made again with the same arguments after an interruption and then does only what is left.
//! Dropping a call's future stops waiting, and leaves the world in some state between before and after.

use std::{collections::BTreeSet, fmt::Debug, path::Path, time::Duration};

use async_trait::async_trait;
use cutover_model::{
    EnvironmentName, ReleaseNumber, RunNumber,
    fleet::{DesiredRelease, FleetName, Generation, Observed},
    measure::Measures,
    migration::MigrationId,
    run::{Event, Identity, Note, Plan, Record, Seq, Step, Waiting},
};

/// Why a port could not do what it was asked. Texts are redacted by the port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// The other side could not be reached or did not answer; trying again may help, and what was asked may have happened.
    #[error("{0}")]
    Unreachable(String),
    /// It was tried and did not work.
    #[error("{message}")]
    Broken {
        /// What failed, and what it left.
        message: String,
        /// The next step.
        help: String,
    },
    /// It was not tried: a rule forbids it.
    #[error("{message}")]
    Refused {
        /// Which rule, and why here.
        message: String,
        /// The next step.
        help: String,
    },
}

/// One step of a rollout as a whole intent: the complete picture of who shall serve.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollout {
    /// Above that of every earlier call; a target refuses an older one. Each call may use this write and the next.
    pub generation: Generation,
    /// The fleet.
    pub fleet: FleetName,
    /// Where requests come in, and how the gate treats them.
    pub listen: std::net::SocketAddr,
    /// The gate's settings.
    pub gate: cutover_model::config::Gate,
    /// The release that advances, with its replicas and weight as they shall be at the end of the call.
    pub new: DesiredRelease,
    /// The release beside it, likewise; `None` where there is none.
    pub old: Option<DesiredRelease>,
    /// `new`'s weight until now, which stays until what the call wants is ready. It may carry more already: what the journal
    /// does not tell is how far an interrupted call came. Then that stays.
    pub before: f64,
    /// `new`'s replicas that carry that weight now.
    pub serving: u32,
}

/// Where replicas run.
#[async_trait]
pub trait Target: Send + Sync + Debug {
    /// The fleet as it is now; `None` where nothing was ever asked for.
    async fn observe(&self, fleet: &FleetName) -> Result<Option<Observed>, PortError>;

    /// Lets `new` have its replicas ready, then its weight, and returns when both are so. Traffic goes on under the weights
    /// before until then. [`PortError::Broken`] as soon as it is clear that a replica won't get ready; the fleet then stays
    /// as it is.
    async fn advance(&self, rollout: &Rollout) -> Result<(), PortError>;

    /// Gives all traffic to `old` at once if it is ready, else as soon as it is, and then retires `new` (whose replicas are 0).
    /// Returns when `new` is gone. Without `old`, only retires `new`.
    async fn revert(&self, rollout: &Rollout) -> Result<(), PortError>;

    /// Drains and stops every release but `new`, which keeps serving. Returns when they are gone.
    async fn retire(&self, rollout: &Rollout) -> Result<(), PortError>;
}

/// What the gate counted.
#[async_trait]
pub trait Metrics: Send + Sync + Debug {
    /// Cumulative counts of each release and route.
    async fn measures(&self, fleet: &FleetName) -> Result<Measures, PortError>;
}

/// The schema.
#[async_trait]
pub trait Migrations: Send + Sync + Debug {
    /// Applies the release's pending expand migrations, exactly once whoever else tries, and says what is there now
    /// ([`Note::Migrated`]). `tree` is the built tree of the release; `live` are the migrations that the release which serves
    /// now brought, whose contract ones wait without standing in this release's way. Not cut in the middle by an abort.
    async fn expand(&self, plan: &Plan, tree: &Path, live: &BTreeSet<MigrationId>)
    -> Result<Note, PortError>;
}

/// What the team declared to be run, and the artifacts that come of it.
#[async_trait]
pub trait Commands: Send + Sync + Debug {
    /// Runs the declared checks in a clean tree of the commit.
    async fn checks(&self, plan: &Plan) -> Result<Note, PortError>;
    /// Builds the release's artifact in a clean tree of the commit and keeps it; one that is kept already is taken as it is.
    async fn build(&self, plan: &Plan) -> Result<Note, PortError>;
    /// Runs the smoke command.
    async fn smoke(&self, plan: &Plan) -> Result<Note, PortError>;
    /// Where a release's built tree stands, or would stand. Pure.
    fn tree(&self, plan: &Plan, release: ReleaseNumber) -> std::path::PathBuf;
    /// Removes the artifacts of all releases of the environment but these, and what is left of interrupted work on them; never
    /// those of a release above all of these. Such a one was built since by a later driver, and this call comes from one that
    /// was paused and does not know that it was replaced.
    async fn prune(&self, plan: &Plan, keep: &[ReleaseNumber]) -> Result<(), PortError>;
}

/// The right to drive an environment's runs, until it is dropped or a later one is given out.
pub trait Lease: Send + Sync + Debug {
    /// Higher with each lease of the environment.
    fn fence(&self) -> u64;
}

/// Why the journal did not do what it was asked. Whatever it is, nothing may follow from what could not be written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Somebody else drives the environment now.
    #[error("{holder} is driving {environment}")]
    Busy {
        /// Which.
        environment: EnvironmentName,
        /// Who, where and since when.
        holder: String,
    },
    /// The lease was given to a later driver.
    #[error("another driver has taken over {0}")]
    Fenced(EnvironmentName),
    /// Events were written since the writer last looked; it has to look again.
    #[error("the journal has moved on")]
    Behind,
    /// The event can't follow.
    #[error("{0}")]
    Illegal(#[from] cutover_model::run::Illegal),
    /// There is no run to say it to.
    #[error("no run is open in {0}")]
    NoRun(EnvironmentName),
    /// A record can't be read or isn't what was written.
    #[error("the journal {place} is damaged at event {seq}: {what}")]
    Corrupt {
        /// The file or table.
        place: String,
        /// The first event that can't be trusted.
        seq: u64,
        /// How that was found.
        what: String,
    },
    /// There is no room for another record.
    #[error("no space left for the journal {place}")]
    Full {
        /// The file.
        place: String,
    },
    /// It can't be read or written at all.
    #[error("the journal {place} can't be used: {source}")]
    Unusable {
        /// The file or address, without secrets.
        place: String,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The durable, ordered record of runs. `append` returns only when the record would survive a power cut.
#[async_trait]
pub trait Journal: Send + Sync + Debug {
    /// Takes the right to drive an environment, without waiting.
    async fn lease(
        &self,
        environment: &EnvironmentName,
        driver: &Identity,
    ) -> Result<Box<dyn Lease>, JournalError>;

    /// Begins a run under a lease, with a number above all others of the environment. Refused with [`JournalError::Behind`]
    /// while an earlier run of the environment has not ended.
    async fn begin(&self, lease: &dyn Lease, at_ms: i64, plan: &Plan) -> Result<Record, JournalError>;

    /// Appends an event to a run whose latest event is `after`; the event must be legal there. With a lease the fence is
    /// checked in the same transaction; operators' events need none.
    async fn append(
        &self,
        lease: Option<&dyn Lease>,
        run: RunNumber,
        environment: &EnvironmentName,
        after: Seq,
        at_ms: i64,
        event: &Event,
    ) -> Result<Record, JournalError>;

    /// The events of one run after a place, in order.
    async fn events(
        &self,
        environment: &EnvironmentName,
        run: RunNumber,
        after: Seq,
    ) -> Result<Vec<Record>, JournalError>;

    /// The numbers of the environment's runs, oldest first.
    async fn runs(&self, environment: &EnvironmentName) -> Result<Vec<RunNumber>, JournalError>;
}

/// Time.
#[async_trait]
pub trait Clock: Send + Sync + Debug {
    /// Milliseconds since 1970 UTC, for people.
    fn now_ms(&self) -> i64;
    /// Time since some fixed moment, never backwards, for measuring.
    fn elapsed(&self) -> Duration;
    /// Waits.
    async fn sleep(&self, duration: Duration);
}

/// Something a person may want to see while a run goes on. The journal's events come as they are written.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// An event was journalled.
    Recorded(Record),
    /// The run waits, and for what; said once.
    Waiting(Waiting),
    /// How the watch stands, a sentence a metric.
    Watching(Vec<String>),
    /// A port failed in a way that may pass; the step is tried again.
    Retrying {
        /// Which step.
        step: Step,
        /// Why.
        why: String,
    },
}

/// What a person is shown. Must not block.
pub trait Notify: Send + Sync + Debug {
    /// Something happened.
    fn notify(&self, progress: Progress);
}

/// All ports of a run.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "each field is the port of its type")]
pub struct Ports<'a> {
    pub target: &'a dyn Target,
    pub metrics: &'a dyn Metrics,
    pub migrations: &'a dyn Migrations,
    pub commands: &'a dyn Commands,
    pub journal: &'a dyn Journal,
    pub clock: &'a dyn Clock,
    pub notify: &'a dyn Notify,
}
