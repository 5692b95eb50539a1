//! The migration folders and ledgers that Cutover shares with other tools, one file each.
//!
//! A [`Layout`] knows how its folder is read and how its ledger's rows are written, to the byte, so that the tool they
//! belong to still understands the database afterwards. What happens when is not its business (`up.rs`).

use std::{path::Path, str::FromStr};

use cutover_model::migration::Phase;
use serde::{Deserialize, Serialize};

use crate::{
    dialect::{Dialect, Rules, Table, Value},
    folder::SourceError,
    migration::{Key, Migration},
};

mod drizzle;
mod drizzle_folders;
mod own;
mod sqlx;

/// Whose folder and ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Format {
    /// Cutover's own.
    #[serde(rename = "cutover")]
    Own,
    /// drizzle-kit 0.x: SQL files with `meta/_journal.json`.
    #[serde(rename = "drizzle")]
    Drizzle,
    /// drizzle-kit 1.0: a folder with `migration.sql` for each.
    #[serde(rename = "drizzle-1")]
    DrizzleFolders,
    /// sqlx: plain or reversible.
    #[serde(rename = "sqlx")]
    Sqlx,
}

/// All formats, in the order in which a folder is asked whose it is.
pub(crate) const LAYOUTS: [&dyn Layout; 4] =
    [&drizzle::Drizzle, &drizzle_folders::DrizzleFolders, &sqlx::Sqlx, &own::Own];

impl Format {
    /// The word used in `cutover.toml` and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Own => "cutover",
            Self::Drizzle => "drizzle",
            Self::DrizzleFolders => "drizzle-1",
            Self::Sqlx => "sqlx",
        }
    }

    pub(crate) fn layout(self) -> &'static dyn Layout {
        match self {
            Self::Own => &own::Own,
            Self::Drizzle => &drizzle::Drizzle,
            Self::DrizzleFolders => &drizzle_folders::DrizzleFolders,
            Self::Sqlx => &sqlx::Sqlx,
        }
    }
}

/// A word that names no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a migration format: write cutover, drizzle, drizzle-1 or sqlx", .0.escape_debug())]
pub struct InvalidFormat(String);

impl FromStr for Format {
    type Err = InvalidFormat;
    fn from_str(text: &str) -> Result<Self, InvalidFormat> {
        let found = LAYOUTS.iter().map(|layout| layout.format()).find(|format| format.as_str() == text);
        found.ok_or_else(|| InvalidFormat(text.chars().take(64).collect()))
    }
}

/// What a folder holds.
#[derive(Debug, Default)]
pub(crate) struct Folder {
    /// In the order in which they are applied.
    pub(crate) migrations: Vec<Migration>,
    /// The database that the folder is written for, where it says so.
    pub(crate) dialect: Option<Dialect>,
    /// Where the ledger is, when the folder says it is elsewhere.
    pub(crate) table: Option<Table>,
    /// Schemas that the folder wants made first.
    pub(crate) schemas: Vec<String>,
}

/// What is recorded about a migration that was applied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'a> {
    pub(crate) phase: Phase,
    pub(crate) took: std::time::Duration,
    pub(crate) holder: &'a str,
    pub(crate) release: Option<&'a str>,
}

/// One row of a ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LedgerRow {
    pub(crate) key: Key,
    /// Lower-case hexadecimal; empty when the ledger keeps none.
    pub(crate) checksum: String,
    /// False: the tool began it and did not finish.
    pub(crate) finished: bool,
    /// Only Cutover's own ledger keeps it.
    pub(crate) phase: Option<Phase>,
}

/// A folder and ledger format.
pub(crate) trait Layout: Send + Sync {
    fn format(&self) -> Format;
    /// What in the folder only this format leaves, when it is there.
    fn mark(&self, dir: &Path, names: &[String]) -> Option<String>;
    fn read(&self, dir: &Path) -> Result<Folder, SourceError>;
    /// Where the ledger is when nobody says otherwise.
    fn table(&self, dialect: Dialect) -> Table;
    /// Makes the ledger as the tool makes it; each is harmless when it is there.
    fn create(&self, rules: &dyn Rules, table: &Table) -> Vec<String>;
    /// Rows as (key, checksum in hexadecimal, finished 0/1, perhaps the phase), oldest first.
    fn select(&self, rules: &dyn Rules, table: &Table) -> String;
    /// Records a migration that is applied.
    fn insert(&self, rules: &dyn Rules, table: &Table, migration: &Migration, record: &Record<'_>) -> String;
    /// Records that a migration which can't be taken back begins, for a tool that keeps such a row.
    fn begin(&self, _: &dyn Rules, _: &Table, _: &Migration) -> Option<String> {
        None
    }
    /// Turns the row of [`Layout::begin`] into that of a finished migration.
    fn finish(&self, _: &dyn Rules, _: &Table, _: &Migration, _: &Record<'_>) -> Option<String> {
        None
    }
    /// Takes the row of [`Layout::begin`] away: nothing of the migration was done.
    fn forget(&self, _: &dyn Rules, _: &Table, _: &Migration) -> Option<String> {
        None
    }
    /// Session settings under which the tool runs migrations on this database.
    fn session(&self, _: Dialect) -> Vec<&'static str> {
        Vec::new()
    }
    /// Whether a row with another key but the same checksum is the migration's.
    fn finds_by_checksum(&self) -> bool {
        false
    }

    fn row(&self, row: &[Value]) -> Option<LedgerRow> {
        let [key, checksum, finished, rest @ ..] = row else { return None };
        let key = match key {
            Value::Int(number) => Key::Number(*number),
            Value::Text(text) => Key::Text(text.clone()),
            _ => return None,
        };
        let checksum = checksum.text().unwrap_or_default().to_lowercase();
        let phase = rest.first().and_then(|phase| phase.text()?.parse().ok());
        Some(LedgerRow { key, checksum, finished: finished.int() == Some(1), phase })
    }
}
