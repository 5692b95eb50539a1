//! Cutover's pure values and rules. Nothing here reads a clock, a file or a socket.

pub mod id;
pub mod measure;
pub mod migration;

pub use id::{EnvironmentName, GitSha, ReleaseNumber, RunNumber, ServiceName};
