//! What a rule is: a name, the problem, what it locks, the safe way, and a check. A rule's page is made from it.

use serde::Serialize;

use super::{Sink, script::Script};
use crate::dialect::Dialect;

/// Whether a finding forbids applying the migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It does: exit code 3.
    Blocks,
    /// It is said and nothing more.
    Warns,
}

impl Severity {
    /// `blocks` or `warns`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blocks => "blocks",
            Self::Warns => "warns",
        }
    }
}

/// Which page a rule stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Releases,
    Secrets,
    Data,
    Postgres,
    Squawk,
    Mysql,
    Sqlite,
    Allowing,
}

/// What finds it.
#[derive(Clone, Copy)]
pub(super) enum Check {
    /// A function over the script.
    Own(fn(&Script<'_>, &mut Sink<'_>)),
    /// The rule of this name in `squawk_linter`.
    Squawk,
    /// The reading of `-- cutover: allow` itself.
    Allowing,
}

/// One rule. All texts are for people; `locks` says which lock and for how long.
pub(super) struct Rule {
    pub(super) name: &'static str,
    pub(super) family: Family,
    pub(super) databases: &'static [Dialect],
    pub(super) severity: Severity,
    /// Harmless on a table with few rows: only warned about when the database says so.
    pub(super) by_size: bool,
    pub(super) problem: &'static str,
    pub(super) locks: &'static str,
    /// One sentence, shown with each finding.
    pub(super) next: &'static str,
    /// The safe way as SQL; empty where `next` is all there is.
    pub(super) safe: &'static str,
    pub(super) check: Check,
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

pub(super) const EVERY: &[Dialect] = &[Dialect::Postgres, Dialect::Mysql, Dialect::Sqlite];
pub(super) const POSTGRES: &[Dialect] = &[Dialect::Postgres];
pub(super) const MYSQL: &[Dialect] = &[Dialect::Mysql];
pub(super) const SQLITE: &[Dialect] = &[Dialect::Sqlite];
/// Where squawk does not look.
pub(super) const NOT_POSTGRES: &[Dialect] = &[Dialect::Mysql, Dialect::Sqlite];
