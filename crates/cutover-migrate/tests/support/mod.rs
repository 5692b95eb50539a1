//! Databases of every kind, folders of every format, and a look at what is in a table.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test binary uses a part of it")]

use std::path::{Path, PathBuf};

use cutover_migrate::{Applied, Database, Dialect, MigrateError, Options, Silent, Source, Upto, up};
use secrecy::SecretString;
use sqlx::{AnyConnection, Column, Connection, Row, TypeInfo, ValueRef};

/// A database to test on; removed with it.
pub struct Backend {
    pub name: &'static str,
    pub dialect: Dialect,
    pub url: String,
    /// Not through a pooler.
    pub direct_url: String,
    _dir: Option<tempfile::TempDir>,
}

pub fn sqlite() -> Backend {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", dir.path().join("test.db").display());
    Backend { name: "sqlite", dialect: Dialect::Sqlite, direct_url: url.clone(), url, _dir: Some(dir) }
}

fn server(
    name: &'static str,
    dialect: Dialect,
    found: Option<cutover_testdb::TestDatabase>,
) -> Option<Backend> {
    let found = found?;
    Some(Backend { name, dialect, url: found.url, direct_url: found.direct_url, _dir: None })
}

pub fn postgres() -> Option<Backend> {
    server("postgres", Dialect::Postgres, cutover_testdb::postgres())
}

pub fn pgbouncer() -> Option<Backend> {
    server("pgbouncer", Dialect::Postgres, cutover_testdb::pgbouncer())
}

pub fn mysql() -> Option<Backend> {
    server("mysql", Dialect::Mysql, cutover_testdb::mysql())
}

/// One fresh database of each kind that is to be had.
pub fn backends() -> Vec<Backend> {
    [Some(sqlite()), postgres(), mysql(), pgbouncer()].into_iter().flatten().collect()
}

impl Backend {
    pub async fn connect(&self) -> Database {
        Database::connect(&SecretString::from(self.url.clone())).await.unwrap()
    }

    pub async fn up(&self, dir: &Path, upto: Upto) -> Result<Applied, MigrateError> {
        let source = Source::open(dir, None)?;
        let mut database = self.connect().await;
        let done = up(&source, &mut database, upto, &Options::new("test"), &mut Silent).await;
        database.close().await;
        done
    }

    /// Every value of a query as text; `NULL` for none, bytes in hexadecimal.
    pub async fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        sqlx::any::install_default_drivers();
        let mut connection = AnyConnection::connect(&self.direct_url).await.unwrap();
        let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).fetch_all(&mut connection).await;
        let rows = rows.unwrap_or_else(|error| panic!("{}: {sql}: {error}", self.name));
        connection.close().await.unwrap();
        rows.iter().map(|row| row.columns().iter().map(|c| text(row, c.ordinal())).collect()).collect()
    }

    pub async fn run(&self, sql: &str) {
        sqlx::any::install_default_drivers();
        let mut connection =
            AnyConnection::connect(&format!("{}{}", self.direct_url, self.create())).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    fn create(&self) -> &'static str {
        if self.dialect == Dialect::Sqlite { "?mode=rwc" } else { "" }
    }

    pub async fn column(&self, sql: &str) -> Vec<String> {
        self.rows(sql).await.into_iter().map(|mut row| row.remove(0)).collect()
    }
}

fn text(row: &sqlx::any::AnyRow, at: usize) -> String {
    let raw = row.try_get_raw(at).unwrap();
    if raw.is_null() {
        return "NULL".into();
    }
    match raw.type_info().name() {
        "BOOLEAN" => row.get::<bool, _>(at).to_string(),
        "BLOB" => String::from_utf8(row.get::<Vec<u8>, _>(at)).unwrap_or_else(|e| hex(e.as_bytes())),
        name if name.contains("INT") => row.get::<i64, _>(at).to_string(),
        _ => row.get::<String, _>(at),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A folder with these files.
pub fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        write(dir.path(), name, content);
    }
    dir
}

pub fn write(dir: &Path, name: &str, content: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, content).unwrap();
    path
}

/// drizzle's journal for these tags and times.
pub fn journal(dialect: Dialect, entries: &[(&str, i64)]) -> String {
    let dialect = match dialect {
        Dialect::Postgres => "postgresql",
        Dialect::Mysql => "mysql",
        Dialect::Sqlite => "sqlite",
    };
    let entries: Vec<_> = entries
        .iter()
        .enumerate()
        .map(|(idx, (tag, when))| {
            format!(r#"    {{ "idx": {idx}, "version": "7", "when": {when}, "tag": "{tag}", "breakpoints": true }}"#)
        })
        .collect();
    format!(
        "{{\n  \"version\": \"7\",\n  \"dialect\": \"{dialect}\",\n  \"entries\": [\n{}\n  ]\n}}",
        entries.join(",\n")
    )
}

pub fn ids(applied: &Applied) -> Vec<&str> {
    applied.migrations.iter().map(|id| id.as_str()).collect()
}
