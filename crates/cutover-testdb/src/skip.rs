//! A test that can't run here says so where people see it; where nothing may be skipped, it fails.

use std::{env, fs::OpenOptions, io::Write, thread};

/// Names a file that gets a line for each skipped test; `cargo xtask test` prints them at its end.
const REPORT: &str = "CUTOVER_TEST_SKIPPED";

/// Says that the running test is skipped, and what is missing. The caller returns after it.
///
/// # Panics
/// With `CI=true`: nothing may be skipped there.
pub fn skip(missing: &str) {
    let nothing_skipped = env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!nothing_skipped, "CI=true, and nothing may be skipped: {missing}");
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("{test}: {missing}");
    #[expect(clippy::print_stderr, reason = "a test that skips itself must say so")]
    {
        eprintln!("SKIPPED: {line}");
    }
    // The test runner keeps what a passing test prints to itself, so that this file is what people see.
    if let Some(path) = env::var_os(REPORT) {
        let report = OpenOptions::new().append(true).create(true).open(path);
        report
            .and_then(|mut file| writeln!(file, "{line}"))
            .expect("the report of skipped tests can be written");
    }
}
