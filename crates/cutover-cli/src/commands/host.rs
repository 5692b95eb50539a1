//! `cutover host`: runs replicas and the gate on this machine until it is told to stop.

use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};

use crate::{
    args::{Global, Host},
    failure::{Failure, Kind},
    project::{self, Project},
};

/// Needs no description: where there is none, the state directory stands in the present folder.
pub(super) async fn run(global: &Global, args: &Host) -> Result<(), Failure> {
    let (state, socket) = match Project::load(global) {
        Ok(project) => (project.state, project.socket),
        Err(_) if !global.file.exists() => {
            let state = project::state_dir(global, &std::path::absolute(Path::new("."))?)?;
            let socket = project::socket(global, &state)?;
            (state, socket)
        }
        Err(failure) => return Err(failure),
    };
    project::make_state(&state)?;
    let grace = args.grace.get();
    let options = cutover_host::HostOptions {
        state_dir: state.join("host"),
        socket: Some(socket),
        takeover: args.takeover,
        grace,
    };
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stop = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    cutover_host::run(options, stop).await.map_err(|error| Failure::new(Kind::Failed, error.to_string()))
}
