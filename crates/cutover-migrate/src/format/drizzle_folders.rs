//! drizzle-kit 1.0: `<YYYYMMDDHHMMSS>_<name>/migration.sql`, no journal; ledger with `name` and `applied_at`.
//!
//! A ledger of drizzle 0.x that drizzle 1.0 has not upgraded yet has no `name` column; Cutover does not upgrade it, and
//! the database's complaint about the column is answered with the command that does.

use std::path::Path;

use super::{Folder, Format, Layout, LedgerRow, Record, drizzle};
use crate::{
    dialect::{Dialect, Rules, Table},
    folder::{self, SourceError},
    migration::{Checksum, Key, Migration, hex},
    sql::says_no_transaction,
};

pub(super) struct DrizzleFolders;

impl Layout for DrizzleFolders {
    fn format(&self) -> Format {
        Format::DrizzleFolders
    }

    fn mark(&self, dir: &Path, names: &[String]) -> Option<String> {
        let found = names.iter().find(|name| dir.join(name).join("migration.sql").is_file())?;
        Some(format!("{found}/migration.sql"))
    }

    fn read(&self, dir: &Path) -> Result<Folder, SourceError> {
        let mut migrations = Vec::new();
        for name in folder::names(dir)? {
            let path = dir.join(&name).join("migration.sql");
            if !path.is_file() {
                continue;
            }
            let when = name.get(..14).and_then(utc_milliseconds).ok_or_else(|| SourceError::Name {
                path: dir.join(&name),
                rule: "drizzle 1.0 names a folder by a UTC time stamp, `_` and a name: 20261120093000_add_orders",
            })?;
            let sql = folder::text(&path)?;
            migrations.push(Migration {
                id: folder::id(&name, &path)?,
                header: folder::phase(&sql, &path)?,
                transaction: !says_no_transaction(&sql),
                file: path,
                sql,
                key: Key::Text(name),
                checksum: Checksum::Sha256,
                when,
                breakpoints: true,
            });
        }
        migrations.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(Folder { migrations, ..Folder::default() })
    }

    fn table(&self, dialect: Dialect) -> Table {
        drizzle::ledger(dialect)
    }

    fn create(&self, rules: &dyn Rules, table: &Table, _: &Folder) -> Vec<String> {
        let name = rules.table(table);
        let columns = match rules.dialect() {
            Dialect::Postgres => {
                "id SERIAL PRIMARY KEY, hash text NOT NULL, created_at bigint, name text, applied_at timestamp with time zone DEFAULT now()"
            }
            Dialect::Mysql => {
                "id serial primary key, hash text not null, created_at bigint, name text, applied_at timestamp default current_timestamp"
            }
            Dialect::Sqlite => {
                "id INTEGER PRIMARY KEY, hash text NOT NULL, created_at numeric, name text, applied_at TEXT"
            }
        };
        let schema = drizzle::schema_of(rules, table);
        schema.into_iter().chain([format!("CREATE TABLE IF NOT EXISTS {name} ({columns})")]).collect()
    }

    fn select(&self, rules: &dyn Rules, table: &Table) -> String {
        format!("SELECT name, hash, 1 FROM {} ORDER BY created_at", rules.table(table))
    }

    fn applied_order(&self, rules: &dyn Rules, table: &Table) -> Option<String> {
        Some(self.select(rules, table).replace("ORDER BY created_at", "ORDER BY id"))
    }

    /// drizzle finds rows by name; a checksum that some migrators leave out is filled in.
    fn mend(
        &self,
        rules: &dyn Rules,
        table: &Table,
        migration: &Migration,
        row: &LedgerRow,
    ) -> Option<String> {
        row.checksum.is_empty().then(|| {
            format!(
                "UPDATE {} SET hash = {} WHERE name = {}",
                rules.table(table),
                rules.literal(&hex(&migration.digest()).as_str().into()),
                rules.literal(&migration.id.as_str().into())
            )
        })
    }

    /// On SQLite `applied_at` has no default: drizzle writes it as JavaScript's `toISOString` does.
    fn insert(&self, rules: &dyn Rules, table: &Table, migration: &Migration, _: &Record<'_>) -> String {
        let name = rules.literal(&migration.id.as_str().into());
        let hash = rules.literal(&hex(&migration.digest()).as_str().into());
        let (column, value) = match rules.dialect() {
            Dialect::Sqlite => (", applied_at", ", strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"),
            Dialect::Postgres | Dialect::Mysql => ("", ""),
        };
        format!(
            "INSERT INTO {} (hash, created_at, name{column}) VALUES ({hash}, {}, {name}{value})",
            rules.table(table),
            migration.when
        )
    }
}

/// `YYYYMMDDHHMMSS` in UTC as milliseconds since 1970.
fn utc_milliseconds(digits: &str) -> Option<i64> {
    let time = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", digits).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond())
}
