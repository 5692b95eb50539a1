//! What happened in the world, as the trace shows it and the rules see it.

use std::{fmt, time::Duration};

use cutover_conductor::ports::Rollout;
use cutover_model::{
    ReleaseNumber,
    fleet::Generation,
    migration::{MigrationId, Phase},
    run::{Event, Record},
};

/// One process on somebody's machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pid(pub(crate) u32);

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}", self.0)
    }
}

/// A call that a driver makes at a port and that may have an effect.
#[derive(Debug, Clone)]
pub(crate) enum Call {
    Checks,
    Build,
    Expand,
    Advance(Box<Rollout>),
    Revert,
    Retire,
    Smoke,
    Prune,
}

impl Call {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Checks => "checks",
            Self::Build => "build",
            Self::Expand => "expand",
            Self::Advance(_) => "advance",
            Self::Revert => "revert",
            Self::Retire => "retire",
            Self::Smoke => "smoke",
            Self::Prune => "prune",
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone)]
pub(crate) enum Fact {
    // Processes
    Started {
        pid: Pid,
        name: String,
    },
    Killed {
        pid: Pid,
    },
    Paused {
        pid: Pid,
        for_: Duration,
    },
    Left {
        pid: Pid,
        how: String,
    },
    // Journal
    Leased {
        pid: Pid,
        fence: u64,
    },
    LeaseLost {
        pid: Pid,
    },
    /// `sent` is when its writer sent it.
    Recorded {
        by: Pid,
        fenced: bool,
        sent: Duration,
        record: Box<Record>,
        text: String,
    },
    JournalRefused {
        by: Pid,
        driving: bool,
        why: String,
        final_: bool,
    },
    // Calls at ports
    Called {
        pid: Pid,
        release: ReleaseNumber,
        call: Call,
    },
    Notified {
        pid: Pid,
        text: String,
    },
    Measured {
        pid: Pid,
        epoch: u64,
        requests: Vec<(ReleaseNumber, u64)>,
    },
    // The host
    Written {
        by: Pid,
        generation: Generation,
        accepted: bool,
        what: String,
    },
    Replica {
        id: u64,
        release: ReleaseNumber,
        what: Change,
    },
    HostDown,
    HostUp {
        epoch: u64,
    },
    // The database
    Locked {
        session: u64,
        pid: Pid,
    },
    Unlocked {
        session: u64,
    },
    Applied {
        session: u64,
        migration: MigrationId,
        phase: Phase,
    },
    // Artifacts
    Built {
        release: ReleaseNumber,
    },
    Pruned {
        release: ReleaseNumber,
    },
    // Everything else that is worth a line in the trace
    Weather(String),
}

/// What happened to a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Starts,
    Ready,
    Fails,
    Drains,
    /// SIGTERM, so long after its drain began, with requests in flight or not.
    Stops {
        drained: Duration,
        in_flight: bool,
    },
    Gone,
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { pid, name } => write!(f, "{pid} starts: {name}"),
            Self::Killed { pid } => write!(f, "{pid} KILLED"),
            Self::Paused { pid, for_ } => write!(f, "{pid} paused for {for_:?}"),
            Self::Left { pid, how } => write!(f, "{pid} leaves: {how}"),
            Self::Leased { pid, fence } => write!(f, "{pid} has lease {fence}"),
            Self::LeaseLost { pid } => write!(f, "{pid} lost its lease"),
            Self::Recorded { by, record, text, .. } => match &record.event {
                Event::Planned { plan } => {
                    let from = plan.from.map_or("nothing".into(), |from| from.to_string());
                    write!(
                        f,
                        "#{} {} by {by}: planned {:?} {} from {from}",
                        record.seq.0, record.run, plan.kind, plan.release
                    )
                }
                _ => write!(f, "#{} {} by {by}: {text}", record.seq.0, record.run),
            },
            Self::JournalRefused { by, why, .. } => write!(f, "journal refuses {by}: {why}"),
            Self::Called { pid, release, call } => write!(f, "{pid} calls {} for {release}", call.name()),
            Self::Notified { pid, text } => write!(f, "{pid} shows {text}"),
            Self::Measured { pid, epoch, requests } => {
                write!(f, "{pid} reads counts of epoch {epoch}: {requests:?}")
            }
            Self::Written { by, generation: Generation { fence, write }, accepted, what, .. } => {
                write!(
                    f,
                    "{by} writes {fence}.{write} {what}: {}",
                    if *accepted { "accepted" } else { "REFUSED" }
                )
            }
            Self::Replica { id, release, what } => write!(f, "{release}-{id} {what:?}"),
            Self::HostDown => write!(f, "host down"),
            Self::HostUp { epoch } => write!(f, "host up, epoch {epoch}"),
            Self::Locked { session, pid } => write!(f, "{pid} has the migration lock, session {session}"),
            Self::Unlocked { session } => write!(f, "session {session} frees the migration lock"),
            Self::Applied { session, migration, phase } => {
                write!(f, "session {session} applied {migration} ({phase})")
            }
            Self::Built { release } => write!(f, "{release} built"),
            Self::Pruned { release } => write!(f, "{release} pruned"),
            Self::Weather(what) => write!(f, "weather: {what}"),
        }
    }
}
