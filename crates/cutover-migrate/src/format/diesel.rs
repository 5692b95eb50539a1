//! diesel: `<version>_<name>/up.sql`, perhaps with `down.sql` and `metadata.toml`; ledger `__diesel_schema_migrations`.
//!
//! Read as `diesel_migrations` 2.3 reads them (`file_based_migrations.rs`): the version is what stands before the first `_`
//! without its `-`, ordered as text. A folder without `up.sql` is an error there and here. diesel keeps no checksums.

use std::path::Path;

use serde::Deserialize;

use super::{Folder, Format, Layout, Record};
use crate::{
    dialect::{Dialect, Rules, Table, Value},
    folder::{self, SourceError},
    migration::{Checksum, Key, Migration},
};

pub(super) struct Diesel;

/// `metadata.toml`; a file without the word means false, no file at all means true.
#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    run_in_transaction: bool,
}

impl Layout for Diesel {
    fn format(&self) -> Format {
        Format::Diesel
    }

    fn mark(&self, dir: &Path, names: &[String]) -> Option<String> {
        let found = names.iter().find(|name| dir.join(name).join("up.sql").is_file())?;
        Some(format!("{found}/up.sql"))
    }

    fn read(&self, dir: &Path) -> Result<Folder, SourceError> {
        let mut migrations = Vec::new();
        for name in folder::names(dir)? {
            let path = dir.join(&name);
            if name.starts_with('.') || !path.is_dir() {
                continue;
            }
            migrations.push(read(&path, &name)?);
        }
        Ok(Folder { migrations: folder::in_order(migrations)?, ..Folder::default() })
    }

    fn table(&self, _: Dialect) -> Table {
        Table::plain("__diesel_schema_migrations")
    }

    fn create(&self, rules: &dyn Rules, table: &Table, _: &Folder) -> Vec<String> {
        vec![format!(
            "CREATE TABLE IF NOT EXISTS {} (version VARCHAR(50) PRIMARY KEY NOT NULL, \
             run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)",
            rules.table(table)
        )]
    }

    fn select(&self, rules: &dyn Rules, table: &Table) -> String {
        format!("SELECT version, '', 1 FROM {} ORDER BY version", rules.table(table))
    }

    fn applied_order(&self, rules: &dyn Rules, table: &Table) -> Option<String> {
        Some(self.select(rules, table).replace("ORDER BY version", "ORDER BY run_on, version"))
    }

    fn insert(&self, rules: &dyn Rules, table: &Table, migration: &Migration, _: &Record<'_>) -> String {
        let version = rules.literal(&Value::Text(migration.key.to_string()));
        format!("INSERT INTO {} (version) VALUES ({version})", rules.table(table))
    }
}

fn read(path: &Path, name: &str) -> Result<(String, Migration), SourceError> {
    let file = path.join("up.sql");
    if !file.is_file() {
        return Err(SourceError::Name {
            path: path.to_owned(),
            rule: "diesel wants an up.sql in each folder beside it; write one, or move the folder away",
        });
    }
    let version = name.split('_').next().unwrap_or_default().replace('-', "");
    let sql = folder::text(&file)?;
    let migration = Migration {
        id: folder::id(name, path)?,
        header: folder::phase(&sql, &file)?,
        transaction: in_transaction(path)?,
        file,
        sql,
        key: Key::Text(version.clone()),
        checksum: Checksum::None,
        when: 0,
        breakpoints: false,
    };
    Ok((version, migration))
}

/// diesel takes a `metadata.toml` that it can't read for none; that would run in a transaction what says it can't be in
/// one, so here it is refused.
fn in_transaction(dir: &Path) -> Result<bool, SourceError> {
    let path = dir.join("metadata.toml");
    if !path.is_file() {
        return Ok(true);
    }
    let metadata: Metadata = toml::from_str(&folder::text(&path)?)
        .map_err(|cause| SourceError::Settings { path, cause: Box::new(cause) })?;
    Ok(metadata.run_in_transaction)
}
