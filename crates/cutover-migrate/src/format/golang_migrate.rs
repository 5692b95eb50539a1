//! golang-migrate: `<version>_<name>.up.sql`, with `.down.sql` beside it; ledger `schema_migrations (version, dirty)`.
//!
//! Read as golang-migrate 4 reads them (`source/parse.go`, `database/*/`). The ledger is one row, the newest version, so
//! every migration of the folder up to it counts as applied; `dirty` says that it was begun and not finished. What
//! follows: migrations are applied in the folder's order without a gap or not at all (`plan.rs`), and one that is merged
//! with an older version looks applied, here as there. It keeps no checksums.
//!
//! Nothing in the folder tells it from a reversible one of sqlx; the database does, see `source.rs`.

use std::path::Path;

use super::{Folder, Format, Layout, LedgerRow, Record};
use crate::{
    dialect::{Dialect, Row, Rules, Table},
    folder::{self, SourceError},
    migration::{Checksum, Key, Migration},
    sql::says_no_transaction,
};

pub(super) struct GolangMigrate;

impl Layout for GolangMigrate {
    fn format(&self) -> Format {
        Format::GolangMigrate
    }

    fn mark(&self, _: &Path, _: &[String]) -> Option<String> {
        None
    }

    fn read(&self, dir: &Path) -> Result<Folder, SourceError> {
        let mut migrations: Vec<(i64, Migration)> = Vec::new();
        for name in folder::names(dir)? {
            let path = dir.join(&name);
            let Some((digits, extension)) = up_file(&name).filter(|_| path.is_file()) else { continue };
            let (Ok(version), "sql") = (digits.parse::<i64>(), extension) else {
                return Err(SourceError::Name {
                    path,
                    rule: "name it by a number, `_`, a name and `.up.sql`: 000007_add_orders.up.sql",
                });
            };
            let sql = folder::text(&path)?;
            let migration = Migration {
                id: folder::id(name.trim_end_matches(".up.sql"), &path)?,
                header: folder::phase(&sql, &path)?,
                transaction: !says_no_transaction(&sql),
                file: path,
                sql,
                key: Key::Number(version),
                checksum: Checksum::None,
                when: 0,
                breakpoints: false,
            };
            migrations.push((version, migration));
        }
        Ok(Folder { migrations: folder::in_order(migrations)?, ..Folder::default() })
    }

    fn table(&self, _: Dialect) -> Table {
        Table::plain("schema_migrations")
    }

    fn create(&self, rules: &dyn Rules, table: &Table, _: &Folder) -> Vec<String> {
        let name = rules.table(table);
        match rules.dialect() {
            Dialect::Postgres | Dialect::Mysql => {
                vec![format!(
                    "CREATE TABLE IF NOT EXISTS {name} (version bigint not null primary key, dirty boolean not null)"
                )]
            }
            Dialect::Sqlite => vec![
                format!("CREATE TABLE IF NOT EXISTS {name} (version uint64,dirty bool)"),
                format!("CREATE UNIQUE INDEX IF NOT EXISTS version_unique ON {name} (version)"),
            ],
        }
    }

    fn select(&self, rules: &dyn Rules, table: &Table) -> String {
        format!(
            "SELECT version, '', CASE WHEN dirty THEN 0 ELSE 1 END FROM {} ORDER BY version",
            rules.table(table)
        )
    }

    /// The row stands for itself and for all before it. After a failed first `down` the version is -1: nothing is applied.
    fn rows(&self, rows: &[Row], migrations: &[Migration]) -> Vec<LedgerRow> {
        let Some(newest) = rows.last().and_then(|row| self.row(row)) else { return Vec::new() };
        let Key::Number(version) = newest.key else { return Vec::new() };
        let earlier =
            |migration: &&Migration| matches!(migration.key, Key::Number(number) if number < version);
        let earlier = migrations.iter().filter(earlier).map(|migration| LedgerRow {
            key: migration.key.clone(),
            finished: true,
            ..newest.clone()
        });
        earlier.chain([newest.clone()]).collect()
    }

    fn keeps_only_newest(&self) -> bool {
        true
    }

    fn insert(&self, rules: &dyn Rules, table: &Table, migration: &Migration, _: &Record<'_>) -> String {
        set(rules, table, &migration.key, "FALSE")
    }

    fn begin(&self, rules: &dyn Rules, table: &Table, migration: &Migration) -> Option<String> {
        Some(set(rules, table, &migration.key, "TRUE"))
    }

    fn finish(
        &self,
        rules: &dyn Rules,
        table: &Table,
        migration: &Migration,
        _: &Record<'_>,
    ) -> Option<String> {
        Some(set(rules, table, &migration.key, "FALSE"))
    }

    fn forget(
        &self,
        rules: &dyn Rules,
        table: &Table,
        _: &Migration,
        before: Option<&Key>,
    ) -> Option<String> {
        Some(match before {
            Some(before) => set(rules, table, before, "FALSE"),
            None => format!("DELETE FROM {}", rules.table(table)),
        })
    }
}

/// The one row, written as golang-migrate writes it: anew.
fn set(rules: &dyn Rules, table: &Table, version: &Key, dirty: &str) -> String {
    let table = rules.table(table);
    format!("DELETE FROM {table}; INSERT INTO {table} (version, dirty) VALUES ({version}, {dirty})")
}

/// Digits and extension of `^([0-9]+)_(.*)\.up\.(.*)$`.
fn up_file(name: &str) -> Option<(&str, &str)> {
    let (digits, rest) = name.split_once('_')?;
    let (_, extension) = rest.rsplit_once(".up.")?;
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then_some((digits, extension))
}
