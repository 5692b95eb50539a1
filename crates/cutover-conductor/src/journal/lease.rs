//! The right to drive an environment.
//!
//! Two things stand behind it. A lock on a file, held by this process: the kernel takes it back at the process's death,
//! however it dies, so no clock has to guess whether a driver still lives. And a number, the fence, that rises with each
//! lease and stands in the database: whoever writes with an older one is refused, so that a driver which lost its lock
//! without noticing (somebody removed the state directory under it) can't go on beside its successor.

use std::{
    fs::{File, TryLockError},
    time::{Duration, SystemTime},
};

use cutover_model::{EnvironmentName, run::Identity};
use sqlx::{Row as _, SqliteConnection};

use super::{fault::Fault, place::Place};
use crate::ports::{JournalError, Lease};

/// The right to drive one environment, until it is dropped.
#[derive(Debug)]
pub struct FileLease {
    fence: u64,
    /// Closing it unlocks it.
    _lock: File,
}

impl Lease for FileLease {
    fn fence(&self) -> u64 {
        self.fence
    }
}

impl FileLease {
    pub(super) fn new(fence: u64, lock: File) -> Self {
        Self { fence, _lock: lock }
    }
}

/// Tries to lock; `None` where another driver holds it.
pub(super) async fn lock(place: &Place, environment: &EnvironmentName) -> Result<Option<File>, Fault> {
    // Somebody who only asks whether there is a driver holds the lock for an instant.
    for _ in 0..5 {
        let file = place.driver_lock(environment)?;
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// Records a new lease in a transaction and returns its fence: above every earlier one of any environment, so that the
/// number alone says which environment it is for.
pub(super) async fn record(
    transaction: &mut SqliteConnection,
    environment: &EnvironmentName,
    driver: &Identity,
) -> Result<u64, Fault> {
    let query = "SELECT max((SELECT fence FROM tip), coalesce((SELECT max(fence) FROM leases), 0),
                            coalesce((SELECT max(fence) FROM events), 0))";
    let highest: i64 = sqlx::query_scalar(query).fetch_one(&mut *transaction).await?;
    let fence = highest + 1;
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    sqlx::query("INSERT OR REPLACE INTO leases (environment, fence, holder, process, since_ms) VALUES (?, ?, ?, ?, ?)")
        .bind(environment.as_str())
        .bind(fence)
        .bind(&driver.0)
        .bind(i64::from(std::process::id()))
        .bind(since.as_millis() as i64)
        .execute(&mut *transaction)
        .await?;
    sqlx::query("UPDATE tip SET fence = ?").bind(fence).execute(transaction).await?;
    Ok(fence.cast_unsigned())
}

/// Refuses whoever does not hold the environment's latest lease.
pub(super) async fn check(
    transaction: &mut SqliteConnection,
    environment: &EnvironmentName,
    lease: &dyn Lease,
) -> Result<(), Fault> {
    let query =
        sqlx::query_scalar("SELECT fence FROM leases WHERE environment = ?").bind(environment.as_str());
    let fence: Option<i64> = query.fetch_optional(transaction).await?;
    match fence.map(i64::cast_unsigned) == Some(lease.fence()) {
        true => Ok(()),
        false => Err(JournalError::Fenced(environment.clone()).into()),
    }
}

/// Who took the latest lease, for people: `ada@build-1 (process 4242, since 2026-05-01T12:00:00Z)`.
pub(super) async fn holder(
    connection: &mut SqliteConnection,
    environment: &EnvironmentName,
) -> Result<Option<String>, Fault> {
    let query = sqlx::query("SELECT holder, process, since_ms FROM leases WHERE environment = ?");
    let Some(row) = query.bind(environment.as_str()).fetch_optional(connection).await? else {
        return Ok(None);
    };
    let (holder, process, since): (String, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let since = jiff::Timestamp::from_second(since / 1000).unwrap_or_default();
    Ok(Some(format!("{holder} (process {process}, since {since})")))
}
