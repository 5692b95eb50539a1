//! `cutover-sim [--seeds N] [--seed S] [--two-drivers]` simulates N seeds from S on (default: 1 from 0); `cutover-sim --scenario NAME
//! [--fault before:7] [--kill-at-poll 99]` one by name. Says which rules did not hold, with the end of the trace of the lowest
//! seed, and exits with 1 if there is any; `--trace` prints the whole trace of one.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is a developer's command")]

use std::{process::ExitCode, str::FromStr};

use cutover_sim::{FaultAt, Named, Scenario, Script, harvest, simulate};

struct Args {
    seeds: u64,
    first: u64,
    trace: bool,
    two_drivers: bool,
    named: Option<Named>,
    faults: Vec<FaultAt>,
    kill_at_poll: Option<u64>,
}

impl Args {
    fn wild(&self, seed: u64) -> Scenario {
        if self.two_drivers { Scenario::two_drivers(seed) } else { Scenario::wild(seed) }
    }
}

fn args() -> Result<Args, String> {
    let mut args = Args {
        seeds: 1,
        first: 0,
        trace: false,
        two_drivers: false,
        named: None,
        faults: Vec::new(),
        kill_at_poll: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--seeds" => args.seeds = parsed(&value()?)?,
            "--seed" => args.first = parsed(&value()?)?,
            "--trace" => args.trace = true,
            "--two-drivers" => args.two_drivers = true,
            "--fault" => args.faults.push(parsed(&value()?)?),
            "--kill-at-poll" => args.kill_at_poll = Some(parsed(&value()?)?),
            "--scenario" => {
                let name = value()?;
                let known = || format!("`{name}` is not one of {:?}", Named::ALL);
                args.named = Some(Named::parse(&name).ok_or_else(known)?);
            }
            _ => {
                return Err(format!(
                    "`{word}` is not known: --seeds, --seed, --two-drivers, --trace, --scenario, --fault, --kill-at-poll"
                ));
            }
        }
    }
    Ok(args)
}

fn parsed<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is not what is expected here"))
}

fn main() -> ExitCode {
    let args = match args() {
        Ok(args) => args,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    let held = if args.trace || args.named.is_some() { one(&args) } else { many(&args) };
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn one(args: &Args) -> bool {
    let mut scenario = match args.named {
        Some(named) => Scenario::exact(named, args.faults.clone()),
        None => args.wild(args.first),
    };
    if let Script::Exact { kill_at_poll, .. } = &mut scenario.script {
        *kill_at_poll = args.kill_at_poll;
    }
    scenario.whole_trace = args.trace;
    let report = simulate(&scenario);
    println!("{report}");
    report.violation.is_none()
}

fn many(args: &Args) -> bool {
    let harvest = harvest(args.first..args.first.saturating_add(args.seeds), |seed| args.wild(seed));
    for (count, report) in harvest.violations.values() {
        println!("{report}\n  ({count} seeds)\n");
    }
    println!("{} seeds, {:?}", harvest.seeds, harvest.tally);
    harvest.violations.is_empty()
}
