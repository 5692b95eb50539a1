//! `cargo run -p cutover-sim -- [--seeds N] [--seed S] [--trace]`: simulates N seeds from S on (default: 1 from 0), says which
//! rules did not hold, with the end of the trace of the lowest seed, and exits with 1 if there is any.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is a developer's command")]

use std::process::ExitCode;

use cutover_sim::{Scenario, harvest, simulate};

struct Args {
    seeds: u64,
    first: u64,
    trace: bool,
}

fn args() -> Result<Args, String> {
    let mut args = Args { seeds: 1, first: 0, trace: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || {
            let text = words.next().ok_or(format!("{word} needs a number"))?;
            text.parse::<u64>().map_err(|_| format!("{word} needs a number, not `{text}`"))
        };
        match word.as_str() {
            "--seeds" => args.seeds = number()?,
            "--seed" => args.first = number()?,
            "--trace" => args.trace = true,
            _ => return Err(format!("`{word}` is not known; use --seeds N, --seed S, --trace")),
        }
    }
    Ok(args)
}

fn main() -> ExitCode {
    let args = match args() {
        Ok(args) => args,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    if args.trace {
        let report = simulate(&Scenario { whole_trace: true, ..Scenario::wild(args.first) });
        println!("{report}");
        return if report.violation.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let harvest = harvest(args.first..args.first.saturating_add(args.seeds), Scenario::wild);
    for (count, report) in harvest.violations.values() {
        println!("{report}\n  ({count} seeds)\n");
    }
    println!("{} seeds, {:?}", harvest.seeds, harvest.tally);
    if harvest.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
