//! How many requests the detector needs to find a bad release, by simulation, against the least that theory allows;
//! and how often it finds a good one bad, against what was declared.
//!
//! The simulation is the conductor's example `detector`; this reads the first table it prints.

use super::Row;
use crate::{failure::Failure, process};

/// Over the bound on the mean.
const MEAN_BOUND: f64 = 1.4;

pub(super) fn run() -> Result<Vec<Row>, Failure> {
    let output = process::output(process::cargo().args([
        "run",
        "--quiet",
        "--release",
        "--package",
        "cutover-conductor",
        "--example",
        "detector",
    ]))?;
    let unreadable = |what| Failure::Unreadable { bench: "detector", what, output: output.clone() };
    let declared = declared_false_alarms(&output).ok_or_else(|| unreadable("declared false-alarm rate"))?;
    let simulated: Vec<Simulated<'_>> = output.lines().filter_map(Simulated::read).collect();
    if simulated.is_empty() {
        return Err(unreadable("table of shifts"));
    }
    let means = simulated.iter().map(|shift| Row {
        name: format!("detector: {}, {}", shift.detector, shift.shift),
        figure: format!("{} requests", shift.mean),
        peer: format!("bound {}", shift.bound),
        ratio: Some(shift.mean / shift.bound),
        bound: MEAN_BOUND,
    });
    let worst = simulated.iter().map(|shift| shift.false_alarms).fold(0.0, f64::max);
    let alarms = Row {
        name: "detector: false alarms, worst of all".into(),
        figure: format!("{worst:.4}"),
        peer: format!("declared {declared}"),
        ratio: Some(worst / declared),
        bound: 1.0,
    };
    Ok(means.chain([alarms]).collect())
}

/// One line of the table `| detector | shift | bound | mean | ratio | p95 | missed | false alarms |`.
#[derive(Debug, PartialEq)]
struct Simulated<'a> {
    detector: &'a str,
    shift: &'a str,
    bound: f64,
    mean: f64,
    false_alarms: f64,
}

impl<'a> Simulated<'a> {
    /// `None` for every other line.
    fn read(line: &'a str) -> Option<Self> {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        let [detector, shift, bound, mean, _, _, _, false_alarms] = cells.as_slice() else { return None };
        Some(Self {
            detector,
            shift,
            bound: bound.parse().ok()?,
            mean: mean.parse().ok()?,
            false_alarms: false_alarms.parse().ok()?,
        })
    }
}

/// The number after `false alarm ` in the heading.
fn declared_false_alarms(output: &str) -> Option<f64> {
    let (_, rest) = output.split_once("false alarm ")?;
    rest.split([',', ' ', '\n']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read_and_nothing_else() {
        let output = "10 runs, false alarm 0.001, miss 0.01\n\n| detector | shift | bound | mean | ratio | p95 | missed | false alarms |\n|---|---|---:|---:|---:|---:|---:|---:|\n| old, 9:1 | 1 → 2 % | 2017 | 2492 | 1.24 | 4938 | 0.0000 | 0.0006 |\n\n| new | failed | passed | mean |\n|---|---:|---:|---:|\n| 0 % | 0.0 | 1.0 | 1000 |\n";
        assert_eq!(declared_false_alarms(output), Some(0.001));
        let read: Vec<_> = output.lines().filter_map(Simulated::read).collect();
        let expected = Simulated {
            detector: "old, 9:1",
            shift: "1 → 2 %",
            bound: 2017.0,
            mean: 2492.0,
            false_alarms: 0.0006,
        };
        assert_eq!(read, [expected]);
    }
}
