//! SQLite.
//!
//! There are no session locks; one writer at a time is the file's own rule (`BEGIN IMMEDIATE`), and the lease row says
//! who owns the migrations between two transactions. A file that does not exist reads as an empty database and is
//! only made by the first write, so that `status` leaves nothing behind.

use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use sqlx::{
    AssertSqlSafe, Column, ConnectOptions, Connection, Row as _, TypeInfo, ValueRef,
    sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow},
};

use super::{Dialect, Limits, Row, Rules, Session, SessionLock, Table, Value, hex, quoted_text};
use crate::{
    address,
    fault::{Fault, FaultKind},
};

struct Sqlite;

/// How long a statement waits for another process's transaction on the file.
const BUSY: Duration = Duration::from_secs(5);

impl Rules for Sqlite {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn literal(&self, value: &Value) -> String {
        match value {
            Value::Null => "NULL".into(),
            Value::Int(number) => format!("({number})"),
            Value::Text(text) => quoted_text(text),
            Value::Bytes(bytes) => format!("x'{}'", hex(bytes)),
        }
    }

    fn quote(&self, name: &str) -> String {
        format!("\"{}\"", name.replace('"', "\"\""))
    }

    fn now_ms(&self) -> &'static str {
        "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
    }

    fn begin(&self) -> &'static str {
        "BEGIN IMMEDIATE"
    }

    fn table_exists(&self, table: &Table) -> String {
        let name = self.literal(&table.name.as_str().into());
        format!("EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = {name})")
    }

    fn has_tables_but(&self, names: &[&str]) -> String {
        let names = self.list(names);
        format!(
            "EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT IN {names})"
        )
    }

    fn hex(&self, expression: &str) -> String {
        format!("lower(hex({expression}))")
    }

    fn insert_or_nothing(&self, into: &str) -> String {
        format!("INSERT OR IGNORE INTO {into}")
    }

    fn shape_in_transactions(&self) -> bool {
        true
    }

    fn database_name(&self) -> &'static str {
        "NULL"
    }

    fn try_lock(&self, _: &SessionLock) -> Option<String> {
        None
    }

    fn unlock(&self, _: &SessionLock) -> String {
        "SELECT 1".into()
    }

    fn lock_taken(&self, _: &SessionLock) -> Option<String> {
        None
    }

    fn limits(&self, _: &Limits, _: bool) -> Vec<String> {
        Vec::new()
    }
}

struct SqliteSession {
    options: SqliteConnectOptions,
    /// `None` while the file does not exist.
    connection: Option<SqliteConnection>,
}

pub(super) async fn open(url: &SecretString) -> Result<Box<dyn Session>, Fault> {
    let options: SqliteConnectOptions =
        address::for_sqlite(url.expose_secret()).parse().map_err(Fault::of_url)?;
    let options = options.busy_timeout(BUSY).disable_statement_logging();
    let mut session = SqliteSession { options, connection: None };
    let name = session.options.get_filename();
    if name.exists() || name.to_string_lossy().starts_with("file:sqlx-in-memory") {
        session.connect().await?;
    }
    Ok(Box::new(session))
}

impl SqliteSession {
    async fn connect(&mut self) -> Result<&mut SqliteConnection, Fault> {
        if self.connection.is_none() {
            let options = self.options.clone().create_if_missing(true);
            let connection =
                SqliteConnection::connect_with(&options).await.map_err(|error| Fault::of_connect(&error))?;
            self.connection = Some(connection);
        }
        self.connection.as_mut().ok_or_else(Fault::lost)
    }
}

#[async_trait]
impl Session for SqliteSession {
    fn rules(&self) -> &'static dyn Rules {
        &Sqlite
    }

    fn pooled(&self) -> bool {
        false
    }

    async fn execute(&mut self, sql: &str) -> Result<u64, Fault> {
        let connection = self.connect().await?;
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.map_err(fault)?;
        Ok(done.rows_affected())
    }

    async fn fetch(&mut self, sql: &str) -> Result<Vec<Row>, Fault> {
        if self.connection.is_none() && self.options.get_filename().exists() {
            self.connect().await?;
        }
        let Some(connection) = &mut self.connection else { return Ok(Vec::new()) };
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(connection).await.map_err(fault)?;
        rows.iter().map(read).collect()
    }

    async fn close(self: Box<Self>) {
        if let Some(connection) = self.connection {
            let _ = connection.close().await;
        }
    }
}

fn read(row: &SqliteRow) -> Result<Row, Fault> {
    row.columns()
        .iter()
        .map(|column| {
            let at = column.ordinal();
            let raw = row.try_get_raw(at).map_err(fault)?;
            if raw.is_null() {
                return Ok(Value::Null);
            }
            let integer = raw.type_info().name() == "INTEGER";
            if integer {
                return row.try_get_unchecked(at).map(Value::Int).map_err(fault);
            }
            row.try_get_unchecked(at).map(Value::Text).map_err(fault)
        })
        .collect()
}

fn fault(error: sqlx::Error) -> Fault {
    Fault::of_statement(error, |code, message| {
        // The low byte is the primary code: 5 busy, 6 locked.
        let kind = match code.parse::<u32>().map(|code| code & 0xff) {
            Ok(5 | 6) => FaultKind::Busy,
            Ok(1) if message.contains("already exists") => FaultKind::ExistsAlready,
            Ok(1) if message.contains("no such column") => FaultKind::NoColumn,
            _ => FaultKind::Statement,
        };
        (kind, None)
    })
}
