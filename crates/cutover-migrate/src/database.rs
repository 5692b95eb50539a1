//! A connection to the database that is migrated, and Cutover's questions to it.

use std::time::Duration;

use secrecy::SecretString;

use crate::{
    address::Place,
    dialect::{self, Dialect, Row, Rules, Session, Value},
    error::MigrateError,
    fault::{Fault, FaultKind},
};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);

/// One connection. Cancelling a call that uses it leaves it unusable: drop it and connect anew.
pub struct Database {
    pub(crate) session: Box<dyn Session>,
    place: Place,
    url: SecretString,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Database {
    /// Connects, within 10 seconds. Changes nothing; an SQLite file that does not exist is not made.
    ///
    /// # Errors
    /// A URL that can't be read, or a server that can't be reached. Neither shows more of the URL than scheme, host and
    /// database.
    pub async fn connect(url: &SecretString) -> Result<Self, MigrateError> {
        let place = Place::of(url)?;
        let session = tokio::time::timeout(CONNECT, dialect::open(url, &place)).await;
        let fault = |fault| MigrateError::Unreachable { place: place.clone(), fault };
        let session = session
            .map_err(|_| fault(Fault::said(FaultKind::Connect, "no answer within 10 s")))?
            .map_err(fault)?;
        Ok(Self { session, place, url: url.clone() })
    }

    /// Where it is, safe to show.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Which database.
    pub fn dialect(&self) -> Dialect {
        self.place.dialect()
    }

    /// Whether a pooler in transaction mode stands between: then the lease row alone is the lock.
    pub fn is_pooled(&self) -> bool {
        self.session.pooled()
    }

    /// Says good-bye to the server.
    pub async fn close(self) {
        self.session.close().await;
    }

    pub(crate) fn url(&self) -> &SecretString {
        &self.url
    }

    pub(crate) fn rules(&self) -> &'static dyn Rules {
        self.session.rules()
    }

    /// One row, with as many columns as conditions, each true or false.
    pub(crate) async fn ask(&mut self, conditions: &[String]) -> Result<Vec<bool>, Fault> {
        let columns: Vec<_> =
            conditions.iter().map(|condition| format!("CASE WHEN {condition} THEN 1 ELSE 0 END")).collect();
        let rows = self.session.fetch(&format!("SELECT {}", columns.join(", "))).await?;
        let row = rows.into_iter().next().unwrap_or_default();
        Ok((0..conditions.len()).map(|at| row.get(at).and_then(Value::int) == Some(1)).collect())
    }

    pub(crate) async fn row(&mut self, sql: &str) -> Result<Option<Row>, Fault> {
        Ok(self.session.fetch(sql).await?.into_iter().next())
    }

    pub(crate) async fn number(&mut self, sql: &str) -> Result<Option<i64>, Fault> {
        Ok(self.row(sql).await?.and_then(|row| row.first()?.int()))
    }

    /// An error in reading or writing records, with its place.
    pub(crate) fn records(&self, doing: &'static str, fault: Fault) -> MigrateError {
        let next = match fault.kind {
            FaultKind::Connect | FaultKind::Lost => "Run the command again when the database is back",
            FaultKind::Busy | FaultKind::LockTimeout => {
                "Another process is writing there; run the command again when it is done"
            }
            _ => {
                "Check that the migration user owns the ledger and may create tables, then run the command again"
            }
        };
        MigrateError::Records { place: self.place.clone(), doing, fault, next }
    }
}
