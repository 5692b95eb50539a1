//! Cutover's pure values and rules. Nothing here reads a clock, a file or a socket.

pub mod config;
pub mod fleet;
pub mod id;
pub mod measure;
pub mod migration;
pub mod redact;
pub mod run;

pub use id::{EnvironmentName, GitSha, ReleaseNumber, RunNumber, ServiceName};
