//! The command `cutover`: reads what people want, picks the implementations of the conductor's ports, and tells people what
//! happened. Nothing is decided here.

mod args;
mod clock;
mod commands;
mod failure;
mod progress;
mod project;
mod say;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use args::Args;

fn main() -> ExitCode {
    let args = Args::parse();
    logging(args.global.verbose);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(failure::Failure::from).and_then(|runtime| {
        let done = runtime.block_on(commands::run(&args));
        // What still runs on the runtime's helper threads (a name being looked up, say) must not hold back the end.
        runtime.shutdown_background();
        done
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => say::failed(&failure, args.global.json),
    }
}

/// Logs go to standard error; `RUST_LOG` says which, as `info` or `cutover_host=debug,warn`.
fn logging(verbose: u8) {
    let default = match verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    let asked = std::env::var("RUST_LOG").ok().and_then(|asked| asked.parse::<Targets>().ok());
    let targets = asked.unwrap_or_else(|| Targets::new().with_default(default));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    tracing_subscriber::registry().with(lines.with_filter(targets)).init();
}
