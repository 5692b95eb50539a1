//! Cutover's own format, kept minimal.
//!
//! ```text
//! migrations/0001_users.sql              digits, `_`, a name; or a UTC time stamp as digits
//! migrations/20261120093000_orders.sql   ordered by the number, which is unique
//!
//! -- phase: contract                     headers are comments before the first statement
//! -- no-transaction
//! ```
//! Checksum: lower-case hexadecimal SHA-256 of the text without BOM and with LF line ends.

use std::path::Path;

use super::{Folder, Format, Layout, Record};
use crate::{
    dialect::{Dialect, Rules, Table, Value},
    folder::{self, SourceError},
    migration::{Checksum, Key, Migration, hex},
    sql::says_no_transaction,
};

pub(super) struct Own;

/// Cutover's ledger.
const TABLE: &str = "_cutover_migrations";

impl Layout for Own {
    fn format(&self) -> Format {
        Format::Own
    }

    /// Nothing marks it: it is what a folder without another tool's marks is taken for.
    fn mark(&self, _: &Path, _: &[String]) -> Option<String> {
        None
    }

    fn read(&self, dir: &Path) -> Result<Folder, SourceError> {
        let mut numbered = Vec::new();
        for name in folder::names(dir)? {
            let Some(stem) = name.strip_suffix(".sql") else { continue };
            let path = dir.join(&name);
            let number = stem.split_once('_').and_then(|(digits, rest)| {
                let plain = !rest.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
                plain.then(|| digits.parse::<u64>().ok()).flatten()
            });
            let Some(number) = number else {
                return Err(SourceError::Name {
                    path,
                    rule: "name it by a number, `_` and a name: 0007_add_orders.sql",
                });
            };
            numbered.push((number, stem.to_owned(), path));
        }
        numbered.sort();
        for pair in numbered.windows(2) {
            if pair[0].0 == pair[1].0 {
                return Err(SourceError::Duplicate { first: pair[0].2.clone(), second: pair[1].2.clone() });
            }
        }
        let migrations = numbered.into_iter().map(|(_, stem, path)| {
            let sql = folder::text(&path)?;
            Ok(Migration {
                id: folder::id(&stem, &path)?,
                header: folder::phase(&sql, &path)?,
                transaction: !says_no_transaction(&sql),
                file: path,
                sql,
                key: Key::Text(stem),
                checksum: Checksum::Sha256OfLines,
                when: 0,
                breakpoints: false,
            })
        });
        Ok(Folder { migrations: migrations.collect::<Result<_, _>>()?, ..Folder::default() })
    }

    fn table(&self, _: Dialect) -> Table {
        Table::plain(TABLE)
    }

    fn create(&self, rules: &dyn Rules, table: &Table, _: &Folder) -> Vec<String> {
        let (text, time) = match rules.dialect() {
            Dialect::Postgres => ("text", "timestamptz NOT NULL DEFAULT now()"),
            Dialect::Mysql => (
                "varchar(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
                "timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3)",
            ),
            Dialect::Sqlite => ("text", "text NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))"),
        };
        vec![format!(
            "CREATE TABLE IF NOT EXISTS {} (id {text} NOT NULL PRIMARY KEY, checksum {text} NOT NULL, phase {text} NOT NULL, \
             applied_at {time}, took_ms bigint NOT NULL, applied_by {text} NOT NULL, \"release\" {text})",
            rules.table(table)
        )
        .replace("\"release\"", &rules.quote("release"))]
    }

    fn select(&self, rules: &dyn Rules, table: &Table) -> String {
        format!("SELECT id, checksum, 1, phase FROM {} ORDER BY applied_at, id", rules.table(table))
    }

    fn applied_order(&self, rules: &dyn Rules, table: &Table) -> Option<String> {
        Some(self.select(rules, table))
    }

    fn insert(&self, rules: &dyn Rules, table: &Table, migration: &Migration, record: &Record<'_>) -> String {
        let values = [
            migration.id.as_str().into(),
            hex(&migration.digest()).as_str().into(),
            record.phase.as_str().into(),
            i64::try_from(record.took.as_millis()).unwrap_or(i64::MAX).into(),
            record.holder.into(),
            record.release.map_or(Value::Null, Value::from),
        ];
        let values: Vec<_> = values.iter().map(|v| rules.literal(v)).collect();
        format!(
            "INSERT INTO {} (id, checksum, phase, took_ms, applied_by, {}) VALUES ({})",
            rules.table(table),
            rules.quote("release"),
            values.join(", ")
        )
    }
}
