//! Processes on one machine, under `cutover host`.

mod client;
mod target;

pub use client::{HostClient, HostError};
pub use target::HostTarget;
