//! Which migrations `up` runs now, decided from a reading. Pure.

use std::{collections::BTreeSet, str::FromStr};

use cutover_model::migration::{MigrationId, OrderRefused, PhaseReading, Placed, place};

use crate::{
    database::Database,
    error::{MigrateError, Refusal},
    migration::{client_command, controls_transaction},
    source::Source,
    status::{Entry, Reading, read},
};

/// How far to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upto {
    /// What must be there before the release's code: expand.
    Expand,
    /// And data changes, after the code.
    Backfill,
    /// Everything. The caller knows that nobody needs what contract migrations remove (rule 3).
    All,
}

/// What to do with a statement that was running when a migration was cut off. A person looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnInterrupted {
    /// Ask by refusing.
    #[default]
    Refuse,
    /// It took effect: go on with the next.
    Done,
    /// It did not: run it again.
    NotDone,
}

impl FromStr for OnInterrupted {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "done" => Ok(Self::Done),
            "not-done" => Ok(Self::NotDone),
            _ => Err("write `done` when the statement took effect, `not-done` when it did not"),
        }
    }
}

/// What `up` would do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// These would run, in this order.
    pub run: Vec<MigrationId>,
    /// These wait: for the code, or for rule 3.
    pub held: Vec<MigrationId>,
    /// No migration was ever applied here: all run, in file order, whatever their phase.
    pub first_install: bool,
    /// The folder's own order is left: these run though later ones are applied already.
    pub late: Vec<MigrationId>,
}

/// What `up` would do. Reads only.
///
/// `carried` are the migrations that the live release already had in its folder (empty when there is none): a
/// contract migration among them waits for its own release and does not block this one's.
///
/// # Errors
/// The refusal that `up` would give, or a database that can't be read.
pub async fn plan(
    source: &Source,
    database: &mut Database,
    upto: Upto,
    carried: &BTreeSet<MigrationId>,
) -> Result<Plan, MigrateError> {
    let reading = read(source, database).await?;
    Ok(choose(&reading, upto, carried, OnInterrupted::Refuse)?)
}

pub(crate) fn choose(
    reading: &Reading,
    upto: Upto,
    carried: &BTreeSet<MigrationId>,
    on_interrupted: OnInterrupted,
) -> Result<Plan, Refusal> {
    if let Some(refusal) = reading.refused.clone().or_else(|| reading.changed()) {
        return Err(refusal);
    }
    let all: Vec<MigrationId> = reading.pending().map(|entry| entry.migration.id.clone()).collect();
    let placed = around_code(reading, upto, carried)?;
    let run: Vec<MigrationId> = match (&placed, upto) {
        (None, _) | (_, Upto::All) => all.clone(),
        (Some(placed), Upto::Expand) => placed.expand.clone(),
        (Some(placed), Upto::Backfill) => [placed.expand.clone(), placed.backfill.clone()].concat(),
    };
    for entry in run.iter().filter_map(|id| reading.find(id)) {
        may_run(entry, reading, on_interrupted)?;
    }
    if let Some(gap) = gap(reading, &all, &run) {
        return Err(gap);
    }
    Ok(Plan {
        held: all.into_iter().filter(|id| !run.contains(id)).collect(),
        first_install: reading.first_install,
        late: run.iter().filter(|id| reading.find(id).is_some_and(|entry| entry.late)).cloned().collect(),
        run,
    })
}

/// `None` where phases make nothing wait: the first install. With [`Upto::All`] only what is unsafe is refused; the order
/// is the folder's.
fn around_code(
    reading: &Reading,
    upto: Upto,
    carried: &BTreeSet<MigrationId>,
) -> Result<Option<Placed>, OrderRefused> {
    if reading.first_install {
        return Ok(None);
    }
    let pending = reading.pending().map(|entry| (&entry.migration.id, &entry.phase));
    if upto == Upto::All {
        let unsafe_ones = pending.filter(|(_, phase)| matches!(phase, PhaseReading::Unsafe { .. }));
        return place(unsafe_ones, |_| false).map(|_| None);
    }
    place(pending, |id| carried.contains(id)).map(Some)
}

/// A ledger that says no more than how far one came would take what is left out for applied.
fn gap(reading: &Reading, all: &[MigrationId], run: &[MigrationId]) -> Option<Refusal> {
    if !reading.format.layout().keeps_only_newest() {
        return None;
    }
    let (held, next) = all.iter().zip(run).find(|(pending, next)| pending != next)?;
    Some(Refusal::Gap { held: held.clone(), next: next.clone(), format: reading.format.as_str() })
}

fn may_run(entry: &Entry, reading: &Reading, on_interrupted: OnInterrupted) -> Result<(), Refusal> {
    if let Some(interrupted) = entry.interrupted(reading.format) {
        let asks = interrupted.running_line.is_some() && on_interrupted == OnInterrupted::Refuse;
        if interrupted.done.is_none() || interrupted.edited || asks {
            return Err(interrupted.into());
        }
    }
    let migration = &entry.migration;
    for statement in &entry.statements {
        let (file, line) = (migration.file.clone(), statement.line);
        if let Some((what, instead)) = client_command(statement, reading.dialect) {
            return Err(Refusal::ClientCommand { file, line, what, instead });
        }
        if migration.transaction && controls_transaction(statement) {
            let summary = statement.sql.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
            return Err(Refusal::Transaction { file, line, summary });
        }
    }
    Ok(())
}
