//! `cargo xtask test`: the real parts first, then every test, then what was skipped and why.
//!
//! A test that can't run because its part is missing writes its name as a line to the file named in
//! `CUTOVER_TEST_SKIPPED`, so that a skipped test is seen and never counted as passed. With `CI=true` nothing may be
//! skipped.

use std::{env, fs, path::PathBuf};

use clap::Args;

use crate::{failure::Failure, parts, process};

/// Names the file that skipped tests report themselves in.
const SKIPPED: &str = "CUTOVER_TEST_SKIPPED";

#[derive(Args)]
pub(crate) struct Options {
    /// Run only tests whose name contains this.
    #[arg(long)]
    filter: Option<String>,
}

/// Provides the parts and runs the tests.
///
/// # Errors
/// A test fails; or with `CI=true`, a part is missing or a test was skipped.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let nothing_skipped = env::var("CI").is_ok_and(|ci| ci == "true");
    let missing: Vec<String> = parts::provide()?.iter().map(|part| part.advice()).collect();
    if nothing_skipped && !missing.is_empty() {
        return Err(Failure::PartsMissing(missing.join("; ")));
    }
    for part in &missing {
        println!("missing: {part}; its tests will be skipped");
    }

    let report = Report::begin()?;
    let mut cargo = process::cargo();
    cargo.args(["test", "--workspace", "--all-features", "--no-fail-fast"]).env(SKIPPED, &report.path);
    if let Some(filter) = &options.filter {
        cargo.args(["--", filter]);
    }
    let tested = process::run(&mut cargo);

    let skipped = report.lines();
    for test in &skipped {
        println!("skipped: {test}");
    }
    tested?;
    if nothing_skipped && !skipped.is_empty() {
        return Err(Failure::Skipped(skipped.len()));
    }
    Ok(())
}

/// Where skipped tests report themselves; removed at the end.
struct Report {
    path: PathBuf,
}

impl Report {
    fn begin() -> Result<Self, Failure> {
        let path = env::temp_dir().join(format!("cutover-skipped-{}", std::process::id()));
        fs::write(&path, "").map_err(|source| Failure::File { path: path.clone(), source })?;
        Ok(Self { path })
    }

    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines.dedup();
        lines
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        // Nothing depends on it: a file that stays is a few bytes in the temporary directory.
        let _ = fs::remove_file(&self.path);
    }
}
