//! Applying one migration while the lock is ours.
//!
//! ```text
//! in a transaction:   BEGIN ─ limits ─ statements ─ ledger row ─ fence ─ COMMIT        all or nothing
//! statement by statement (can't be taken back):       see progress.rs                  recorded before and after each
//! ```

use std::time::{Duration, Instant};

use cutover_model::migration::{MigrationId, Phase};
use tokio::time::sleep;

use crate::{
    database::Database,
    dialect::{Dialect, Rules},
    error::{FailedStatement, Failure, Left, MigrateError},
    fault::{Fault, FaultKind},
    format::Record,
    lock::Held,
    migration::Key,
    observe::{Notice, Observer},
    plan::OnInterrupted,
    progress,
    sql::Statement,
    status::{Entry, Reading},
    up::Options,
};

pub(crate) enum Outcome {
    Applied,
    /// Another runner took the lock; this migration was taken back, or its progress is recorded.
    LostLock,
}

pub(crate) struct Applying<'a> {
    pub(crate) reading: &'a Reading,
    pub(crate) held: &'a Held,
    pub(crate) options: &'a Options,
    pub(crate) entry: &'a Entry,
    pub(crate) applied: &'a [MigrationId],
}

/// Why an attempt did not succeed.
enum Stop {
    LostLock,
    Fault { statement: Option<usize>, fault: Fault, left: Left },
}

impl Stop {
    fn taken_back(statement: Option<usize>) -> impl FnOnce(Fault) -> Self {
        move |fault| Self::Fault { statement, fault, left: Left::Nothing }
    }
}

impl Entry {
    /// Whether its statements commit one by one.
    pub(crate) fn stepwise(&self, rules: &dyn Rules) -> bool {
        let held_by_transaction =
            rules.shape_in_transactions() || self.statements.iter().all(|s| s.changes_only_data());
        !self.migration.transaction || !held_by_transaction || self.progress.is_some() || self.begun
    }
}

impl Applying<'_> {
    pub(crate) async fn run(
        &self,
        database: &mut Database,
        observer: &mut dyn Observer,
    ) -> Result<Outcome, MigrateError> {
        let id = &self.entry.migration.id;
        if self.entry.late {
            observer.notice(Notice::Late { id });
        }
        observer.notice(Notice::Started { id, phase: self.phase(), statements: self.entry.statements.len() });
        let start = Instant::now();
        let stopped = if self.entry.stepwise(database.rules()) {
            self.stepwise(database, observer, start).await
        } else {
            self.with_retries(database, observer).await
        };
        match stopped {
            Ok(()) => {
                observer.notice(Notice::Applied { id, took: start.elapsed() });
                Ok(Outcome::Applied)
            }
            Err(Stop::LostLock) => Ok(Outcome::LostLock),
            Err(Stop::Fault { statement, fault, left }) => Err(self.failure(statement, fault, left)),
        }
    }

    /// A first install may hold unclear or mixed migrations; they count as what they are at worst.
    fn phase(&self) -> Phase {
        self.entry.phase.clear().unwrap_or(Phase::Contract)
    }

    fn record(&self, start: Instant) -> Record<'_> {
        Record {
            phase: self.phase(),
            took: start.elapsed(),
            holder: &self.options.holder,
            release: self.options.release.as_deref(),
        }
    }

    fn failure(&self, statement: Option<usize>, fault: Fault, left: Left) -> MigrateError {
        let statements = &self.entry.statements;
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let failed = statement.and_then(|at| {
            Some(FailedStatement {
                number: number(at + 1),
                of: number(statements.len()),
                line: statements.get(at)?.line,
                summary: statements.get(at)?.summary(self.reading.dialect.syntax()),
            })
        });
        MigrateError::Failed(Box::new(Failure {
            id: self.entry.migration.id.clone(),
            file: self.entry.migration.file.clone(),
            statement: failed,
            fault,
            applied: self.applied.to_vec(),
            left,
        }))
    }

    async fn with_retries(&self, database: &mut Database, observer: &mut dyn Observer) -> Result<(), Stop> {
        let mut tries = 0;
        loop {
            let stopped = self.attempt(database, observer).await;
            match stopped {
                Err(Stop::Fault { fault, .. })
                    if matches!(fault.kind, FaultKind::LockTimeout | FaultKind::Busy)
                        && tries < self.options.lock_retries =>
                {
                    let pause = Duration::from_secs(1 << tries.min(6));
                    observer.notice(Notice::Retrying { id: &self.entry.migration.id, pause });
                    sleep(pause).await;
                    tries += 1;
                }
                other => return other,
            }
        }
    }

    /// One transaction. SQLite ignores `PRAGMA foreign_keys` in a transaction, and with it on, rebuilding a table would
    /// delete the rows that refer to it; so it is set around the transaction, and checked before the commit.
    async fn attempt(&self, database: &mut Database, observer: &mut dyn Observer) -> Result<(), Stop> {
        let sqlite = database.dialect() == Dialect::Sqlite;
        let without_keys = sqlite && self.entry.statements.iter().any(|s| s.switches_foreign_keys_off());
        if without_keys {
            database.session.execute("PRAGMA foreign_keys = OFF").await.map_err(Stop::taken_back(None))?;
        }
        let stopped = self.transaction(database, observer, without_keys).await;
        if without_keys {
            let _ = database.session.execute("PRAGMA foreign_keys = ON").await;
        }
        stopped
    }

    async fn transaction(
        &self,
        database: &mut Database,
        observer: &mut dyn Observer,
        check_keys: bool,
    ) -> Result<(), Stop> {
        let start = Instant::now();
        let rules = database.rules();
        let begin: Vec<String> = std::iter::once(rules.begin().to_owned())
            .chain(rules.limits(&self.options.limits, true))
            .collect();
        database.session.execute(&begin.join("; ")).await.map_err(Stop::taken_back(None))?;
        let done = self.inside(database, observer, check_keys, start).await;
        if let Err(stop) = done {
            let _ = database.session.execute("ROLLBACK").await;
            return Err(stop);
        }
        commit(database).await
    }

    async fn inside(
        &self,
        database: &mut Database,
        observer: &mut dyn Observer,
        check_keys: bool,
        start: Instant,
    ) -> Result<(), Stop> {
        let rules = database.rules();
        self.keep_the_tool_out(database).await.map_err(Stop::taken_back(None))?;
        for at in 0..self.entry.statements.len() {
            self.statement(database, observer, at).await.map_err(Stop::taken_back(Some(at)))?;
        }
        if check_keys {
            let dangling = database.row("PRAGMA foreign_key_check").await.map_err(Stop::taken_back(None))?;
            let fault =
                || Fault::said(FaultKind::Statement, "foreign keys would point at rows that are gone");
            dangling.is_none().then_some(()).ok_or_else(fault).map_err(Stop::taken_back(None))?;
        }
        let row = self.reading.format.layout().insert(
            rules,
            &self.reading.table,
            &self.entry.migration,
            &self.record(start),
        );
        database.session.execute(&row).await.map_err(Stop::taken_back(None))?;
        self.fence(database).await
    }

    /// Takes the locks of the tool whose ledger it is, where only a transaction can hold them.
    async fn keep_the_tool_out(&self, database: &mut Database) -> Result<(), Fault> {
        for lock in &self.held.per_transaction {
            let Some(query) = database.rules().try_lock_in_transaction(lock) else { continue };
            if database.number(&query).await? != Some(1) {
                let tool = lock.tool().unwrap_or("another tool");
                let busy = format!("{tool}'s migrator is running on this database");
                return Err(Fault::said(FaultKind::LockTimeout, &busy));
            }
        }
        Ok(())
    }

    async fn fence(&self, database: &mut Database) -> Result<(), Stop> {
        let fence = self.held.fence(database.rules());
        let rows = database.session.execute(&fence).await.map_err(Stop::taken_back(None))?;
        if rows == 1 { Ok(()) } else { Err(Stop::LostLock) }
    }

    async fn statement(
        &self,
        database: &mut Database,
        observer: &mut dyn Observer,
        at: usize,
    ) -> Result<(), Fault> {
        let Some(statement) = self.entry.statements.get(at) else { return Ok(()) };
        let summary = statement.summary(self.reading.dialect.syntax());
        let of = self.entry.statements.len();
        observer.notice(Notice::Statement {
            id: &self.entry.migration.id,
            number: at + 1,
            of,
            summary: &summary,
        });
        database.session.execute(&statement.sql).await.map(drop)
    }

    async fn stepwise(
        &self,
        database: &mut Database,
        observer: &mut dyn Observer,
        start: Instant,
    ) -> Result<(), Stop> {
        let statements = &self.entry.statements;
        let first = self.resume_at();
        let rules = database.rules();
        if !database.session.pooled() {
            for sql in rules.limits(&self.options.limits, false) {
                database.session.execute(&sql).await.map_err(Stop::taken_back(None))?;
            }
        }
        let begun = self.reading.format.layout().begin(rules, &self.reading.table, &self.entry.migration);
        let mut before = if first < statements.len() {
            self.progress(rules, first, self.runs_alone(first))
        } else {
            self.finished(rules, start)
        };
        if !self.entry.begun {
            before.splice(0..0, begun);
        }
        self.together(database, &before).await?;
        for at in first..statements.len() {
            let next = at + 1;
            let after = if next < statements.len() {
                self.progress(rules, next, self.runs_alone(next))
            } else {
                self.finished(rules, start)
            };
            self.step(database, observer, at, &after).await?;
        }
        Ok(())
    }

    /// Whether a statement can't share a transaction with the record of it.
    fn runs_alone(&self, at: usize) -> bool {
        !self.entry.statements.get(at).is_some_and(Statement::changes_only_data)
    }

    /// What the ledger's newest row was before this migration began.
    fn newest_applied(&self) -> Option<&Key> {
        let applied = |entry: &&Entry| entry.applied || self.applied.contains(&entry.migration.id);
        let known = self.reading.entries.iter().filter(applied).map(|entry| &entry.migration.key);
        let unknown = self.reading.unknown.iter().map(|row| &row.key);
        known.chain(unknown).max_by_key(|key| match key {
            Key::Number(number) => *number,
            Key::Text(_) => 0,
        })
    }

    fn resume_at(&self) -> usize {
        let Some(progress) = &self.entry.progress else { return 0 };
        let done = progress.done as usize;
        let skip = progress.running && self.options.on_interrupted == OnInterrupted::Done;
        done + usize::from(skip)
    }

    fn progress(&self, rules: &dyn Rules, done: usize, running: bool) -> Vec<String> {
        progress::record(rules, self.entry.migration.id.as_str(), &self.entry.statements, done, running)
    }

    fn finished(&self, rules: &dyn Rules, start: Instant) -> Vec<String> {
        let (layout, table, migration) =
            (self.reading.format.layout(), &self.reading.table, &self.entry.migration);
        let record = self.record(start);
        let row = layout.finish(rules, table, migration, &record);
        let row = row.unwrap_or_else(|| layout.insert(rules, table, migration, &record));
        vec![progress::forget(rules, migration.id.as_str()), row]
    }

    /// Runs records and the fence in one transaction; the records go out as one text, as each trip to the server counts.
    async fn together(&self, database: &mut Database, records: &[String]) -> Result<(), Stop> {
        let begin = database.rules().begin();
        database.session.execute(begin).await.map_err(Stop::taken_back(None))?;
        self.commit_with(database, records).await
    }

    /// Ends the open transaction with these records and the fence, or takes it back.
    async fn commit_with(&self, database: &mut Database, records: &[String]) -> Result<(), Stop> {
        let recorded = database.session.execute(&records.join("; ")).await;
        let fenced = match recorded {
            Ok(_) => self.fence(database).await,
            Err(fault) => Err(Stop::taken_back(None)(fault)),
        };
        match fenced {
            Ok(()) => commit(database).await,
            Err(stop) => {
                let _ = database.session.execute("ROLLBACK").await;
                Err(stop)
            }
        }
    }

    /// One statement, and the record after it: in the same transaction where the statement can be in one.
    async fn step(
        &self,
        database: &mut Database,
        observer: &mut dyn Observer,
        at: usize,
        after: &[String],
    ) -> Result<(), Stop> {
        let alone = self.runs_alone(at);
        if !alone {
            database.session.execute(database.rules().begin()).await.map_err(Stop::taken_back(None))?;
        }
        if let Err(fault) = self.statement(database, observer, at).await {
            return Err(self.step_failed(database, at, alone, fault).await);
        }
        if alone { self.together(database, after).await } else { self.commit_with(database, after).await }
    }

    /// The statement was refused, so it had no effect: that is recorded, and the next `up` begins with it. When it was the
    /// first, nothing is left at all. A connection that is gone records nothing; `running` stays and tells the next `up`.
    async fn step_failed(&self, database: &mut Database, at: usize, alone: bool, fault: Fault) -> Stop {
        let statement = Some(at);
        let done = u32::try_from(at).unwrap_or(u32::MAX);
        if fault.is_lost() {
            let left = if alone { Left::Unknown } else { Left::Statements(done) };
            return Stop::Fault { statement, fault, left };
        }
        if !alone {
            let _ = database.session.execute("ROLLBACK").await;
        }
        let rules = database.rules();
        let migration = &self.entry.migration;
        let records: Vec<String> = if at == 0 {
            let (layout, before) = (self.reading.format.layout(), self.newest_applied());
            let row = layout.forget(rules, &self.reading.table, migration, before);
            std::iter::once(progress::forget(rules, migration.id.as_str())).chain(row).collect()
        } else {
            self.progress(rules, at, false)
        };
        match self.together(database, &records).await {
            Err(Stop::LostLock) => Stop::LostLock,
            _ => Stop::Fault { statement, fault, left: Left::Statements(done) },
        }
    }
}

/// A commit that is refused (SQLite: somebody is reading) leaves the transaction open, so it is ended here.
async fn commit(database: &mut Database) -> Result<(), Stop> {
    let Err(fault) = database.session.execute("COMMIT").await else { return Ok(()) };
    let left = if fault.is_lost() { Left::Unknown } else { Left::Nothing };
    let _ = database.session.execute("ROLLBACK").await;
    Err(Stop::Fault { statement: None, fault, left })
}
