//! Developer commands: `cargo xtask test | bench | tidy | reference`.
//!
//! Each says what it does, does it again without harm, and exits non-zero when something did not hold. They are what
//! `.ci/run` calls, so that a person's machine and CI answer alike.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "these commands talk to the person who runs them"
)]

mod bench;
mod failure;
mod parts;
mod process;
mod reference;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Developer commands", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Provide the real parts (PostgreSQL, MariaDB, PgBouncer), then run every test of the workspace.
    ///
    /// Missing packages are installed where this is root on Debian. What stays missing is named and its tests are
    /// reported as skipped; with CI=true that is an error.
    Test(test::Options),
    /// Measure, and print figures beside their peers and bounds.
    Bench(bench::Options),
    /// The service that benchmarks release; hosts start it.
    #[command(hide = true)]
    Replica,
    /// Check the house rules that compilers don't: sizes, names, reasons, links.
    Tidy,
    /// Write docs/reference from the code.
    Reference(reference::Options),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Test(options) => test::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Replica => bench::replica().map_err(Failure::Replica),
        Command::Tidy => tidy::run(),
        Command::Reference(options) => reference::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the workspace: this crate's folder is directly below it.
fn root() -> &'static std::path::Path {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}
