//! The journal on one machine: a SQLite file in the state directory, written ahead and synced before anything follows.
//!
//! ```text
//!  driver ──lease──► lock ENV.lock ─► fence + 1              (one at a time; the kernel unlocks at its death)
//!         ──append─► BEGIN IMMEDIATE                          (one writer at a time, of any process)
//!                      fence still mine?          else Fenced
//!                      run's newest == after?     else Behind
//!                      event legal in the run?    else Illegal
//!                      insert, linked to the event before it; move the tip
//!                    COMMIT, synced ──► journal.tip says so once more
//! ```
//!
//! What is read was verified: each event against the one before it, both ends of the run, the tip, and the second note
//! of the tip. So a journal that was cut, edited or mixed up is told as [`JournalError::Corrupt`] with the first event that can't be
//! trusted, and [`mend`] keeps what stands before it. See `docs/design/journal.md`.

mod chain;
mod fault;
mod lease;
mod mend;
mod place;
mod store;
mod write;

use std::{collections::HashMap, path::Path};

use async_trait::async_trait;
use cutover_model::{
    EnvironmentName, RunNumber,
    run::{Event, Identity, Plan, Record, Run, Seq},
};
use sqlx::Connection as _;

pub use lease::FileLease;
pub use mend::{Mended, mend};

use crate::ports::{Journal, JournalError, Lease};
use chain::Tip;
use fault::{Fault, explain};
use place::Place;
use store::{Access, Store};

/// The journal of one state directory. Any number of processes may have it open; this value uses one connection.
///
/// Dropping a future of its methods is safe at any point: what it asked for then either happened whole or not at all.
#[derive(Debug)]
pub struct SqliteJournal {
    place: Place,
    access: Access,
    open: tokio::sync::Mutex<Opened>,
}

/// What is worth keeping between calls.
#[derive(Debug, Default)]
struct Opened {
    /// `None` where there is nothing to read yet, or after a failure: the next call then begins anew.
    store: Option<Store>,
    /// The run last written to, of each environment, as far as it was read.
    folded: HashMap<EnvironmentName, Run>,
}

impl SqliteJournal {
    /// Opens the journal in `dir` to write, and creates both, for this user only, where they are missing.
    ///
    /// # Errors
    /// As [`Journal`]'s; [`JournalError::Unusable`] also where a newer Cutover wrote it.
    pub async fn open(dir: &Path) -> Result<Self, JournalError> {
        Self::with(dir, Access::Write).await
    }

    /// Opens the journal in `dir` to read. Creates no journal: where none is, it is empty. Writing to it fails.
    ///
    /// # Errors
    /// As [`Journal`]'s.
    pub async fn open_read_only(dir: &Path) -> Result<Self, JournalError> {
        Self::with(dir, Access::Read).await
    }

    async fn with(dir: &Path, access: Access) -> Result<Self, JournalError> {
        let place = Place::new(dir).map_err(|error| explain(error.into(), dir, 0))?;
        let journal = Self { place, access, open: tokio::sync::Mutex::default() };
        journal.reading(async |_, _| Ok(())).await?;
        Ok(journal)
    }

    /// Closes the file. Dropping the journal does so too, a little later.
    pub async fn close(self) {
        if let Some(store) = self.open.into_inner().store {
            // All that is left to do is SQLite's tidying up, which the next to open it does otherwise.
            store.connection.close().await.ok();
        }
    }

    /// Reads the whole journal and verifies every event; how many there are.
    ///
    /// # Errors
    /// [`JournalError::Corrupt`] names the first event that can't be trusted.
    pub async fn verify(&self) -> Result<u64, JournalError> {
        let walked = self
            .reading(async |store, tip| {
                let (reached, fault) = mend::walk(&mut store.connection, async |_| Ok(())).await?;
                fault.map_or(Ok(()), Err)?;
                if reached != tip {
                    return Err(store::gone(reached.seq + 1, tip.seq));
                }
                Ok(tip.seq)
            })
            .await?;
        Ok(walked.unwrap_or(0))
    }

    /// Who drives the environment now, for people; `None` where nobody does.
    ///
    /// # Errors
    /// As [`Journal`]'s.
    pub async fn driver(&self, environment: &EnvironmentName) -> Result<Option<String>, JournalError> {
        let held = self.place.is_driven(environment).map_err(|error| self.told(error.into(), 0))?;
        if !held {
            return Ok(None);
        }
        let holder =
            self.reading(async |store, _| lease::holder(&mut store.connection, environment).await).await?;
        Ok(Some(holder.flatten().unwrap_or_else(|| "another process".into())))
    }

    /// Runs `read` in one consistent view of a sound journal; `None` where there is no journal.
    async fn reading<T>(
        &self,
        read: impl AsyncFnOnce(&mut Store, Tip) -> Result<T, Fault>,
    ) -> Result<Option<T>, JournalError> {
        let mut opened = self.open.lock().await;
        let outcome = async {
            let witnessed = self.place.witnessed()?;
            let Some(mut store) = self.store(&mut opened, witnessed).await? else { return Ok(None) };
            sqlx::raw_sql("BEGIN").execute(&mut store.connection).await?;
            let tip = store::tip(&mut store.connection, witnessed).await?;
            let value = read(&mut store, tip).await?;
            sqlx::raw_sql("COMMIT").execute(&mut store.connection).await?;
            opened.store = Some(store);
            Ok(Some(value))
        };
        match outcome.await {
            Ok(value) => Ok(value),
            Err(fault) => Err(self.failed(fault).await),
        }
    }

    /// The open connection, taken out so that a call that fails or is dropped leaves none behind in an unknown state; a new
    /// one where there is none or the name stands for another file by now.
    async fn store(&self, opened: &mut Opened, witnessed: Option<Tip>) -> Result<Option<Store>, Fault> {
        if let Some(store) = opened.store.take() {
            if self.place.inode()? == Some(store.inode) {
                return Ok(Some(store));
            }
            opened.folded.clear();
        }
        for _ in 0..50 {
            match Store::open(&self.place, self.access, witnessed).await {
                // SQLite doesn't wait for another process that is just making the file.
                Err(fault) if fault.is_busy() => {
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
                other => return other,
            }
        }
        Store::open(&self.place, self.access, witnessed).await
    }

    fn told(&self, fault: Fault, trusted: u64) -> JournalError {
        explain(fault, &self.place.database(), trusted)
    }

    /// What a fault means; where SQLite only knows that something is damaged, this finds out how far it isn't.
    async fn failed(&self, fault: Fault) -> JournalError {
        let trusted = if fault.is_damage() { mend::trusted(&self.place).await } else { 0 };
        self.told(fault, trusted)
    }
}

#[async_trait]
impl Journal for SqliteJournal {
    async fn lease(
        &self,
        environment: &EnvironmentName,
        driver: &Identity,
    ) -> Result<Box<dyn Lease>, JournalError> {
        let lock = lease::lock(&self.place, environment).await.map_err(|fault| self.told(fault, 0))?;
        let Some(lock) = lock else {
            let holder = self
                .reading(async |store, _| lease::holder(&mut store.connection, environment).await)
                .await?;
            let holder = holder.flatten().unwrap_or_else(|| "another process".into());
            return Err(JournalError::Busy { environment: environment.clone(), holder });
        };
        let fence =
            self.writing(async |writer| lease::record(writer.connection(), environment, driver).await);
        Ok(Box::new(FileLease::new(fence.await?, lock)))
    }

    async fn begin(&self, lease: &dyn Lease, at_ms: i64, plan: &Plan) -> Result<Record, JournalError> {
        self.writing(async |writer| writer.begin(lease, at_ms, plan).await).await
    }

    async fn append(
        &self,
        lease: Option<&dyn Lease>,
        run: RunNumber,
        environment: &EnvironmentName,
        after: Seq,
        at_ms: i64,
        event: &Event,
    ) -> Result<Record, JournalError> {
        self.writing(async |writer| writer.append(lease, run, environment, after, at_ms, event).await).await
    }

    async fn events(
        &self,
        environment: &EnvironmentName,
        run: RunNumber,
        after: Seq,
    ) -> Result<Vec<Record>, JournalError> {
        let records = self
            .reading(async |store, tip| {
                let of = (environment.as_str(), run.0);
                let rows = store::events_of_run(&mut store.connection, tip, of, after.0).await?;
                rows.iter().map(chain::Row::record).collect::<Result<Vec<_>, _>>()
            })
            .await?;
        Ok(records.unwrap_or_default())
    }

    async fn runs(&self, environment: &EnvironmentName) -> Result<Vec<RunNumber>, JournalError> {
        let runs = self
            .reading(async |store, tip| store::runs(&mut store.connection, tip, environment).await)
            .await?;
        Ok(runs.unwrap_or_default())
    }
}
