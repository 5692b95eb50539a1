//! sqlx: `<version>_<description>.sql`, or `.up.sql` with `.down.sql`; ledger `_sqlx_migrations`.
//!
//! Read as `sqlx-core` 0.9 reads them (`migrate/source.rs`), with `table-name`, `ignored-chars` and `create-schemas` of a
//! `sqlx.toml` beside or above the folder.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Folder, Format, Layout, LedgerRow, Record};
use crate::{
    dialect::{Dialect, Rules, Table, Value},
    folder::{self, SourceError},
    migration::{Checksum, Key, Migration},
};

pub(super) struct Sqlx;

/// How reversible files end, here and in golang-migrate's folders.
pub(crate) const REVERSIBLE: [&str; 2] = [".up.sql", ".down.sql"];

#[derive(Default, Deserialize)]
#[serde(default)]
struct Settings {
    migrate: Migrate,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Migrate {
    table_name: Option<String>,
    ignored_chars: Vec<char>,
    create_schemas: Vec<String>,
}

impl Layout for Sqlx {
    fn format(&self) -> Format {
        Format::Sqlx
    }

    fn mark(&self, dir: &Path, names: &[String]) -> Option<String> {
        let offline = || dir.parent().map(|parent| parent.join(".sqlx")).filter(|path| path.is_dir());
        let reversible =
            || names.iter().find(|name| REVERSIBLE.iter().any(|end| name.ends_with(end))).cloned();
        settings_file(dir).or_else(offline).map(|path| path.display().to_string()).or_else(reversible)
    }

    fn read(&self, dir: &Path) -> Result<Folder, SourceError> {
        let settings = settings(dir)?.migrate;
        let mut migrations: Vec<(i64, Migration)> = Vec::new();
        for name in folder::names(dir)? {
            let path = dir.join(&name);
            let Some((prefix, rest)) = name.split_once('_') else { continue };
            if !rest.ends_with(".sql") || rest.ends_with(".down.sql") || !path.is_file() {
                continue;
            }
            let version: i64 = prefix.parse().map_err(|_| SourceError::Name {
                path: path.clone(),
                rule: "sqlx names a file by a number, `_` and a description: 7_add_orders.sql",
            })?;
            let stem = name.trim_end_matches(".sql").trim_end_matches(".up");
            let sql = folder::text(&path)?;
            let migration = Migration {
                id: folder::id(stem, &path)?,
                header: folder::phase(&sql, &path)?,
                transaction: !sql.starts_with("-- no-transaction"),
                file: path,
                sql,
                key: Key::Number(version),
                checksum: Checksum::Sha384 { ignored: settings.ignored_chars.clone() },
                when: 0,
                breakpoints: false,
            };
            migrations.push((version, migration));
        }
        Ok(Folder {
            migrations: folder::in_order(migrations)?,
            dialect: None,
            table: settings.table_name.as_deref().map(table),
            schemas: settings.create_schemas,
        })
    }

    fn table(&self, _: Dialect) -> Table {
        Table::plain("_sqlx_migrations")
    }

    fn create(&self, rules: &dyn Rules, table: &Table, _: &Folder) -> Vec<String> {
        let (time, bytes) = match rules.dialect() {
            Dialect::Postgres => ("TIMESTAMPTZ NOT NULL DEFAULT now()", "BYTEA"),
            Dialect::Mysql | Dialect::Sqlite => ("TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP", "BLOB"),
        };
        vec![format!(
            "CREATE TABLE IF NOT EXISTS {} (\n    version BIGINT PRIMARY KEY,\n    description TEXT NOT NULL,\n    \
             installed_on {time},\n    success BOOLEAN NOT NULL,\n    checksum {bytes} NOT NULL,\n    \
             execution_time BIGINT NOT NULL\n)",
            rules.table(table)
        )]
    }

    fn select(&self, rules: &dyn Rules, table: &Table) -> String {
        format!(
            "SELECT version, {}, CASE WHEN success THEN 1 ELSE 0 END FROM {} ORDER BY version",
            rules.hex("checksum"),
            rules.table(table)
        )
    }

    fn insert(&self, rules: &dyn Rules, table: &Table, migration: &Migration, record: &Record<'_>) -> String {
        row(rules, table, migration, "TRUE", nanoseconds(record))
    }

    fn begin(&self, rules: &dyn Rules, table: &Table, migration: &Migration) -> Option<String> {
        Some(row(rules, table, migration, "FALSE", -1))
    }

    fn finish(
        &self,
        rules: &dyn Rules,
        table: &Table,
        migration: &Migration,
        record: &Record<'_>,
    ) -> Option<String> {
        Some(format!(
            "UPDATE {} SET success = TRUE, execution_time = {}, checksum = {} WHERE version = {}",
            rules.table(table),
            nanoseconds(record),
            rules.literal(&Value::Bytes(migration.digest())),
            version(migration)
        ))
    }

    fn forget(
        &self,
        rules: &dyn Rules,
        table: &Table,
        migration: &Migration,
        _: Option<&Key>,
    ) -> Option<String> {
        Some(format!(
            "DELETE FROM {} WHERE version = {} AND NOT success",
            rules.table(table),
            version(migration)
        ))
    }

    fn applied_order(&self, rules: &dyn Rules, table: &Table) -> Option<String> {
        Some(self.select(rules, table).replace("ORDER BY version", "ORDER BY installed_on, version"))
    }

    fn mend(&self, rules: &dyn Rules, table: &Table, migration: &Migration, _: &LedgerRow) -> Option<String> {
        Some(format!(
            "UPDATE {} SET checksum = {} WHERE version = {}",
            rules.table(table),
            rules.literal(&Value::Bytes(migration.digest())),
            version(migration)
        ))
    }

    /// What sqlx's MySQL driver sets when it connects (`sqlx-mysql`, `options/connect.rs`).
    fn session(&self, dialect: Dialect) -> Vec<&'static str> {
        match dialect {
            Dialect::Mysql => vec![
                "SET sql_mode = (SELECT CONCAT(@@sql_mode, ',PIPES_AS_CONCAT,NO_ENGINE_SUBSTITUTION')), time_zone = '+00:00'",
            ],
            Dialect::Postgres | Dialect::Sqlite => Vec::new(),
        }
    }
}

fn row(rules: &dyn Rules, table: &Table, migration: &Migration, success: &str, took: i64) -> String {
    format!(
        "INSERT INTO {} (version, description, success, checksum, execution_time) VALUES ({}, {}, {success}, {}, {took})",
        rules.table(table),
        version(migration),
        rules.literal(&description(&migration.file).as_str().into()),
        rules.literal(&Value::Bytes(migration.digest())),
    )
}

fn version(migration: &Migration) -> i64 {
    match migration.key {
        Key::Number(version) => version,
        Key::Text(_) => 0,
    }
}

fn nanoseconds(record: &Record<'_>) -> i64 {
    i64::try_from(record.took.as_nanos()).unwrap_or(i64::MAX)
}

/// What follows the first `_`, without its suffix, `_` read as spaces.
fn description(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let rest = name.split_once('_').map_or("", |(_, rest)| rest);
    let suffix = if rest.ends_with(".up.sql") { ".up.sql" } else { ".sql" };
    rest.trim_end_matches(suffix).replace('_', " ")
}

/// `sqlx.toml` in the folder or the one above it, which is where a crate keeps it.
fn settings_file(dir: &Path) -> Option<PathBuf> {
    [Some(dir), dir.parent()].into_iter().flatten().map(|d| d.join("sqlx.toml")).find(|path| path.is_file())
}

fn settings(dir: &Path) -> Result<Settings, SourceError> {
    let Some(path) = settings_file(dir) else { return Ok(Settings::default()) };
    toml::from_str(&folder::text(&path)?)
        .map_err(|cause| SourceError::Settings { path, cause: Box::new(cause) })
}

/// sqlx writes the name into its SQL as it is: unquoted, so it is folded as the database folds names.
fn table(name: &str) -> Table {
    let part = |text: &str| text.trim_matches('"').trim_matches('`').to_owned();
    match name.split_once('.') {
        Some((schema, name)) => Table { schema: Some(part(schema)), name: part(name) },
        None => Table::plain(&part(name)),
    }
}
