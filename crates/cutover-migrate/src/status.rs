//! Where a database stands against a folder. Reads only: no table is made, nothing is locked.

use cutover_model::migration::{
    DecidedBy, MigrationId, MigrationState, Phase, PhaseReading, PlannedMigration,
};

use crate::{
    database::Database,
    dialect::{Dialect, Table},
    error::{Interrupted, MigrateError, Refusal},
    fault::{Fault, FaultKind},
    format::{Format, LedgerRow},
    lock,
    migration::Migration,
    others,
    progress::{self, Progress},
    source::Source,
    sql::Statement,
};

/// Where a database stands against a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Whose folder and ledger.
    pub format: Format,
    /// The ledger's table, as people write it.
    pub ledger: String,
    /// Every migration of the folder in order, then those that are only in the ledger.
    pub migrations: Vec<PlannedMigration>,
    /// The newest migration of the folder that is applied.
    pub head: Option<MigrationId>,
    /// The database was empty before Cutover: there is no old code, so phases make nothing wait.
    pub first_install: bool,
    /// Why `up` would refuse, whatever it is asked to do.
    pub refused: Option<Refusal>,
}

/// One migration of the folder against the ledger.
pub(crate) struct Entry {
    pub(crate) migration: Migration,
    pub(crate) statements: Vec<Statement>,
    pub(crate) phase: PhaseReading,
    pub(crate) applied: bool,
    pub(crate) changed: bool,
    /// Not applied, while a later one of the folder is.
    pub(crate) late: bool,
    pub(crate) progress: Option<Progress>,
    /// A row that its tool began and did not finish.
    pub(crate) begun: bool,
    /// Its row in the ledger.
    pub(crate) recorded: Option<LedgerRow>,
}

/// Everything `status`, `plan` and `up` decide from.
pub(crate) struct Reading {
    pub(crate) format: Format,
    pub(crate) dialect: Dialect,
    pub(crate) table: Table,
    pub(crate) schemas: Vec<String>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) unknown: Vec<LedgerRow>,
    pub(crate) first_install: bool,
    pub(crate) ledger_exists: bool,
    pub(crate) refused: Option<Refusal>,
}

/// Where the database stands.
///
/// # Errors
/// When it can't be read. A folder or ledger that `up` would refuse is no error here; [`Status::refused`] says so.
pub async fn status(source: &Source, database: &mut Database) -> Result<Status, MigrateError> {
    Ok(read(source, database).await?.status())
}

pub(crate) async fn read(source: &Source, database: &mut Database) -> Result<Reading, MigrateError> {
    let reading = read_as(source, database).await?;
    let other = match &reading.refused {
        Some(Refusal::OtherLedger { found, .. }) => source.as_the_database_says(found),
        _ => None,
    };
    match other {
        Some(source) => read_as(&source?, database).await,
        None => Ok(reading),
    }
}

async fn read_as(source: &Source, database: &mut Database) -> Result<Reading, MigrateError> {
    let dialect = database.dialect();
    let table = source.table(dialect);
    let refused = source
        .dialect()
        .filter(|folder| *folder != dialect)
        .map(|folder| Refusal::Dialect { folder, database: dialect });
    let found = rows(source, &table, database).await;
    let found = found.map_err(|fault| database.records("reading the ledger", fault))?;
    let refused = refused.or_else(|| found.other.clone());
    let mut reading = Reading {
        format: source.format(),
        dialect,
        table,
        schemas: source.folder.schemas.clone(),
        entries: Vec::new(),
        unknown: Vec::new(),
        first_install: found.untouched || found.installing,
        ledger_exists: found.ledger_exists,
        refused,
    };
    reading.place_rows(source, found, dialect);
    Ok(reading)
}

struct Found {
    rows: Vec<LedgerRow>,
    progress: Vec<Progress>,
    ledger_exists: bool,
    /// No ledger row, and no table that is not a record of some migrations.
    untouched: bool,
    /// A first install was begun and not finished.
    installing: bool,
    other: Option<Refusal>,
}

async fn rows(source: &Source, table: &Table, database: &mut Database) -> Result<Found, Fault> {
    let (rules, format) = (database.rules(), source.format());
    let others = others::ledgers_but(table, database.dialect());
    let (progress_table, lock_table) = (progress::table(), lock::table());
    let own = [table, &progress_table, &lock_table];
    let mut conditions: Vec<_> = own.iter().map(|table| rules.table_exists(table)).collect();
    conditions.extend(others.iter().map(|(_, other)| rules.table_exists(other)));
    let mut records: Vec<&str> = own.iter().map(|table| table.name.as_str()).collect();
    records.extend(others.iter().map(|(_, other)| other.name.as_str()));
    conditions.push(rules.has_tables_but(&records));
    let there = database.ask(&conditions).await?;
    let has_tables = there.last().copied().unwrap_or_default();
    let mut found = Found {
        rows: Vec::new(),
        progress: Vec::new(),
        ledger_exists: there[0],
        untouched: false,
        installing: false,
        other: None,
    };
    if there[0] {
        found.other = others::is_the_namesake_s(format, table, database).await?;
        if found.other.is_some() {
            return Ok(found);
        }
        match database.session.fetch(&format.layout().select(rules, table)).await {
            Ok(rows) => found.rows = format.layout().rows(&rows, &source.folder.migrations),
            Err(fault) if fault.kind == FaultKind::NoColumn && format == Format::DrizzleFolders => {
                found.other = Some(Refusal::OldLedger { table: rules.table(table) });
                return Ok(found);
            }
            Err(fault) => return Err(fault),
        }
    }
    found.untouched = found.rows.is_empty() && !has_tables;
    if there[1] {
        found.progress = progress::read(database).await?;
    }
    if there[2] {
        found.installing = lock::is_installing(database).await?;
    }
    if found.rows.is_empty() {
        for ((other, table), _) in others.iter().zip(&there[3..]).filter(|(_, there)| **there) {
            if others::has_rows_of(*other, table, source, database).await? {
                let name = rules.table(table);
                let refusal =
                    Refusal::OtherLedger { found: other.as_str(), table: name, format: format.as_str() };
                found.other = Some(refusal);
            }
        }
    }
    Ok(found)
}

impl Reading {
    fn place_rows(&mut self, source: &Source, found: Found, dialect: Dialect) {
        let mut rows: Vec<Option<LedgerRow>> = found.rows.into_iter().map(Some).collect();
        let mut take = |wanted: &dyn Fn(&LedgerRow) -> bool| {
            rows.iter_mut().find(|row| row.as_ref().is_some_and(wanted)).and_then(Option::take)
        };
        let migrations = &source.folder.migrations;
        let mut taken: Vec<_> = migrations.iter().map(|m| take(&|row| row.key == m.key)).collect();
        if self.format.layout().finds_by_checksum() {
            for (migration, taken) in migrations.iter().zip(&mut taken).filter(|(_, taken)| taken.is_none()) {
                *taken = take(&|row| !row.checksum.is_empty() && migration.has_checksum(&row.checksum));
            }
        }
        let last_applied = taken.iter().rposition(Option::is_some);
        for (at, (migration, row)) in migrations.iter().zip(taken).enumerate() {
            let statements = migration.statements(dialect);
            self.entries.push(Entry {
                phase: migration.phase(&statements, dialect),
                applied: row.as_ref().is_some_and(|row| row.finished),
                changed: row
                    .as_ref()
                    .is_some_and(|row| row.finished && !migration.has_checksum(&row.checksum)),
                late: row.is_none() && last_applied > Some(at),
                progress: found.progress.iter().find(|p| p.migration == migration.id.as_str()).cloned(),
                begun: row.as_ref().is_some_and(|row| !row.finished),
                recorded: row,
                migration: migration.clone(),
                statements,
            });
        }
        self.unknown = rows.into_iter().flatten().collect();
    }

    pub(crate) fn pending(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| !entry.applied)
    }

    pub(crate) fn find(&self, id: &MigrationId) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.migration.id == *id)
    }

    /// The migration that has its row already, when this one is another of it.
    pub(crate) fn entry_of_surplus(&self, row: &LedgerRow) -> Option<&Entry> {
        let by_checksum = self.format.layout().finds_by_checksum() && !row.checksum.is_empty();
        self.entries.iter().filter(|entry| entry.recorded.is_some()).find(|entry| {
            entry.migration.key == row.key || by_checksum && entry.migration.has_checksum(&row.checksum)
        })
    }

    /// The ledger's table, as people write it.
    pub(crate) fn ledger(&self) -> String {
        self.table.schema.iter().chain([&self.table.name]).cloned().collect::<Vec<_>>().join(".")
    }

    pub(crate) fn unknown_names(&self) -> Vec<String> {
        self.unknown.iter().map(|row| row.key.to_string()).collect()
    }

    pub(crate) fn status(&self) -> Status {
        let mut migrations: Vec<_> = self.entries.iter().map(|entry| self.planned(entry)).collect();
        migrations.extend(self.unknown.iter().filter_map(unknown));
        Status {
            format: self.format,
            ledger: self.ledger(),
            migrations,
            head: self
                .entries
                .iter()
                .rev()
                .find(|entry| entry.applied)
                .map(|entry| entry.migration.id.clone()),
            first_install: self.first_install,
            refused: self.refused.clone().or_else(|| self.changed()),
        }
    }

    pub(crate) fn changed(&self) -> Option<Refusal> {
        let entry = self.entries.iter().find(|entry| entry.changed)?;
        Some(Refusal::Changed { id: entry.migration.id.clone(), file: entry.migration.file.clone() })
    }

    fn planned(&self, entry: &Entry) -> PlannedMigration {
        let waits =
            !self.first_install && matches!(entry.phase.clear(), Some(Phase::Backfill | Phase::Contract));
        let state = match entry {
            Entry { changed: true, .. } => MigrationState::Changed,
            Entry { applied: true, .. } => MigrationState::Applied,
            _ if waits => MigrationState::Held,
            _ => MigrationState::Pending,
        };
        let mut notes = Vec::new();
        if entry.late {
            notes.push("a later migration is applied already; this one is applied out of order".to_owned());
        }
        notes.extend(entry.interrupted(self.format).map(|interrupted| interrupted.to_string()));
        PlannedMigration {
            id: entry.migration.id.clone(),
            phase: Some(entry.phase.clone()),
            state,
            statements: entry.statements.iter().map(|s| s.summary(self.dialect.syntax())).collect(),
            notes,
        }
    }
}

impl Entry {
    /// What was cut off in it, if anything; also when going on is safe.
    pub(crate) fn interrupted(&self, format: Format) -> Option<Interrupted> {
        if self.applied || (self.progress.is_none() && !self.begun) {
            return None;
        }
        let progress = self.progress.as_ref();
        let done = progress.map(|p| p.done);
        let next = self.statements.get(done.unwrap_or_default() as usize);
        Some(Interrupted {
            id: self.migration.id.clone(),
            file: self.migration.file.clone(),
            done,
            of: u32::try_from(self.statements.len()).unwrap_or(u32::MAX),
            running_line: progress.filter(|p| p.running).and(next).map(|s| s.line),
            edited: progress.is_some_and(|p| !p.is_prefix_of(&self.statements)),
            format,
        })
    }
}

fn unknown(row: &LedgerRow) -> Option<PlannedMigration> {
    Some(PlannedMigration {
        id: row.key.to_string().parse().ok()?,
        phase: row.phase.map(|phase| PhaseReading::Clear { phase, by: DecidedBy::Ledger }),
        state: MigrationState::Unknown,
        statements: Vec::new(),
        notes: vec![
            "in the ledger but not in the folder: the database is newer, or the file was deleted".to_owned(),
        ],
    })
}
