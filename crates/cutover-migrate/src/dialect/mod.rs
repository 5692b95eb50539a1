//! What differs between the databases, and nothing else: how a value, a name and a question are written ([`Rules`]),
//! and how one connection sends text and reads rows ([`Session`]). The lifecycle stands once, in `up.rs`.
//!
//! All of our own SQL goes out as plain text with literals written by [`Rules::literal`], never as a prepared
//! statement: behind a pooler in transaction mode a prepared statement may be asked for on another server session.

use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::{address::Place, fault::Fault, sql::Syntax};

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    Mysql,
    /// SQLite.
    Sqlite,
}

impl Dialect {
    /// The word used in output: `postgres`, `mysql`, `sqlite`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Sqlite => "sqlite",
        }
    }

    pub(crate) fn syntax(self) -> Syntax {
        match self {
            Self::Postgres => Syntax::Postgres,
            Self::Mysql => Syntax::Mysql,
            Self::Sqlite => Syntax::Sqlite,
        }
    }
}

/// A value of our own SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl Value {
    /// The number, when it is one.
    pub(crate) fn int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// The text, when it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

pub(crate) type Row = Vec<Value>;

/// A table, perhaps in a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) schema: Option<String>,
    pub(crate) name: String,
}

impl Table {
    pub(crate) fn plain(name: &str) -> Self {
        Self { schema: None, name: name.to_owned() }
    }
}

/// How text is written for one database. Pure.
pub(crate) trait Rules: Send + Sync {
    fn dialect(&self) -> Dialect;
    /// A value as a literal that is safe whatever it holds.
    fn literal(&self, value: &Value) -> String;
    /// A name in this database's quotes.
    fn quote(&self, name: &str) -> String;
    /// The server's clock as milliseconds since 1970, moving within a transaction.
    fn now_ms(&self) -> &'static str;
    /// Begins a transaction in which the ledger will be written.
    fn begin(&self) -> &'static str;
    /// A condition that is true when the table exists.
    fn table_exists(&self, table: &Table) -> String;
    /// A condition that is true when the schema in use has any table whose name is none of these.
    fn has_tables_but(&self, names: &[&str]) -> String;
    /// The bytes of an expression as lower-case hexadecimal text.
    fn hex(&self, expression: &str) -> String;
    /// `INSERT` that does nothing when the key is there.
    fn insert_or_nothing(&self, into: &str) -> String;
    /// Whether changes of shape are taken back with the transaction.
    fn shape_in_transactions(&self) -> bool;
    /// The database's name, `NULL` where it has none.
    fn database_name(&self) -> &'static str;
    /// The session lock called `name`: number 1 when it was taken, 0 when another session has it. `None` where sessions
    /// have no locks.
    fn try_lock(&self, lock: &SessionLock) -> Option<String>;
    /// The same lock, until the end of the transaction; `None` where there is no such.
    fn try_lock_in_transaction(&self, _: &SessionLock) -> Option<String> {
        None
    }
    /// Gives a session lock back.
    fn unlock(&self, lock: &SessionLock) -> String;
    /// Number 1 when any session has the lock.
    fn lock_taken(&self, lock: &SessionLock) -> Option<String>;
    /// What bounds waiting for other sessions' locks and a statement's time; inside a transaction (for it alone), or for
    /// the session.
    fn limits(&self, limits: &Limits, in_transaction: bool) -> Vec<String>;

    /// Texts as a list in parentheses.
    fn list(&self, texts: &[&str]) -> String {
        let literals: Vec<_> = texts.iter().map(|text| self.literal(&(*text).into())).collect();
        format!("({})", literals.join(", "))
    }

    fn table(&self, table: &Table) -> String {
        match &table.schema {
            Some(schema) => format!("{}.{}", self.quote(schema), self.quote(&table.name)),
            None => self.quote(&table.name),
        }
    }
}

/// How long one statement may wait and run; `None` leaves the server's setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Waiting for a lock that another session holds. Not applied to statements outside a transaction: an index built
    /// concurrently waits for old transactions by design.
    pub lock: Option<Duration>,
    /// Running one statement. Not applied by SQLite, and by MySQL only where it knows `max_statement_time` (MariaDB).
    pub statement: Option<Duration>,
}

/// A lock that lives as long as a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SessionLock {
    /// Cutover's own, one per database.
    Cutover { database: String },
    /// The one that sqlx's migrator takes.
    Sqlx { database: String },
    /// The one that golang-migrate takes, from what its number is made of.
    GolangMigrate { named: String },
}

impl SessionLock {
    /// sqlx's number for a database: a constant times the CRC-32 of its name (sqlx-core, `generate_lock_id`).
    /// golang-migrate's: the same in 32 bits (`database/util.go`, `GenerateAdvisoryLockId`).
    pub(crate) fn number(&self) -> i64 {
        match self {
            // "cutover" in ASCII.
            Self::Cutover { .. } => 0x63_7574_6f76_6572,
            Self::Sqlx { database } => 0x3d32_ad9e * i64::from(crc32(database.as_bytes())),
            Self::GolangMigrate { named } => {
                i64::from(crc32(named.as_bytes()).wrapping_mul(GOLANG_MIGRATE_SALT))
            }
        }
    }

    /// The tool that this lock keeps out beside other runners of Cutover.
    pub(crate) fn tool(&self) -> Option<&'static str> {
        match self {
            Self::Cutover { .. } => None,
            Self::Sqlx { .. } => Some("sqlx"),
            Self::GolangMigrate { .. } => Some("golang-migrate"),
        }
    }
}

/// `advisoryLockIDSalt` of golang-migrate.
const GOLANG_MIGRATE_SALT: u32 = 1_486_364_155;

/// CRC-32/ISO-HDLC, bit by bit: it runs once over a database's name.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 },
        )
    })
}

/// One connection. Cancelling a call leaves the connection in an unknown state: drop it.
#[async_trait]
pub(crate) trait Session: Send {
    fn rules(&self) -> &'static dyn Rules;
    /// Another program between us and the server may give each transaction another server session: session locks and
    /// session settings must not be used.
    fn pooled(&self) -> bool;
    /// Runs text as it is; the number of rows it changed.
    async fn execute(&mut self, sql: &str) -> Result<u64, Fault>;
    /// The rows of one query.
    async fn fetch(&mut self, sql: &str) -> Result<Vec<Row>, Fault>;
    /// Says good-bye to the server; errors there concern nobody.
    async fn close(self: Box<Self>);
}

/// Opens a connection of the kind that the address asks for.
pub(crate) async fn open(url: &SecretString, place: &Place) -> Result<Box<dyn Session>, Fault> {
    match place.dialect() {
        #[cfg(feature = "postgres")]
        Dialect::Postgres => postgres::open(url).await,
        #[cfg(feature = "mysql")]
        Dialect::Mysql => mysql::open(url).await,
        #[cfg(feature = "sqlite")]
        Dialect::Sqlite => sqlite::open(url).await,
        #[allow(unreachable_patterns, reason = "reached where a database was left out of the build")]
        _ => Err(Fault::not_built_in(url)),
    }
}

/// Whether a second connection would see the same database; not for one that lives in a connection's memory.
pub(crate) fn shared(place: &Place) -> bool {
    place.dialect() != Dialect::Sqlite || !place.database().contains(":memory:")
}

/// Text in single quotes, with single quotes doubled: for databases where a backslash is a plain character.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
fn quoted_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn milliseconds(duration: Duration) -> u128 {
    duration.as_millis().clamp(1, i32::MAX as u128)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32_gives_the_standard_check_value() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
