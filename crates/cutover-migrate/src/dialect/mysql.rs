//! MySQL and MariaDB.
//!
//! A change of shape commits at once and can't be taken back, so `up.rs` keeps a record of each statement here.

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use sqlx::{
    AssertSqlSafe, Column, ConnectOptions, Connection, Row as _, TypeInfo, ValueRef,
    mysql::{MySqlConnectOptions, MySqlConnection, MySqlDatabaseError, MySqlRow},
};

use super::{Dialect, Limits, Row, Rules, Session, SessionLock, Table, Value, hex, milliseconds};
use crate::{
    address,
    fault::{Fault, FaultKind},
};

struct Mysql;

impl Rules for Mysql {
    fn dialect(&self) -> Dialect {
        Dialect::Mysql
    }

    /// Text goes out as hexadecimal: what a backslash means depends on the server's `sql_mode`.
    fn literal(&self, value: &Value) -> String {
        match value {
            Value::Null => "NULL".into(),
            Value::Int(number) => format!("({number})"),
            Value::Text(text)
                if text.bytes().all(|b| b.is_ascii_alphanumeric() || b" -_.:@/()".contains(&b)) =>
            {
                format!("'{text}'")
            }
            Value::Text(text) => format!("CONVERT(x'{}' USING utf8mb4)", hex(text.as_bytes())),
            Value::Bytes(bytes) => format!("x'{}'", hex(bytes)),
        }
    }

    fn quote(&self, name: &str) -> String {
        format!("`{}`", name.replace('`', "``"))
    }

    fn now_ms(&self) -> &'static str {
        "(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000)"
    }

    fn begin(&self) -> &'static str {
        "START TRANSACTION"
    }

    fn table_exists(&self, table: &Table) -> String {
        let schema = table.schema.as_deref().map_or("DATABASE()".to_owned(), |s| self.literal(&s.into()));
        format!(
            "EXISTS (SELECT 1 FROM information_schema.tables WHERE table_schema = {schema} AND table_name = {})",
            self.literal(&table.name.as_str().into())
        )
    }

    fn has_tables_but(&self, names: &[&str]) -> String {
        format!(
            "EXISTS (SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE' \
             AND table_name NOT IN {})",
            self.list(names)
        )
    }

    fn hex(&self, expression: &str) -> String {
        format!("LOWER(HEX({expression}))")
    }

    fn insert_or_nothing(&self, into: &str) -> String {
        format!("INSERT IGNORE INTO {into}")
    }

    fn shape_in_transactions(&self) -> bool {
        false
    }

    fn database_name(&self) -> &'static str {
        "DATABASE()"
    }

    fn try_lock(&self, lock: &SessionLock) -> Option<String> {
        Some(format!("SELECT CAST(COALESCE(GET_LOCK('{}', 0), 0) AS SIGNED)", name(lock)))
    }

    fn unlock(&self, lock: &SessionLock) -> String {
        format!("DO RELEASE_LOCK('{}')", name(lock))
    }

    fn lock_taken(&self, lock: &SessionLock) -> Option<String> {
        Some(format!("SELECT CASE WHEN IS_USED_LOCK('{}') IS NULL THEN 0 ELSE 1 END", name(lock)))
    }

    /// Of whole seconds, 1 or more. `max_statement_time` is MariaDB's, hence the version comment.
    fn limits(&self, limits: &Limits, _: bool) -> Vec<String> {
        let seconds = |d| milliseconds(d).div_ceil(1000);
        let lock = limits.lock.map(|d| {
            format!("SET SESSION lock_wait_timeout = {0}, SESSION innodb_lock_wait_timeout = {0}", seconds(d))
        });
        let statement =
            limits.statement.map(|d| format!("/*M! SET SESSION max_statement_time = {} */", seconds(d)));
        lock.into_iter().chain(statement).collect()
    }
}

/// `GET_LOCK` names belong to the whole server and have at most 64 characters, so ours holds a digest of the database's
/// name; sqlx's is its number in hexadecimal, golang-migrate's in decimal.
fn name(lock: &SessionLock) -> String {
    match lock {
        SessionLock::Cutover { database } => format!("cutover-{}", &hex(&Sha256::digest(database))[..32]),
        SessionLock::Sqlx { .. } => format!("{:x}", lock.number()),
        SessionLock::GolangMigrate { .. } => lock.number().to_string(),
    }
}

struct MysqlSession(MySqlConnection);

pub(super) async fn open(url: &SecretString) -> Result<Box<dyn Session>, Fault> {
    let options: MySqlConnectOptions =
        address::for_mysql(url.expose_secret()).parse().map_err(Fault::of_url)?;
    // The server's own modes and zone: what a migration means must not depend on who runs it.
    let options = options.pipes_as_concat(false).no_engine_substitution(false).timezone(None);
    let options = options.disable_statement_logging();
    let connection =
        MySqlConnection::connect_with(&options).await.map_err(|error| Fault::of_connect(&error))?;
    Ok(Box::new(MysqlSession(connection)))
}

#[async_trait]
impl Session for MysqlSession {
    fn rules(&self) -> &'static dyn Rules {
        &Mysql
    }

    fn pooled(&self) -> bool {
        false
    }

    async fn execute(&mut self, sql: &str) -> Result<u64, Fault> {
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.0).await.map_err(fault)?;
        Ok(done.rows_affected())
    }

    async fn fetch(&mut self, sql: &str) -> Result<Vec<Row>, Fault> {
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut self.0).await.map_err(fault)?;
        rows.iter().map(read).collect()
    }

    async fn close(self: Box<Self>) {
        let _ = self.0.close().await;
    }
}

fn read(row: &MySqlRow) -> Result<Row, Fault> {
    row.columns()
        .iter()
        .map(|column| {
            let at = column.ordinal();
            if row.try_get_raw(at).map_err(fault)?.is_null() {
                return Ok(Value::Null);
            }
            match column.type_info().name() {
                name if name.contains("INT") => row.try_get_unchecked(at).map(Value::Int).map_err(fault),
                _ => row.try_get_unchecked(at).map(Value::Text).map_err(fault),
            }
        })
        .collect()
}

fn fault(error: sqlx::Error) -> Fault {
    let number =
        error.as_database_error().and_then(|e| Some(e.try_downcast_ref::<MySqlDatabaseError>()?.number()));
    Fault::of_statement(error, |state, _| {
        let kind = match number {
            Some(1205 | 1213) => FaultKind::LockTimeout,
            Some(1969 | 3024) => FaultKind::StatementTimeout,
            // Killed, shutting down.
            Some(1317 | 1053 | 1927 | 1158..=1161) => FaultKind::Lost,
            Some(1050) => FaultKind::ExistsAlready,
            Some(1054) => FaultKind::NoColumn,
            _ => FaultKind::Statement,
        };
        // Classes 22 and 23, and the warnings that strict mode makes errors, quote the value.
        let quotes_data = state.starts_with("22")
            || state.starts_with("23")
            || matches!(number, Some(1062 | 1265 | 1292 | 1366 | 1367 | 1411 | 1525 | 1586 | 4025));
        (kind, quotes_data.then_some('\''))
    })
    .numbered(number)
}
