//! `cargo xtask bench`: figures beside their peers and bounds, as one table.
//!
//! Timings are measured here and never asserted in tests: a busy machine would make those fail for nothing. A figure
//! whose peer is not installed is shown without a judgement.

mod command;
mod detector;
mod gate;
mod held;
mod load;
mod replica;
mod resident;
mod rollout;
mod stage;
mod wrk;

use std::{
    env, fmt, io,
    net::TcpListener,
    path::{Path, PathBuf},
    process::ExitStatus,
};

use clap::Args;

pub(crate) use replica::run as replica;

use crate::failure::Failure;

/// Every benchmark.
const BENCHES: &[Bench] = &[
    Bench {
        name: "detector",
        about: "requests to detect a bad release, against the bound",
        run: detector::run,
    },
    Bench { name: "gate", about: "CPU per request and p99 of the gate, against nginx", run: gate::run },
    Bench {
        name: "rollout",
        about: "fifty releases and twenty rollbacks under load, a roll of ten replicas",
        run: rollout::run,
    },
    Bench { name: "host", about: "memory with ten replicas and a thousand connections", run: resident::run },
    Bench { name: "command", about: "start-up of the command, against git", run: command::run },
];

/// One benchmark.
struct Bench {
    name: &'static str,
    about: &'static str,
    run: fn() -> Result<Vec<Row>, Failure>,
}

/// One figure. All are better when smaller.
struct Row {
    name: String,
    /// With its unit.
    figure: String,
    /// What it is compared with, with its unit; or why there is no comparison.
    peer: String,
    /// Figure over peer; `None` without a comparison.
    ratio: Option<f64>,
    /// The largest ratio that is accepted.
    bound: f64,
}

impl Row {
    /// `None` without a comparison.
    fn holds(&self) -> Option<bool> {
        self.ratio.map(|ratio| ratio <= self.bound)
    }

    fn cells(&self) -> [String; 6] {
        let ok = match self.holds() {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "–",
        };
        let ratio = self.ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
        [
            self.name.clone(),
            self.figure.clone(),
            self.peer.clone(),
            ratio,
            format!("{:.2}", self.bound),
            ok.to_owned(),
        ]
    }
}

#[derive(Args)]
pub(crate) struct Options {
    /// One benchmark; without it, all of them.
    name: Option<String>,
    /// Exit with an error when a figure is outside its bound.
    #[arg(long)]
    strict: bool,
}

/// Runs the benchmarks and prints their table.
///
/// # Errors
/// There is no such benchmark, or one could not be run; with `--strict`, a figure is outside its bound.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let wanted: Vec<&Bench> = BENCHES
        .iter()
        .filter(|bench| options.name.as_deref().is_none_or(|name| name == bench.name))
        .collect();
    if let (Some(name), []) = (&options.name, wanted.as_slice()) {
        let known = BENCHES.iter().map(|bench| bench.name).collect::<Vec<_>>().join(", ");
        return Err(Failure::UnknownBench { name: name.clone(), known });
    }
    let (mut rows, before) = (Vec::new(), load_average());
    for bench in wanted {
        eprintln!("{}: {}", bench.name, bench.about);
        rows.extend((bench.run)()?);
    }
    println!("{}", Table(&rows));
    println!("load average before: {before}, after: {}", load_average());
    let outside = rows.iter().filter(|row| row.holds() == Some(false)).count();
    if options.strict && outside > 0 { Err(Failure::OutOfBounds(outside)) } else { Ok(()) }
}

/// Prints rows under each other, in Markdown, so that it can be pasted into a page.
struct Table<'a>(&'a [Row]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["benchmark", "figure", "peer", "ratio", "bound", "ok"].map(str::to_owned);
        let lines: Vec<[String; 6]> = std::iter::once(head).chain(self.0.iter().map(Row::cells)).collect();
        let widths: [usize; 6] = std::array::from_fn(|column| {
            lines.iter().map(|cells| cells[column].chars().count()).max().unwrap_or_default()
        });
        for (number, cells) in lines.iter().enumerate() {
            for (cell, width) in cells.iter().zip(widths) {
                write!(f, "| {cell:width$} ")?;
            }
            writeln!(f, "|")?;
            if number == 0 {
                widths.iter().try_for_each(|width| write!(f, "|{}", "-".repeat(width + 2)))?;
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

/// How busy the machine is, over the last minute, five and fifteen: a figure without it says little.
fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// `None` of nothing.
fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}

/// Where cargo puts optimised programs. We run from the same target folder: target/PROFILE/xtask.
fn release_folder() -> Result<PathBuf, Failure> {
    let own = env::current_exe().map_err(|source| Failure::File { path: "xtask".into(), source })?;
    Ok(own.parent().and_then(Path::parent).map(|target| target.join("release")).unwrap_or_default())
}

/// A port that was free a moment ago.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// A program that a benchmark needs ended early.
fn ended(command: &str, status: ExitStatus) -> Failure {
    Failure::Ended { command: command.to_owned(), status }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ratio: Option<f64>) -> Row {
        Row { name: "x".into(), figure: "1 µs".into(), peer: "y".into(), ratio, bound: 1.2 }
    }

    #[test]
    fn a_figure_is_judged_only_beside_its_peer() {
        assert_eq!(
            [Some(1.2), Some(1.21), None].map(|ratio| row(ratio).holds()),
            [Some(true), Some(false), None]
        );
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![]), None);
    }

    #[test]
    fn the_table_is_aligned_markdown() {
        let text = Table(&[row(Some(2.0)), row(None)]).to_string();
        let expected = "\
| benchmark | figure | peer | ratio | bound | ok |
|-----------|--------|------|-------|-------|----|
| x         | 1 µs   | y    | 2.00  | 1.20  | NO |
| x         | 1 µs   | y    | –     | 1.20  | –  |
";
        assert_eq!(text, expected);
    }
}
