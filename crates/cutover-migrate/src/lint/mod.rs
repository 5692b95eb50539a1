//! Lint: what a migration would do to a service that is running, said before it does.
//!
//! ```text
//! Source ── Script (statements as words, where they stand) ──┬── our rules (rules/, one registry) ──┐
//!                                                            └── squawk (PostgreSQL only) ──────────┤
//! Sizes (rows per table, when a database was asked) ──────────────── severity ──────────────────────┤
//! `-- cutover: allow rule: reason` ───────────────────────────────── takes away, or is a finding ───┴── Report
//! ```
//! Guarantees: it reads text only and changes nothing; no finding shows a literal of the SQL, so no secret and no row;
//! every rule is in [`rules::REGISTRY`] with its problem, its locks and the safe way, and has a case in the corpus.
//! `docs/design/lint.md` says what was considered.

use std::path::PathBuf;

use cutover_model::migration::MigrationId;
use serde::Serialize;

use crate::{dialect::Dialect, migration::Migration, source::Source};

mod allow;
mod page;
mod rule;
mod rules;
mod script;
mod sizes;
mod squawk;

pub use page::{explain, families};
pub use rule::Severity;
pub use sizes::{SMALL_ROWS, Sizes, sizes};

use rule::{Check, Rule};
use rules::REGISTRY;
use script::{Lines, Script};

/// One thing that is wrong with a migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The rule's name, stable.
    pub rule: &'static str,
    /// Whether it blocks.
    pub severity: Severity,
    /// Whose file it is.
    pub migration: MigrationId,
    /// The file, as the folder was named.
    pub file: PathBuf,
    /// Line of what is wrong, 1 or more.
    pub line: u32,
    /// Column in characters, 1 or more.
    pub column: u32,
    /// What is wrong. Never a literal of the SQL.
    pub message: String,
    /// What to do about it.
    pub next: String,
}

/// What was found in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Which database's rules.
    pub dialect: Dialect,
    /// How many migrations were read.
    pub migrations: usize,
    /// How many findings a reason in the file allowed.
    pub allowed: usize,
    /// In the order of folder and text.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether anything found forbids applying the migrations.
    pub fn blocks(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Blocks)
    }
}

/// Reads the migrations that `wanted` chooses.
pub fn lint(
    source: &Source,
    dialect: Dialect,
    sizes: &Sizes,
    mut wanted: impl FnMut(&MigrationId, &std::path::Path) -> bool,
) -> Report {
    let mut report = Report { dialect, migrations: 0, allowed: 0, findings: Vec::new() };
    let chosen = source.folder.migrations.iter().filter(|migration| wanted(&migration.id, &migration.file));
    for migration in chosen {
        let (findings, allowed) = lint_one(migration, dialect, sizes);
        report.migrations += 1;
        report.allowed += allowed;
        report.findings.extend(findings);
    }
    report
}

/// Something found, before what is allowed is taken away.
#[derive(Debug)]
struct Found {
    rule: &'static Rule,
    /// Offset in the file.
    at: usize,
    table: Option<String>,
    message: String,
}

/// Where one rule puts what it finds.
struct Sink<'a> {
    rule: &'static Rule,
    found: &'a mut Vec<Found>,
}

impl Sink<'_> {
    fn find(&mut self, at: usize, table: Option<&str>, message: impl Into<String>) {
        let table = table.map(str::to_owned);
        self.found.push(Found { rule: self.rule, at, table, message: message.into() });
    }
}

fn lint_one(migration: &Migration, dialect: Dialect, sizes: &Sizes) -> (Vec<Finding>, usize) {
    let script = Script::read(migration, dialect);
    let mut found = Vec::new();
    for rule in REGISTRY.iter().copied().filter(|rule| rule.databases.contains(&dialect)) {
        if let Check::Own(check) = rule.check {
            check(&script, &mut Sink { rule, found: &mut found });
        }
    }
    if dialect == Dialect::Postgres {
        squawk::find(&script, &mut found);
    }
    let allowed = allow::apply(&script, &mut found);
    found.sort_by_key(|found| found.at);
    found.dedup_by(|a, b| a.at == b.at && a.rule.name == b.rule.name && a.message == b.message);
    if found.is_empty() {
        return (Vec::new(), allowed);
    }
    let lines = Lines::of(&migration.sql);
    (found.into_iter().map(|found| finding(found, migration, &lines, sizes)).collect(), allowed)
}

fn finding(found: Found, migration: &Migration, lines: &Lines<'_>, sizes: &Sizes) -> Finding {
    let (line, column) = lines.place(found.at);
    let rows = found.table.as_deref().and_then(|table| sizes.rows(table));
    let small = found.rule.by_size && rows.is_some_and(|rows| rows < SMALL_ROWS);
    let size = rows.map(|rows| format!(" (`{}` has about {rows} rows)", found.table.unwrap_or_default()));
    Finding {
        rule: found.rule.name,
        severity: if small { Severity::Warns } else { found.rule.severity },
        migration: migration.id.clone(),
        file: migration.file.clone(),
        line,
        column,
        message: found.message + &size.filter(|_| found.rule.by_size).unwrap_or_default(),
        next: found.rule.next.to_owned(),
    }
}

#[cfg(test)]
mod corpus_tests;

/// What rules' own tests ask: the rules that find something in a migration of this text.
#[cfg(test)]
fn found_in(sql: &str, dialect: Dialect) -> Vec<&'static str> {
    let mut names: Vec<_> =
        lint_text(sql, dialect, &Sizes::default()).iter().map(|found| found.rule).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
fn lint_text(sql: &str, dialect: Dialect, sizes: &Sizes) -> Vec<Finding> {
    lint_one(&Migration::of_text(sql), dialect, sizes).0
}
