//! The gate over real sockets, with hyper replicas and with replicas that break the rules byte by byte.
//!
//! Deadlines here are for liveness only ([`actors::soon`]); nothing asserts how long something took.

#![allow(clippy::unwrap_used, reason = "a failed step of a test is its failure")]

mod actors;
mod drain;
mod forwarding;
mod limits;
mod measures;
mod retries;
mod rollout;
mod smuggling;
mod streaming;
mod upgrade;
