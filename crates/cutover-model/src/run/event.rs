//! What can happen in a run. Events are facts: they are never changed, and their sequence numbers are their order.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Plan, Step};
use crate::{
    id::{EnvironmentName, RunNumber},
    migration::MigrationId,
};

/// An event's place in its journal: 1 or more, rising, also across runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Seq(pub u64);

/// Who did something: `ada@build-1`. What stands here is what the machine said of its user; it is a record, not a proof.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity(pub String);

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An event in its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its place.
    pub seq: Seq,
    /// The environment it belongs to.
    pub environment: EnvironmentName,
    /// The run it belongs to.
    pub run: RunNumber,
    /// When, in milliseconds since 1970 UTC by the writer's clock; for people, never for order.
    pub at_ms: i64,
    /// What.
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A run began. Always its first event.
    Planned {
        /// What shall happen.
        plan: Box<Plan>,
    },
    /// A driver took the run: at its start, or after the one before it ended.
    Driving {
        /// Who and where.
        driver: Identity,
        /// The lease's number, higher with each driver.
        fence: u64,
    },
    /// A step is about to be performed. Durable before its effect.
    Intended {
        /// Which.
        step: Step,
        /// From 1; above 1 where an earlier attempt was interrupted or is repeated.
        attempt: u32,
    },
    /// The step in hand is done.
    Succeeded {
        /// Which.
        step: Step,
        /// What came of it.
        note: Note,
    },
    /// The step in hand failed.
    Failed {
        /// Which.
        step: Step,
        /// Why.
        cause: Cause,
    },
    /// The watch ended without a verdict; the fleet stays as it is until somebody decides.
    Held {
        /// What was missing.
        why: String,
    },
    /// Somebody approved what the run waits for.
    Approved {
        /// Who.
        by: Identity,
    },
    /// Somebody wants the run to go back.
    AbortRequested {
        /// Who.
        by: Identity,
        /// Why, in their words; may be empty.
        reason: String,
    },
    /// The run is over. Always its last event.
    Ended {
        /// How.
        outcome: Outcome,
    },
}

/// What came of a step, as far as later decisions or people need it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "snake_case")]
pub enum Note {
    /// Nothing to add.
    #[default]
    None,
    /// The artifact.
    Built {
        /// Bytes on disk.
        bytes: u64,
    },
    /// The database's state after the expand migrations.
    Migrated {
        /// Applied by this step.
        applied: Vec<MigrationId>,
        /// Contract and backfill migrations that wait.
        held: Vec<MigrationId>,
        /// Every migration the release's folder holds, in order.
        folder: Vec<MigrationId>,
    },
    /// The verdict was good; for people: each metric with its figures.
    Judged {
        /// One sentence each.
        findings: Vec<String>,
    },
}

/// Why a step failed. Texts are redacted before they get here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Cause {
    /// The release is bad by what the team declared, or its replicas don't stay up.
    Bad {
        /// One sentence a finding, at least one.
        findings: Vec<String>,
    },
    /// Something did not work.
    Broken {
        /// What.
        message: String,
        /// What to do about it.
        help: String,
    },
    /// Cutover refuses to do it: lock, order of phases, floor.
    Refused {
        /// What.
        message: String,
        /// What to do about it.
        help: String,
    },
    /// Somebody asked for it.
    Aborted {
        /// Who.
        by: Identity,
        /// Why, in their words; may be empty.
        reason: String,
    },
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bad { findings } => write!(f, "the release is bad: {}", findings.join("; ")),
            Self::Broken { message, .. } | Self::Refused { message, .. } => f.write_str(message),
            Self::Aborted { by, reason } if reason.is_empty() => write!(f, "aborted by {by}"),
            Self::Aborted { by, reason } => write!(f, "aborted by {by}: {reason}"),
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The plan's release serves.
    Done,
    /// It had replicas, and the old release serves again.
    Reverted {
        /// Why.
        cause: Cause,
    },
    /// It never had a replica; the old release served all the time.
    Stopped {
        /// Why.
        cause: Cause,
    },
}

impl Outcome {
    /// Why the run did not do what it was for.
    pub fn cause(&self) -> Option<&Cause> {
        match self {
            Self::Done => None,
            Self::Reverted { cause } | Self::Stopped { cause } => Some(cause),
        }
    }
}
