//! Applying migrations: the whole lifecycle, once, for every format and database.
//!
//! ```text
//! read ─ nothing to do? done ─ take the lock ─(held by another)─ wait, read again
//!                                   │
//!                              read again, plan again, make the ledger
//!                                   │
//!                  each migration: apply.rs ──(lock lost)── read again
//!                                   │
//!                              release, report
//! ```
//! Losers of the race wait, read that nothing is left, and succeed without having had the lock.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use cutover_model::migration::MigrationId;
use tokio::time::sleep;

use crate::{
    apply::{Applying, Outcome},
    database::Database,
    dialect::Limits,
    error::{MigrateError, Refusal},
    fault::{Fault, FaultKind},
    lock::{self, Claim, Held, Peer, Taking},
    observe::{Notice, Observer},
    plan::{OnInterrupted, Plan, Upto, choose},
    progress,
    source::Source,
    status::{Reading, Status, read},
};

/// How `up` behaves. [`Options::new`] gives the defaults.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who runs this, for waiters and the ledger: `ana@build7, run 12`. No secrets; at most 200 characters are kept.
    pub holder: String,
    /// The release it is for, kept in Cutover's own ledger.
    pub release: Option<String>,
    /// How long to wait for another runner. 0 does not wait. Default 10 minutes.
    pub lock_wait: Duration,
    /// How long the lock outlives an owner that vanished where sessions have no locks; renewed three times as often.
    /// Default 15 s.
    pub lease: Duration,
    /// Bounds on each statement. Default: 10 s for locks, 30 minutes to run.
    pub limits: Limits,
    /// How often a migration that waited too long for a lock is tried again, with pauses of 1, 2, 4 … s. Default 3.
    pub lock_retries: u32,
    /// Migrations that the live release had in its folder; see [`crate::plan`].
    pub carried: BTreeSet<MigrationId>,
    /// What to do with a statement that was running when a migration was cut off.
    pub on_interrupted: OnInterrupted,
}

impl Options {
    /// The defaults.
    pub fn new(holder: impl Into<String>) -> Self {
        Self {
            holder: holder.into(),
            release: None,
            lock_wait: Duration::from_secs(600),
            lease: Duration::from_secs(15),
            limits: Limits {
                lock: Some(Duration::from_secs(10)),
                statement: Some(Duration::from_secs(30 * 60)),
            },
            lock_retries: 3,
            carried: BTreeSet::new(),
            on_interrupted: OnInterrupted::Refuse,
        }
    }
}

/// What `up` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// What this call applied, in order. Empty when there was nothing to do, or another runner did it.
    pub migrations: Vec<MigrationId>,
    /// The last runner this call waited for.
    pub waited_for: Option<String>,
    /// Where the database stands now.
    pub status: Status,
}

/// How often the lock may be lost to others before giving up.
const LOST_MAX: u32 = 20;

/// Applies what is pending up to a phase. Any number of runners may call it at once.
///
/// Cancel safety: dropping the future is like killing the process. A migration in a transaction is taken back by the
/// server, the lock goes with the connection or its lease; drop the [`Database`] too.
///
/// # Errors
/// [`MigrateError::kind`] says whether nothing was changed, a migration failed, or the database was lost.
pub async fn up(
    source: &Source,
    database: &mut Database,
    upto: Upto,
    options: &Options,
    observer: &mut dyn Observer,
) -> Result<Applied, MigrateError> {
    let mut run = Run { source, database, upto, options, observer, applied: Vec::new(), waited_for: None };
    run.until_nothing_is_left().await
}

struct Run<'a> {
    source: &'a Source,
    database: &'a mut Database,
    upto: Upto,
    options: &'a Options,
    observer: &'a mut dyn Observer,
    applied: Vec<MigrationId>,
    waited_for: Option<String>,
}

/// How a turn with the lock ended.
enum Turn {
    Finished,
    LostLock,
}

impl Run<'_> {
    async fn until_nothing_is_left(&mut self) -> Result<Applied, MigrateError> {
        let deadline = Instant::now() + self.options.lock_wait;
        let mut lost = 0;
        let mut pause = Pause::default();
        loop {
            let reading = match read(self.source, self.database).await {
                Err(MigrateError::Records { fault, .. })
                    if fault.kind == FaultKind::Busy && Instant::now() < deadline =>
                {
                    pause.next().await;
                    continue;
                }
                other => other?,
            };
            if self.choose(&reading)?.run.is_empty() {
                return Ok(self.report(&reading));
            }
            match self.try_take(&reading).await? {
                Taking::Busy { holder, held } if Instant::now() >= deadline => {
                    return Err(Refusal::Locked { holder, held }.into());
                }
                Taking::Busy { holder, held } => {
                    self.observer.notice(Notice::Waiting { holder: &holder, held });
                    self.waited_for = Some(holder);
                    pause.next().await;
                }
                Taking::Taken(held) => {
                    let turn = self.turn(&held).await;
                    held.release(self.database).await;
                    match turn? {
                        Turn::Finished => {
                            let reading = read(self.source, self.database).await?;
                            return Ok(self.report(&reading));
                        }
                        Turn::LostLock if lost == LOST_MAX => {
                            return Err(Refusal::LostTooOften { times: lost }.into());
                        }
                        Turn::LostLock => lost += 1,
                    }
                }
            }
        }
    }

    fn choose(&self, reading: &Reading) -> Result<Plan, Refusal> {
        choose(reading, self.upto, &self.options.carried, self.options.on_interrupted)
    }

    fn report(&mut self, reading: &Reading) -> Applied {
        Applied {
            migrations: std::mem::take(&mut self.applied),
            waited_for: self.waited_for.take(),
            status: reading.status(),
        }
    }

    async fn try_take(&mut self, reading: &Reading) -> Result<Taking, MigrateError> {
        let claim = Claim {
            holder: &self.options.holder,
            lease: self.options.lease,
            peer: Peer::of(reading.format, &reading.table),
        };
        match lock::try_take(self.database, &claim).await {
            Ok(taking) => Ok(taking),
            Err(fault) if matches!(fault.kind, FaultKind::Busy | FaultKind::LockTimeout) => {
                Ok(Taking::Busy { holder: "another runner".into(), held: Duration::ZERO })
            }
            Err(fault) => Err(self.database.records("taking the migration lock", fault)),
        }
    }

    /// With the lock: what was read before may be old, so everything is read and planned anew.
    async fn turn(&mut self, held: &Held) -> Result<Turn, MigrateError> {
        let reading = read(self.source, self.database).await?;
        let plan = self.choose(&reading)?;
        if plan.run.is_empty() {
            return Ok(Turn::Finished);
        }
        let prepared = self.prepare(&reading, &plan, held).await;
        if !prepared.map_err(|fault| self.database.records("preparing the ledger", fault))? {
            return Ok(Turn::LostLock);
        }
        self.observer.notice(Notice::Locked);
        let unknown = reading.unknown_names();
        if !unknown.is_empty() {
            self.observer.notice(Notice::Unknown { names: &unknown });
        }
        for entry in plan.run.iter().filter_map(|id| reading.find(id)) {
            let applying =
                Applying { reading: &reading, held, options: self.options, entry, applied: &self.applied };
            match applying.run(self.database, self.observer).await? {
                Outcome::Applied => self.applied.push(entry.migration.id.clone()),
                Outcome::LostLock => return Ok(Turn::LostLock),
            }
        }
        if reading.first_install {
            let sql = held.installing(self.database.rules(), false);
            let done = self.database.session.execute(&sql).await;
            done.map_err(|fault| self.database.records("noting that the first install is finished", fault))?;
        }
        Ok(Turn::Finished)
    }

    /// Makes what is missing of ledger and records; false when the lock is not ours any more.
    async fn prepare(&mut self, reading: &Reading, plan: &Plan, held: &Held) -> Result<bool, Fault> {
        let rules = self.database.rules();
        let layout = reading.format.layout();
        let mut make = Vec::new();
        if !reading.ledger_exists {
            make.extend(
                reading.schemas.iter().map(|s| format!("CREATE SCHEMA IF NOT EXISTS {}", rules.quote(s))),
            );
            make.extend(layout.create(rules, &reading.table, &self.source.folder));
        }
        let entries = plan.run.iter().filter_map(|id| reading.find(id));
        if entries.into_iter().any(|entry| entry.stepwise(rules)) {
            make.push(progress::create(rules));
        }
        make.extend(layout.session(rules.dialect()).into_iter().map(str::to_owned));
        for sql in make {
            match self.database.session.execute(&sql).await {
                Err(fault) if fault.kind == FaultKind::ExistsAlready => {}
                other => drop(other?),
            }
        }
        let note = if reading.first_install { held.installing(rules, true) } else { held.fence(rules) };
        Ok(self.database.session.execute(&note).await? == 1)
    }
}

/// Pauses between looks: short at first, then half a second, each a little different so that waiters spread out.
#[derive(Default)]
struct Pause {
    looks: u32,
}

impl Pause {
    async fn next(&mut self) {
        self.looks = (self.looks + 1).min(5);
        let spread =
            u64::from(std::process::id().wrapping_mul(2_654_435_761).wrapping_add(self.looks * 7919) % 50);
        sleep(Duration::from_millis((1 << self.looks) * 15 + spread)).await;
    }
}
