//! The host with real processes: every test starts a host of its own as a child process, talks to it through the typed
//! client, and sends requests through its gate.
//!
//! Hosts and replicas are this same program in another role, so that they are always of one build.

#![allow(clippy::unwrap_used, reason = "a test's helper fails as the test does")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "measurements, and programs of their own")]

mod adoption;
mod handover;
mod life;
mod load;
mod measure;
mod refusals;
mod replica;
mod world;

use cutover_host::HostOptions;
use tokio::signal::unix::{SignalKind, signal};

/// The variable that gives a process of a test its role.
const ROLE: &str = "CUTOVER_TEST_ROLE";

/// No test of its own: what a process that was started by a test does. Without a role it is nothing.
#[tokio::test]
async fn role() {
    match std::env::var(ROLE).as_deref() {
        Ok("host") => host().await,
        Ok("replica") => replica::play().await,
        Ok("squatter") => replica::squat().await,
        _ => {}
    }
}

/// A host by itself; SIGTERM stops it.
async fn host() {
    let setting = |name| std::env::var(name).ok();
    let mut options = HostOptions::new(setting("STATE_DIR").expect("the state directory is named"));
    options.takeover = setting("TAKEOVER").is_some();
    let stop = async {
        signal(SignalKind::terminate()).expect("signals can be heard").recv().await;
    };
    if let Err(error) = cutover_host::run(options, stop).await {
        eprintln!("{error}");
        std::process::exit(1);
    }
}
