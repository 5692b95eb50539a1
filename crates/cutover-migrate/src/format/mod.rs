//! The migration folders and ledgers that Cutover shares with other tools, one file each.
//!
//! A [`Layout`] knows how its folder is read and how its ledger's rows are written, to the byte, so that the tool they
//! belong to still understands the database afterwards. What happens when is not its business (`up.rs`).

use std::{path::Path, str::FromStr};

use cutover_model::migration::Phase;
use serde::{Deserialize, Serialize};

use crate::{
    dialect::{Dialect, Row, Rules, Table, Value},
    folder::SourceError,
    migration::{Key, Migration},
};

mod dbmate;
mod diesel;
mod drizzle;
mod drizzle_folders;
mod golang_migrate;
mod own;
pub(crate) mod refinery;
mod siphash;
pub(crate) mod sqlx;

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
    /// refinery: `V1__name.sql`.
    #[serde(rename = "refinery")]
    Refinery,
    /// golang-migrate: `1_name.up.sql`.
    #[serde(rename = "golang-migrate")]
    GolangMigrate,
    /// dbmate: up and down in one file.
    #[serde(rename = "dbmate")]
    Dbmate,
    /// diesel: a folder with `up.sql` for each.
    #[serde(rename = "diesel")]
    Diesel,
}

/// All formats, in the order in which a folder is asked whose it is.
pub(crate) const LAYOUTS: [&dyn Layout; 8] = [
    &drizzle::Drizzle,
    &drizzle_folders::DrizzleFolders,
    &diesel::Diesel,
    &refinery::Refinery,
    &dbmate::Dbmate,
    &sqlx::Sqlx,
    &golang_migrate::GolangMigrate,
    &own::Own,
];

impl Format {
    /// The word used in `cutover.toml` and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Own => "cutover",
            Self::Drizzle => "drizzle",
            Self::DrizzleFolders => "drizzle-1",
            Self::Sqlx => "sqlx",
            Self::Refinery => "refinery",
            Self::GolangMigrate => "golang-migrate",
            Self::Dbmate => "dbmate",
            Self::Diesel => "diesel",
        }
    }

    pub(crate) fn layout(self) -> &'static dyn Layout {
        match self {
            Self::Own => &own::Own,
            Self::Drizzle => &drizzle::Drizzle,
            Self::DrizzleFolders => &drizzle_folders::DrizzleFolders,
            Self::Sqlx => &sqlx::Sqlx,
            Self::Refinery => &refinery::Refinery,
            Self::GolangMigrate => &golang_migrate::GolangMigrate,
            Self::Dbmate => &dbmate::Dbmate,
            Self::Diesel => &diesel::Diesel,
        }
    }
}

/// A word that names no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is not a migration format: write cutover, drizzle, drizzle-1, sqlx, refinery, golang-migrate, dbmate or diesel",
    .0.escape_debug()
)]
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
    /// As the ledger writes it, in lower case; empty when it keeps none.
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
    fn create(&self, rules: &dyn Rules, table: &Table, folder: &Folder) -> Vec<String>;
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
    /// Takes the row of [`Layout::begin`] away: nothing of the migration was done. `before` is the newest one applied.
    fn forget(&self, _: &dyn Rules, _: &Table, _: &Migration, _before: Option<&Key>) -> Option<String> {
        None
    }
    /// Rows as in [`Layout::select`], in the order in which they were applied, where the ledger keeps that.
    fn applied_order(&self, _: &dyn Rules, _: &Table) -> Option<String> {
        None
    }
    /// Gives a row the key and the checksum that the folder says; `None` where that is never needed.
    fn mend(&self, _: &dyn Rules, _: &Table, _: &Migration, _: &LedgerRow) -> Option<String> {
        None
    }
    /// Takes `extra` away, another row of the migration that `kept` records; `None` where there can be no such.
    fn drop_surplus(
        &self,
        _: &dyn Rules,
        _: &Table,
        _kept: &LedgerRow,
        _extra: &LedgerRow,
    ) -> Option<String> {
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

    /// Whether the ledger says no more than how far one came, so that nothing may be applied past a gap.
    fn keeps_only_newest(&self) -> bool {
        false
    }

    /// What the rows of [`Layout::select`] say of the folder's migrations.
    fn rows(&self, rows: &[Row], _: &[Migration]) -> Vec<LedgerRow> {
        rows.iter().filter_map(|row| self.row(row)).collect()
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
