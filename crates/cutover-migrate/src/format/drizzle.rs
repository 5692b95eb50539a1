//! drizzle-kit 0.x: `<tag>.sql` files and `meta/_journal.json`; ledger `__drizzle_migrations`.
//!
//! drizzle applies an entry when its `when` is greater than that of the newest ledger row, so an entry with an older
//! `when` that is merged later is skipped for ever. Here an entry is applied when its row is missing: such a late entry
//! is applied in the journal's order, and said.

use std::path::Path;

use serde::Deserialize;

use super::{Folder, Format, Layout, LedgerRow, Record};
use crate::{
    dialect::{Dialect, Rules, Table},
    folder::{self, SourceError},
    migration::{Checksum, Key, Migration, hex},
    sql::says_no_transaction,
};

pub(super) struct Drizzle;

#[derive(Deserialize)]
struct Journal {
    dialect: String,
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    when: i64,
    tag: String,
    #[serde(default = "yes")]
    breakpoints: bool,
}

fn yes() -> bool {
    true
}

const JOURNAL: &str = "meta/_journal.json";

impl Layout for Drizzle {
    fn format(&self) -> Format {
        Format::Drizzle
    }

    fn mark(&self, dir: &Path, _: &[String]) -> Option<String> {
        dir.join(JOURNAL).is_file().then(|| JOURNAL.to_owned())
    }

    fn read(&self, dir: &Path) -> Result<Folder, SourceError> {
        let path = dir.join(JOURNAL);
        let text = folder::text(&path)?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let journal: Journal =
            serde_json::from_str(text).map_err(|cause| SourceError::Journal { path: path.clone(), cause })?;
        let dialect = match journal.dialect.as_str() {
            "postgresql" | "pg" => Dialect::Postgres,
            "mysql" => Dialect::Mysql,
            "sqlite" | "turso" => Dialect::Sqlite,
            _ => {
                return Err(SourceError::Dialect { path, found: journal.dialect.chars().take(40).collect() });
            }
        };
        let migrations =
            journal.entries.iter().map(|entry| read(dir, entry)).collect::<Result<Vec<_>, _>>()?;
        folder::unique_ids(&migrations)?;
        Ok(Folder { migrations, dialect: Some(dialect), ..Folder::default() })
    }

    fn table(&self, dialect: Dialect) -> Table {
        ledger(dialect)
    }

    fn create(&self, rules: &dyn Rules, table: &Table, _: &Folder) -> Vec<String> {
        let name = rules.table(table);
        let columns = match rules.dialect() {
            Dialect::Postgres => "id SERIAL PRIMARY KEY, hash text NOT NULL, created_at bigint",
            Dialect::Mysql => "id serial primary key, hash text not null, created_at bigint",
            Dialect::Sqlite => "id SERIAL PRIMARY KEY, hash text NOT NULL, created_at numeric",
        };
        let schema = schema_of(rules, table);
        schema.into_iter().chain([format!("CREATE TABLE IF NOT EXISTS {name} ({columns})")]).collect()
    }

    fn select(&self, rules: &dyn Rules, table: &Table) -> String {
        format!("SELECT created_at, hash, 1 FROM {} ORDER BY created_at", rules.table(table))
    }

    fn insert(&self, rules: &dyn Rules, table: &Table, migration: &Migration, _: &Record<'_>) -> String {
        format!(
            "INSERT INTO {} ({}, {}) VALUES ({}, {})",
            rules.table(table),
            rules.quote("hash"),
            rules.quote("created_at"),
            rules.literal(&hex(&migration.digest()).as_str().into()),
            migration.when
        )
    }

    fn applied_order(&self, rules: &dyn Rules, table: &Table) -> Option<String> {
        let order = format!("ORDER BY {}", row_number(rules));
        Some(self.select(rules, table).replace("ORDER BY created_at", &order))
    }

    /// A row with a checksum keeps it, whatever the spelling: drizzle never compares.
    fn mend(
        &self,
        rules: &dyn Rules,
        table: &Table,
        migration: &Migration,
        row: &LedgerRow,
    ) -> Option<String> {
        if row.key == migration.key && !row.checksum.is_empty() {
            return None;
        }
        let hash = if row.checksum.is_empty() { hex(&migration.digest()) } else { row.checksum.clone() };
        Some(format!(
            "UPDATE {} SET hash = {}, created_at = {} WHERE {}",
            rules.table(table),
            rules.literal(&hash.as_str().into()),
            migration.when,
            is(rules, row)
        ))
    }

    /// Of rows that are alike the oldest stays.
    fn drop_surplus(
        &self,
        rules: &dyn Rules,
        table: &Table,
        kept: &LedgerRow,
        extra: &LedgerRow,
    ) -> Option<String> {
        let (name, number) = (rules.table(table), row_number(rules));
        let alike = is(rules, extra);
        Some(if kept == extra {
            format!(
                "DELETE FROM {name} WHERE {alike} AND {number} NOT IN (SELECT kept FROM (SELECT min({number}) AS kept FROM {name} \
                 WHERE {alike}) AS oldest)"
            )
        } else {
            format!("DELETE FROM {name} WHERE {alike}")
        })
    }

    fn finds_by_checksum(&self) -> bool {
        true
    }
}

fn read(dir: &Path, entry: &Entry) -> Result<Migration, SourceError> {
    let path = dir.join(format!("{}.sql", entry.tag));
    let id = folder::id(&entry.tag, &path)?;
    if !path.is_file() {
        return Err(SourceError::Missing { path, named_in: dir.join(JOURNAL) });
    }
    let sql = folder::text(&path)?;
    Ok(Migration {
        id,
        header: folder::phase(&sql, &path)?,
        transaction: !says_no_transaction(&sql),
        file: path,
        sql,
        key: Key::Number(entry.when),
        checksum: Checksum::Sha256,
        when: entry.when,
        breakpoints: entry.breakpoints,
    })
}

/// What numbers the rows; drizzle's `id` stays NULL in SQLite.
fn row_number(rules: &dyn Rules) -> &'static str {
    match rules.dialect() {
        Dialect::Postgres | Dialect::Mysql => "id",
        Dialect::Sqlite => "rowid",
    }
}

fn is(rules: &dyn Rules, row: &LedgerRow) -> String {
    format!("created_at = {} AND hash = {}", row.key, rules.literal(&row.checksum.as_str().into()))
}

/// `drizzle.__drizzle_migrations` on PostgreSQL, without a schema elsewhere.
pub(super) fn ledger(dialect: Dialect) -> Table {
    let schema = (dialect == Dialect::Postgres).then(|| "drizzle".to_owned());
    Table { schema, name: "__drizzle_migrations".to_owned() }
}

pub(super) fn schema_of(rules: &dyn Rules, table: &Table) -> Option<String> {
    let schema = table.schema.as_deref().filter(|_| rules.dialect() == Dialect::Postgres)?;
    Some(format!("CREATE SCHEMA IF NOT EXISTS {}", rules.quote(schema)))
}
