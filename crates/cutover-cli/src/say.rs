//! Writes to people and programs: results on standard output, everything else on standard error.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is the module that writes to the terminal"
)]

use std::{io::Write, process::ExitCode};

use serde::Serialize;

use crate::{
    args::Json,
    failure::{Failure, Kind},
};

/// Prints a command's result: the document where JSON is wanted, else the text. A closed pipe is not an error.
pub(crate) fn result<T: Serialize>(json: Option<Json>, document: &T, text: impl FnOnce() -> String) {
    let out = match json {
        None => text(),
        Some(Json::Document) => serde_json::to_string_pretty(document).expect("documents are plain data"),
        Some(Json::Events) => serde_json::to_string(document).expect("documents are plain data"),
    };
    line(&out);
}

/// Prints a line on standard output.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

/// Prints a line on standard error.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
}

/// Tells why a command failed, and gives its exit code.
pub(crate) fn failed(failure: &Failure, json: Option<Json>) -> ExitCode {
    if json.is_some() && !failure.documented {
        let kind = match failure.kind {
            Kind::Failed => "failed",
            Kind::Usage => "usage",
            Kind::Refused => "refused",
            Kind::Interrupted => "interrupted",
        };
        let document = serde_json::json!({ "error": {
            "kind": kind, "message": failure.message, "facts": failure.facts, "help": failure.help,
        }});
        result(json, &document, String::new);
    }
    match &failure.report {
        Some(report) => note(&format!("{report:?}")),
        None => note(&format!("error: {}", failure.message)),
    }
    for fact in &failure.facts {
        note(&format!("       {fact}"));
    }
    if let Some(help) = &failure.help {
        note(&format!(" next: {help}"));
    }
    ExitCode::from(failure.kind as u8)
}

/// A table with aligned columns; the first row is the head.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let shown = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    shown.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_and_end_clean() {
        let rows = [vec!["release", "state"], vec!["r1", "serving"], vec!["r10", ""]];
        let rows: Vec<Vec<String>> = rows.map(|row| row.into_iter().map(str::to_owned).collect()).to_vec();
        assert_eq!(table(&rows), "release  state\nr1       serving\nr10");
    }
}
