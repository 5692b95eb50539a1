//! `cargo run -p cutover-sim -- --seeds N [--seed S] [--trace]`
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is a developer's command")]

use std::process::ExitCode;

use cutover_sim::{Scenario, simulate};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| {
        args.iter()
            .position(|arg| arg == name)
            .and_then(|at| args.get(at + 1))
            .and_then(|text| text.parse::<u64>().ok())
    };
    let trace = args.iter().any(|arg| arg == "--trace");
    let first = number("--seed").unwrap_or(0);
    let count = number("--seeds").unwrap_or(1);
    for seed in first..first + count {
        let mut scenario = Scenario::wild(seed);
        scenario.whole_trace = trace;
        let report = simulate(&scenario);
        if report.violation.is_some() || trace {
            println!("{report}");
        }
        if report.violation.is_some() {
            return ExitCode::FAILURE;
        }
    }
    println!("ok");
    ExitCode::SUCCESS
}
