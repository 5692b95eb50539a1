//! Processes on one machine, under `cutover host`.

pub mod client;
