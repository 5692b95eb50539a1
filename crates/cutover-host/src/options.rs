//! How a host is started, and why it may not start.

use std::{io, path::PathBuf, time::Duration};

use cutover_model::fleet::FleetName;

use crate::{handover::TakeoverError, state::StateError};

/// How a host runs.
#[derive(Debug, Clone)]
pub struct HostOptions {
    /// Where it keeps what it must not forget. Created for this user alone where it is missing.
    pub state_dir: PathBuf,
    /// Its API's socket; `None`: `host.sock` in `state_dir`.
    pub socket: Option<PathBuf>,
    /// Take over from the host that runs there, if one does, instead of refusing to start.
    pub takeover: bool,
    /// How long requests in flight may take to finish when the host stops or was taken over. Zero: they are cut.
    pub grace: Duration,
}

impl HostOptions {
    /// The usual ones for a state directory: no take-over, 30 seconds of grace.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self { state_dir: state_dir.into(), socket: None, takeover: false, grace: Duration::from_secs(30) }
    }

    /// Where the API listens.
    pub fn socket(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| self.state_dir.join("host.sock"))
    }
}

/// Why a host did not start or could not go on. Replicas that run are untouched in every case.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The directory is not usable.
    #[error("the state directory {path} can't be used: {cause}")]
    StateDir {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// There is one host a state directory.
    #[error(
        "another host{} holds the state directory {path}: use it as it is, stop it, or start this one with --takeover", 
        .pid.as_ref().map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    Held {
        /// Which directory.
        path: PathBuf,
        /// By which process, where it has said so.
        pid: Option<String>,
    },
    /// What was written earlier can't be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The API's socket.
    #[error("the host can't listen on its socket {path}: {cause}")]
    Socket {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A fleet's address.
    #[error("the gate of {fleet} can't listen: {cause}")]
    Gate {
        /// Whose.
        fleet: FleetName,
        /// Why and what to do.
        cause: String,
    },
    /// The host that runs was not replaced.
    #[error(transparent)]
    Takeover(#[from] TakeoverError),
}
