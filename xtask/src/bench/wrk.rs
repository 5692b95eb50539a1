//! wrk, the load generator: runs it and reads its report.

use std::process::Command;

use crate::{failure::Failure, process};

/// What one run showed.
#[derive(Debug, PartialEq)]
pub(super) struct Report {
    /// Answered ones.
    pub(super) requests: u64,
    /// Answers other than 2xx and 3xx, and requests that got none.
    pub(super) failed: u64,
    pub(super) p99_millis: f64,
}

/// A run of this many connections on one thread.
pub(super) struct Load {
    pub(super) connections: u32,
    pub(super) seconds: u32,
}

impl Load {
    /// To the end.
    pub(super) fn run(&self, url: &str) -> Result<Report, Failure> {
        let mut wrk = Command::new("wrk");
        wrk.arg("--threads=1").arg("--latency").arg(format!("--connections={}", self.connections));
        wrk.arg(format!("--duration={}s", self.seconds)).arg(url);
        read(&process::output(&mut wrk)?)
    }
}

fn read(output: &str) -> Result<Report, Failure> {
    let unreadable = |what| Failure::Unreadable { bench: "wrk", what, output: output.to_owned() };
    Ok(Report {
        requests: requests(output).ok_or_else(|| unreadable("number of requests"))?,
        failed: failed(output),
        p99_millis: p99_millis(output).ok_or_else(|| unreadable("99th percentile"))?,
    })
}

/// From `  123456 requests in 4.00s, 12.3MB read`.
fn requests(output: &str) -> Option<u64> {
    let line = output.lines().find(|line| line.contains(" requests in "))?;
    line.split_whitespace().next()?.parse().ok()
}

/// From `  Socket errors: connect 0, read 1, write 0, timeout 2` and `  Non-2xx or 3xx responses: 3`, which wrk leaves out
/// when there are none.
fn failed(output: &str) -> u64 {
    let lines = output.lines().map(str::trim_start);
    let lines = lines.filter(|line| line.starts_with("Socket errors:") || line.starts_with("Non-2xx"));
    let tails = lines.filter_map(|line| line.split_once(": "));
    let words = tails.flat_map(|(_, tail)| tail.split([' ', ',']));
    words.filter_map(|word| word.parse::<u64>().ok()).sum()
}

/// From `     99%    1.23ms`.
fn p99_millis(output: &str) -> Option<f64> {
    let line = output.lines().find(|line| line.trim_start().starts_with("99%"))?;
    let figure = line.split_whitespace().nth(1)?;
    let units = [("us", 0.001), ("ms", 1.0), ("s", 1000.0), ("m", 60_000.0)];
    let (unit, millis) = units.into_iter().find(|(unit, _)| figure.ends_with(unit))?;
    Some(figure.strip_suffix(unit)?.parse::<f64>().ok()? * millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read() {
        let report = "  Latency Distribution\n     50%    1.02ms\n     99%  870.00us\n  123456 requests in 4.00s, 12.30MB read\n";
        let expected = Report { requests: 123_456, failed: 0, p99_millis: 0.87 };
        assert_eq!(read(report).unwrap(), expected);
        let bad = format!(
            "{report}  Socket errors: connect 1, read 2, write 0, timeout 4\n  Non-2xx or 3xx responses: 8\n"
        );
        assert_eq!(read(&bad).unwrap().failed, 15);
        assert_eq!(p99_millis("     99%    1.50s"), Some(1500.0));
        assert!(read("nothing").is_err());
    }
}
