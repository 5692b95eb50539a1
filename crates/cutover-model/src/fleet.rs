//! What a host (or a cluster) is asked to run, and what it says is running. These are also the bodies of the host's API.
//!
//! ```text
//! conductor ──Desired──► host ──starts, probes, routes, drains──► replicas
//!           ◄──Observed──
//! ```
//!
//! A desired state is complete and level-triggered: sending it again changes nothing, and whatever is not in it goes.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    config::{CommandLine, Gate, Health, Variables},
    id::{EnvironmentName, ReleaseNumber, ServiceName},
};

/// Whose replicas: one service in one environment. Printed and used in paths as `shop.production`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FleetName {
    /// The service.
    pub service: ServiceName,
    /// The environment.
    pub environment: EnvironmentName,
}

impl std::fmt::Display for FleetName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.service, self.environment)
    }
}

impl std::str::FromStr for FleetName {
    type Err = crate::id::InvalidId;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Neither name can hold a dot; without one, the environment's own error says what is missing.
        let (service, environment) = text.split_once('.').unwrap_or((text, ""));
        Ok(Self { service: service.parse()?, environment: environment.parse()? })
    }
}

impl TryFrom<String> for FleetName {
    type Error = crate::id::InvalidId;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<FleetName> for String {
    fn from(name: FleetName) -> String {
        name.to_string()
    }
}

/// Orders writers of a fleet's desired state: a higher fence is a later driver (by the journal's lease), and within
/// one fence a higher generation is a later write. A host refuses anything not above what it holds, so that a driver which
/// lost its lease can't undo its successor's work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Generation {
    /// The lease's fence.
    pub fence: u64,
    /// Rises with each write under that fence.
    pub write: u64,
}

/// The complete state that a fleet shall have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Desired {
    /// Above that of every earlier one.
    pub generation: Generation,
    /// Where requests come in.
    pub listen: SocketAddr,
    /// How the gate treats them. `unavailable_page` is an absolute path.
    pub gate: Gate,
    /// Releases that shall run, at most one entry a release. Empty: nothing runs, and the gate answers 503.
    pub releases: Vec<DesiredRelease>,
}

/// One release in a desired state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DesiredRelease {
    /// Which.
    pub release: ReleaseNumber,
    /// How many replicas shall run; 0 drains and stops them all.
    pub replicas: u32,
    /// Its share of the traffic against the other releases' weights, when all its replicas are ready; with fewer ready, it
    /// counts in proportion. 0: its replicas are warm and get nothing.
    pub weight: f64,
    /// How to run a replica. A release never changes: what differs here from an earlier desired state counts for
    /// replicas started from then on, and those that run stay as they are.
    pub run: RunSpec,
}

/// How to run and judge one replica of a release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSpec {
    /// The program, started in `directory` without a shell.
    pub command: CommandLine,
    /// The built tree of the release, absolute.
    pub directory: PathBuf,
    /// Its variables. The host resolves references when it starts a replica, in its own environment and with paths
    /// relative to `directory`, so that no secret is stored or sent.
    pub variables: Variables,
    /// Probes.
    pub health: Health,
    /// How long requests in flight may take to finish before the replica gets SIGTERM. Zero: they are cut.
    pub drain: Duration,
    /// From SIGTERM to SIGKILL.
    pub stop_within: Duration,
}

/// What a fleet looks like now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// The desired state that this host works towards.
    pub generation: Generation,
    /// Rises with every change of what follows except `in_flight`; for waiting for a change. A host that starts again
    /// begins above what it said before, as long as the clock was not set back.
    pub version: u64,
    /// Every release with a replica or an entry in the desired state.
    pub releases: Vec<ObservedRelease>,
}

/// One release as observed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObservedRelease {
    /// Which.
    pub release: ReleaseNumber,
    /// The share of new requests that goes to it now, 0 to 1.
    pub share: f64,
    /// Its replicas, in the order of their ids.
    pub replicas: Vec<ObservedReplica>,
}

/// One replica as observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedReplica {
    /// Unique on its host for ever: `r41-3f9a`.
    pub id: String,
    /// Where it is in its life.
    pub state: ReplicaState,
    /// Its process, while it has one.
    pub pid: Option<u32>,
    /// The port it was given in `PORT`.
    pub port: u16,
    /// How often it was started again after it ended by itself or stopped answering.
    pub restarts: u32,
    /// Requests it is answering.
    pub in_flight: u64,
    /// Why it isn't ready, with its last output where it ended; redacted, for operators, never for clients.
    pub reason: Option<String>,
}

/// Where a replica is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaState {
    /// Its process runs and has not been ready yet.
    Starting,
    /// It gets traffic.
    Ready,
    /// It was ready, and its readiness fails now.
    Unready,
    /// It ended by itself or could not be started, and is started again after a pause.
    Waiting,
    /// It gets no new request and finishes those in flight.
    Draining,
    /// It got SIGTERM.
    Stopping,
}

/// What a host says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostStatus {
    /// The version of Cutover that it runs.
    pub version: String,
    /// Its process; another number later means that it was restarted or replaced.
    pub pid: u32,
    /// Where it keeps what it must not forget, absolute.
    pub state_dir: PathBuf,
    /// The fleets it holds, in order.
    pub fleets: Vec<FleetName>,
}

/// The body of every answer of a host's API that is not a success.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRefusal {
    /// What is wrong, without any secret.
    pub error: String,
    /// What to do next.
    pub help: String,
    /// Each thing of a desired state that can't be honoured (status 422).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// The generation held, to which the one sent was not above (status 409).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Generation>,
}

impl Observed {
    /// A release as observed, where there is any of it.
    pub fn release(&self, release: ReleaseNumber) -> Option<&ObservedRelease> {
        self.releases.iter().find(|observed| observed.release == release)
    }

    /// How many of a release's replicas are ready.
    pub fn ready(&self, release: ReleaseNumber) -> u32 {
        let replicas = self.release(release).map_or(&[][..], |observed| &observed.replicas);
        replicas.iter().filter(|replica| replica.state == ReplicaState::Ready).count() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fleets_are_named_by_both_parts() {
        let fleet: FleetName = "shop.production".parse().unwrap();
        assert_eq!(fleet.to_string(), "shop.production");
        for bad in ["shop", "shop.", ".production", "a.b.c"] {
            assert!(bad.parse::<FleetName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_later_driver_is_above_every_write_of_an_earlier_one() {
        assert!(Generation { fence: 2, write: 0 } > Generation { fence: 1, write: 9 });
    }
}
