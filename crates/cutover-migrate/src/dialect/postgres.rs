//! PostgreSQL.
//!
//! ```text
//! direct:            client ── session ── server      advisory locks and SET live as long as the session
//! behind a pooler:   client ── pooler ── any server session, one per transaction: only rows and SET LOCAL hold
//! ```
//! Which of the two it is, is proved and not guessed: a random token is sent as a start-up setting. Only a server
//! session of our own can show it again; PgBouncer and its like refuse the setting or lose it.

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use sqlx::{
    AssertSqlSafe, Column, ConnectOptions, Connection, Row as _, TypeInfo, ValueRef,
    postgres::{PgConnectOptions, PgConnection, PgRow},
};

use super::{
    Dialect, Limits, Row, Rules, Session, SessionLock, Table, Value, hex, milliseconds, quoted_text,
};
use crate::{
    address,
    fault::{Fault, FaultKind},
    token::Token,
};

struct Postgres;

impl Rules for Postgres {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    fn literal(&self, value: &Value) -> String {
        match value {
            Value::Null => "NULL".into(),
            Value::Int(number) => format!("({number})"),
            Value::Text(text) if text.contains('\\') => {
                format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
            }
            Value::Text(text) => quoted_text(text),
            Value::Bytes(bytes) => format!("decode('{}', 'hex')", hex(bytes)),
        }
    }

    fn quote(&self, name: &str) -> String {
        format!("\"{}\"", name.replace('"', "\"\""))
    }

    fn now_ms(&self) -> &'static str {
        "(extract(epoch from clock_timestamp()) * 1000)::bigint"
    }

    fn begin(&self) -> &'static str {
        "BEGIN"
    }

    fn table_exists(&self, table: &Table) -> String {
        format!("to_regclass({}) IS NOT NULL", self.literal(&Value::Text(self.table(table))))
    }

    /// Tables that belong to an extension were not made by any migration.
    fn has_tables_but(&self, names: &[&str]) -> String {
        format!(
            "EXISTS (SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') \
             AND n.nspname = ANY (current_schemas(false)) AND c.relname NOT IN {} AND NOT EXISTS (SELECT 1 FROM pg_depend d \
             WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'))",
            self.list(names)
        )
    }

    fn hex(&self, expression: &str) -> String {
        format!("encode({expression}, 'hex')")
    }

    fn insert_or_nothing(&self, into: &str) -> String {
        format!("INSERT INTO {into} ON CONFLICT DO NOTHING")
    }

    fn shape_in_transactions(&self) -> bool {
        true
    }

    fn database_name(&self) -> &'static str {
        "current_database()::text"
    }

    fn try_lock(&self, lock: &SessionLock) -> Option<String> {
        Some(format!("SELECT CASE WHEN pg_try_advisory_lock({}) THEN 1 ELSE 0 END", lock.number()))
    }

    fn try_lock_in_transaction(&self, lock: &SessionLock) -> Option<String> {
        Some(format!("SELECT CASE WHEN pg_try_advisory_xact_lock({}) THEN 1 ELSE 0 END", lock.number()))
    }

    fn unlock(&self, lock: &SessionLock) -> String {
        format!("SELECT pg_advisory_unlock({})", lock.number())
    }

    /// A 64-bit key stands in `pg_locks` as two halves.
    fn lock_taken(&self, lock: &SessionLock) -> Option<String> {
        let number = lock.number();
        let (high, low) = ((number >> 32) & 0xffff_ffff, number & 0xffff_ffff);
        Some(format!(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = {high} AND objid = {low} \
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        ))
    }

    fn limits(&self, limits: &Limits, in_transaction: bool) -> Vec<String> {
        let local = if in_transaction { "LOCAL " } else { "" };
        let lock = limits.lock.filter(|_| in_transaction);
        let lock = lock.map(|d| format!("SET {local}lock_timeout = {}", milliseconds(d)));
        let statement =
            limits.statement.map(|d| format!("SET {local}statement_timeout = {}", milliseconds(d)));
        lock.into_iter().chain(statement).collect()
    }
}

struct PostgresSession {
    connection: PgConnection,
    pooled: bool,
}

/// Connects; see the top of the file for what `pooled` rests on.
pub(super) async fn open(url: &SecretString) -> Result<Box<dyn Session>, Fault> {
    let plain: PgConnectOptions =
        address::for_postgres(url.expose_secret()).parse().map_err(Fault::of_url)?;
    let plain = plain.extra_float_digits(None).disable_statement_logging();
    let token = Token::random();
    let marked = plain.clone().options([("cutover.session", token.as_str())]);
    let (connection, marked) = match PgConnection::connect_with(&marked).await {
        Ok(connection) => (connection, true),
        Err(error) if refuses_start_up_settings(&error) => {
            (PgConnection::connect_with(&plain).await.map_err(|error| Fault::of_connect(&error))?, false)
        }
        Err(error) => return Err(Fault::of_connect(&error)),
    };
    let mut session = PostgresSession { connection, pooled: true };
    if marked {
        let shown = session.fetch("SELECT current_setting('cutover.session', true)").await?;
        session.pooled = shown.first().and_then(|row| row.first()?.text()) != Some(token.as_str());
    }
    Ok(Box::new(session))
}

/// 08P01 is PgBouncer's "unsupported startup parameter", 22023 and 42704 what other poolers answer.
fn refuses_start_up_settings(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|e| e.code());
    code.is_some_and(|code| ["08P01", "22023", "42704", "0A000"].contains(&&*code))
}

#[async_trait]
impl Session for PostgresSession {
    fn rules(&self) -> &'static dyn Rules {
        &Postgres
    }

    fn pooled(&self) -> bool {
        self.pooled
    }

    async fn execute(&mut self, sql: &str) -> Result<u64, Fault> {
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.connection).await.map_err(fault)?;
        Ok(done.rows_affected())
    }

    async fn fetch(&mut self, sql: &str) -> Result<Vec<Row>, Fault> {
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut self.connection).await.map_err(fault)?;
        rows.iter().map(read).collect()
    }

    async fn close(self: Box<Self>) {
        let _ = self.connection.close().await;
    }
}

fn read(row: &PgRow) -> Result<Row, Fault> {
    row.columns()
        .iter()
        .map(|column| {
            let at = column.ordinal();
            if row.try_get_raw(at).map_err(fault)?.is_null() {
                return Ok(Value::Null);
            }
            match column.type_info().name() {
                "INT2" | "INT4" | "INT8" => row.try_get_unchecked(at).map(Value::Int).map_err(fault),
                _ => row.try_get_unchecked(at).map(Value::Text).map_err(fault),
            }
        })
        .collect()
}

fn fault(error: sqlx::Error) -> Fault {
    Fault::of_statement(error, |code, message| {
        let kind = match code {
            "55P03" | "40P01" => FaultKind::LockTimeout,
            "57014" => FaultKind::StatementTimeout,
            "57P01" | "57P02" | "57P03" | "08006" | "08003" | "08P01" => FaultKind::Lost,
            // Two sessions creating the same table: the loser fails on a catalogue index, or finds it there.
            "42P07" | "42P06" => FaultKind::ExistsAlready,
            "42703" => FaultKind::NoColumn,
            "23505" if message.contains("pg_") => FaultKind::ExistsAlready,
            _ => FaultKind::Statement,
        };
        // Class 22 (data exceptions) quotes the value that did not fit.
        (kind, code.starts_with("22").then_some('"'))
    })
}
