//! dbmate: `<digits>….sql` with `-- migrate:up` and `-- migrate:down` in one file; ledger `schema_migrations (version)`.
//!
//! Read as dbmate 2 reads them (`pkg/dbmate/migration.go`, `db.go`): the version is the digits as text, the order that of the
//! names, `transaction:false` stands behind `migrate:up`. Only the part before `-- migrate:down` is ever run here. A file with
//! two `migrate:up` is refused: dbmate's releases differ in what they do with the second. dbmate keeps no checksums.

use std::path::Path;

use super::{Folder, Format, Layout, Record};
use crate::{
    dialect::{Dialect, Rules, Table, Value},
    folder::{self, SourceError},
    migration::{Checksum, Key, Migration},
};

pub(super) struct Dbmate;

impl Layout for Dbmate {
    fn format(&self) -> Format {
        Format::Dbmate
    }

    /// Looks into the first file only: a mark is asked for each time a folder is opened.
    fn mark(&self, dir: &Path, names: &[String]) -> Option<String> {
        let first = names.iter().find(|name| version(name).is_some() && dir.join(name).is_file())?;
        let text = folder::text(&dir.join(first)).ok()?;
        text.lines()
            .any(|line| directive(line, "up").is_some())
            .then(|| format!("`-- migrate:up` in {first}"))
    }

    fn read(&self, dir: &Path) -> Result<Folder, SourceError> {
        let mut migrations: Vec<Migration> = Vec::new();
        for name in folder::names(dir)? {
            let path = dir.join(&name);
            let Some(version) = version(&name).filter(|_| !path.is_dir()) else { continue };
            let text = folder::text(&path)?;
            let (sql, transaction) = up_part(&text, &path)?;
            migrations.push(Migration {
                id: folder::id(name.trim_end_matches(".sql"), &path)?,
                header: folder::phase(sql, &path)?,
                transaction,
                file: path,
                sql: sql.to_owned(),
                key: Key::Text(version.to_owned()),
                checksum: Checksum::None,
                when: 0,
                breakpoints: false,
            });
        }
        let mut seen = std::collections::HashMap::new();
        for migration in &migrations {
            if let Some(first) = seen.insert(&migration.key, &migration.file) {
                return Err(SourceError::Duplicate { first: first.clone(), second: migration.file.clone() });
            }
        }
        Ok(Folder { migrations, ..Folder::default() })
    }

    fn table(&self, _: Dialect) -> Table {
        Table::plain("schema_migrations")
    }

    fn create(&self, rules: &dyn Rules, table: &Table, _: &Folder) -> Vec<String> {
        let version = match rules.dialect() {
            Dialect::Postgres => "varchar",
            Dialect::Mysql | Dialect::Sqlite => "varchar(128)",
        };
        vec![format!("CREATE TABLE IF NOT EXISTS {} (version {version} PRIMARY KEY)", rules.table(table))]
    }

    fn select(&self, rules: &dyn Rules, table: &Table) -> String {
        format!("SELECT version, '', 1 FROM {} ORDER BY version", rules.table(table))
    }

    fn insert(&self, rules: &dyn Rules, table: &Table, migration: &Migration, _: &Record<'_>) -> String {
        let version = rules.literal(&Value::Text(migration.key.to_string()));
        format!("INSERT INTO {} (version) VALUES ({version})", rules.table(table))
    }
}

/// `^(\d+).*\.sql$`
fn version(name: &str) -> Option<&str> {
    let end = name.find(|c: char| !c.is_ascii_digit())?;
    (end > 0 && name.ends_with(".sql")).then(|| &name[..end])
}

/// The words behind `-- migrate:up` (or `down`), when the line is that.
fn directive<'a>(line: &'a str, which: &str) -> Option<&'a str> {
    let rest = line.strip_prefix("--")?.trim_start().strip_prefix("migrate:")?.strip_prefix(which)?;
    (rest.is_empty() || rest.starts_with(char::is_whitespace)).then(|| rest.trim())
}

/// Everything before `-- migrate:down`, so that lines keep their numbers, and whether it runs in a transaction.
fn up_part<'a>(text: &'a str, path: &Path) -> Result<(&'a str, bool), SourceError> {
    let refused = |rule| Err(SourceError::Name { path: path.to_owned(), rule });
    let (mut up, mut end, mut at) = (None, text.len(), 0);
    for line in text.split_inclusive('\n') {
        let plain = line.trim_start_matches('\u{feff}');
        if let Some(options) = directive(plain, "up") {
            if up.is_some() {
                return refused("it has `-- migrate:up` twice; divide it into one file for each");
            }
            up = Some(options);
        } else if directive(plain, "down").is_some() {
            end = end.min(at);
        } else if up.is_none() && !plain.trim().is_empty() && !plain.trim_start().starts_with("--") {
            return refused("SQL stands before `-- migrate:up`; move it below");
        }
        at += line.len();
    }
    match up {
        Some(options) => {
            let last =
                options.split_whitespace().filter_map(|word| word.strip_prefix("transaction:")).next_back();
            Ok((&text[..end], last != Some("false")))
        }
        None => refused("dbmate wants a line `-- migrate:up` before the SQL"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_part_up_is_taken() {
        let path = Path::new("1_x.sql");
        let text =
            "-- why\r\n-- migrate:up transaction:false\r\nSELECT 1;\r\n-- migrate:down\r\nSELECT 2;\r\n";
        assert_eq!(
            up_part(text, path).unwrap(),
            ("-- why\r\n-- migrate:up transaction:false\r\nSELECT 1;\r\n", false)
        );
        assert_eq!(up_part("--migrate:up\nSELECT 1", path).unwrap(), ("--migrate:up\nSELECT 1", true));
        let said = |text| up_part(text, path).unwrap_err().to_string();
        assert!(said("SELECT 1;").contains("move it below"));
        assert!(said("-- migrate:upper\n").contains("wants a line"));
        assert!(said("-- migrate:up\n-- migrate:down\n-- migrate:up\n").contains("twice"));
    }
}
