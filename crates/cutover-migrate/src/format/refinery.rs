//! refinery: `V<version>__<name>.sql` and `U<version>__<name>.sql`, in subfolders too; ledger `refinery_schema_history`.
//!
//! Read as `refinery-core` 0.10 reads them (`util.rs`, `runner.rs`, `traits/mod.rs`). A version is an `i32`, or an `i64` where
//! refinery is built with `int8-versions`, and the checksum digests it in that width. The folder tells which when a
//! version needs 64 bits; else 32 are taken, refinery's default, and a ledger's checksums in either width are right.

use std::path::{Path, PathBuf};

use super::{Folder, Format, Layout, LedgerRow, Record, siphash::siphash13};
use crate::{
    dialect::{Dialect, Rules, Table, Value},
    folder::{self, SourceError},
    migration::{Checksum, Key, Migration},
    sql::says_no_transaction,
};

pub(super) struct Refinery;

/// How many folders deep files are looked for.
const DEPTH_MAX: usize = 16;

impl Layout for Refinery {
    fn format(&self) -> Format {
        Format::Refinery
    }

    fn mark(&self, _: &Path, names: &[String]) -> Option<String> {
        names.iter().find(|name| parts(name).is_some()).cloned()
    }

    fn read(&self, dir: &Path) -> Result<Folder, SourceError> {
        let mut files = Vec::new();
        find(dir, 0, &mut files)?;
        let wide = files.iter().any(|file| i32::try_from(file.version).is_err());
        files.sort_by_key(|file| file.version);
        for pair in files.windows(2) {
            if pair[0].version == pair[1].version {
                return Err(SourceError::Duplicate {
                    first: pair[0].path.clone(),
                    second: pair[1].path.clone(),
                });
            }
        }
        let migrations = files.into_iter().map(|file| {
            let sql = folder::text(&file.path)?;
            Ok(Migration {
                id: folder::id(&file.stem, &file.path)?,
                header: folder::phase(&sql, &file.path)?,
                transaction: !says_no_transaction(&sql),
                file: file.path,
                sql,
                key: Key::Number(file.version),
                checksum: Checksum::Refinery { name: file.name, version: file.version, wide },
                when: 0,
                breakpoints: false,
            })
        });
        Ok(Folder { migrations: migrations.collect::<Result<_, _>>()?, ..Folder::default() })
    }

    fn table(&self, _: Dialect) -> Table {
        Table::plain("refinery_schema_history")
    }

    fn create(&self, rules: &dyn Rules, table: &Table, folder: &Folder) -> Vec<String> {
        let wide = |m: &Migration| matches!(m.checksum, Checksum::Refinery { wide: true, .. });
        let version = if folder.migrations.iter().any(wide) { "int8" } else { "int4" };
        vec![format!(
            "CREATE TABLE IF NOT EXISTS {} (version {version} PRIMARY KEY, name VARCHAR(255), applied_on VARCHAR(255), \
             checksum VARCHAR(255))",
            rules.table(table)
        )]
    }

    fn select(&self, rules: &dyn Rules, table: &Table) -> String {
        format!("SELECT version, checksum, 1 FROM {} ORDER BY version", rules.table(table))
    }

    /// The time is text of RFC 3339 without closing zeros; without its `Z` it sorts.
    fn applied_order(&self, rules: &dyn Rules, table: &Table) -> Option<String> {
        let order = "ORDER BY REPLACE(applied_on, 'Z', ''), version";
        Some(self.select(rules, table).replace("ORDER BY version", order))
    }

    fn mend(&self, rules: &dyn Rules, table: &Table, migration: &Migration, _: &LedgerRow) -> Option<String> {
        let checksum = rules.literal(&Value::Text(migration.recorded_checksum()));
        Some(format!(
            "UPDATE {} SET checksum = {checksum} WHERE version = {}",
            rules.table(table),
            migration.key
        ))
    }

    /// The time is refinery's clock, not the server's: RFC 3339 in UTC, as text.
    fn insert(&self, rules: &dyn Rules, table: &Table, migration: &Migration, _: &Record<'_>) -> String {
        let (Checksum::Refinery { name, version, .. }, now) = (&migration.checksum, jiff::Timestamp::now())
        else {
            return String::new();
        };
        format!(
            "INSERT INTO {} (version, name, applied_on, checksum) VALUES ({version}, {}, {}, {})",
            rules.table(table),
            rules.literal(&Value::from(name.as_str())),
            rules.literal(&Value::from(now.to_string().as_str())),
            rules.literal(&Value::from(migration.recorded_checksum().as_str())),
        )
    }
}

/// refinery's checksum: what Rust's `Hash` feeds a hasher for the name, the version and the text.
pub(crate) fn checksum(name: &str, version: i64, wide: bool, text: &str) -> u64 {
    let mut message = Vec::with_capacity(name.len() + text.len() + 10);
    message.extend_from_slice(name.as_bytes());
    message.push(0xff);
    match i32::try_from(version) {
        Ok(narrow) if !wide => message.extend_from_slice(&narrow.to_le_bytes()),
        _ => message.extend_from_slice(&version.to_le_bytes()),
    }
    message.extend_from_slice(text.as_bytes());
    message.push(0xff);
    siphash13(&message)
}

struct File {
    version: i64,
    name: String,
    stem: String,
    path: PathBuf,
}

fn find(dir: &Path, depth: usize, files: &mut Vec<File>) -> Result<(), SourceError> {
    for name in folder::names(dir)? {
        let path = dir.join(&name);
        if path.is_dir() {
            if depth < DEPTH_MAX {
                find(&path, depth + 1, files)?;
            }
            continue;
        }
        let Some(parts) = parts(&name) else { continue };
        if parts.rust {
            return Err(SourceError::Name {
                path,
                rule: "it is written in Rust, which only refinery can run; write it as SQL to migrate with Cutover",
            });
        }
        let Some(version) = parts.version else {
            return Err(SourceError::Name {
                path,
                rule: "refinery's versions are whole numbers: V7__add_orders.sql",
            });
        };
        files.push(File { version, name: parts.name.to_owned(), stem: parts.stem.to_owned(), path });
    }
    Ok(())
}

struct Parts<'a> {
    /// `None`: digits with a point, or too large.
    version: Option<i64>,
    name: &'a str,
    stem: &'a str,
    rust: bool,
}

/// `^([U|V])(\d+(?:\.\d+)?)__(\w+)\.(rs|sql)$`, which is refinery's own expression.
fn parts(file: &str) -> Option<Parts<'_>> {
    let (stem, kind) = file.rsplit_once('.')?;
    let rust = match kind {
        "sql" => false,
        "rs" => true,
        _ => return None,
    };
    let rest = stem.strip_prefix(['U', 'V', '|'])?;
    let (version, name) = rest.split_once("__")?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let known =
        version.split_once('.').map_or(digits(version), |(whole, part)| digits(whole) && digits(part));
    let word = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    (known && word).then(|| Parts { version: version.parse().ok(), name, stem, rust })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_refinery_reads_them() {
        let read = |file| parts(file).map(|p| (p.version, p.name, p.rust));
        assert_eq!(read("V1__add_users.sql"), Some((Some(1), "add_users", false)));
        assert_eq!(read("U20261120093000__x.sql"), Some((Some(20_261_120_093_000), "x", false)));
        assert_eq!(read("V3___x__y.rs"), Some((Some(3), "_x__y", true)));
        assert_eq!(read("V1.2__x.sql"), Some((None, "x", false)));
        for other in
            ["V1_x.sql", "v1__x.sql", "V__x.sql", "V1__x-y.sql", "V1__x.sql.bak", "V1__.sql", "1__x.sql"]
        {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
