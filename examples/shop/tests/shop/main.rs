//! The shop, a real service on a real PostgreSQL: by itself ([`service`]) and released by Cutover ([`release`]).
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a failing test says where and why by panicking"
)]

mod history;
mod load;
mod release;
mod replica;
mod service;
mod wire;
mod world;

/// Fails a test that would wait for ever; no result depends on it.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);
