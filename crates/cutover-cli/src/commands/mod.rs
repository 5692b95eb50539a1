//! One file a command.

mod abort;
mod approve;
mod demo;
mod doctor;
mod history;
mod host;
mod lint;
mod migrate;
mod release;
mod rollback;
mod schema;
mod session;
mod status;

use crate::{
    args::{Args, Command},
    failure::Failure,
};

/// Does what the arguments say.
pub(crate) async fn run(args: &Args) -> Result<(), Failure> {
    let global = &args.global;
    match &args.command {
        Command::Demo(demo) => demo::run(global, demo).await,
        Command::Release(release) => release::run(global, release).await,
        Command::Approve(approve) => approve::run(global, approve).await,
        Command::Abort(abort) => abort::run(global, abort).await,
        Command::Rollback(rollback) => rollback::run(global, rollback).await,
        Command::Status(at) => status::run(global, at).await,
        Command::History(history) => history::run(global, history).await,
        Command::Migrate(migrate) => migrate::run(global, migrate).await,
        Command::Host(host) => host::run(global, host).await,
        Command::Doctor(doctor) => doctor::run(global, doctor).await,
        Command::Schema => {
            schema::run();
            Ok(())
        }
        Command::DemoService => demo::service().await,
    }
}
