//! Whether a ledger says what the folder says. Reads only.
//!
//! What stands in the way of the next `up`, or would, is *wrong*; what is only worth knowing (an order that is history, a
//! checksum in another spelling) is not. What a ledger keeps no record of is said too: no finding there is no good news.

use cutover_model::migration::Phase;
use serde::Serialize;

use crate::{
    database::Database,
    error::MigrateError,
    format::{Format, LedgerRow},
    migration::Key,
    source::Source,
    status::{Entry, Reading, read},
};

/// What kind of thing was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FindingKind {
    /// `up` refuses this folder on this database altogether.
    Refused,
    /// The file is not what was applied.
    Changed,
    /// Begun and not finished.
    Unfinished,
    /// Not applied, while a later one is.
    Late,
    /// In the ledger, not in the folder.
    Unknown,
    /// Recorded more than once.
    Twice,
    /// Recorded under another number than the folder's.
    Misplaced,
    /// The recorded checksum is that of the same text with other line ends or byte order mark.
    Respelled,
    /// Recorded without a checksum, in a ledger that keeps them.
    Unhashed,
    /// Applied after one that comes later in the folder.
    Order,
}

impl FindingKind {
    /// The word used in output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Changed => "changed",
            Self::Unfinished => "unfinished",
            Self::Late => "late",
            Self::Unknown => "unknown",
            Self::Twice => "twice",
            Self::Misplaced => "misplaced",
            Self::Respelled => "respelled",
            Self::Unhashed => "unhashed",
            Self::Order => "order",
        }
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its kind.
    pub kind: FindingKind,
    /// The migration: its id, or its key in the ledger where the folder has none. Empty: the ledger as a whole.
    pub migration: String,
    /// Whether something should be done; else it is worth knowing.
    pub wrong: bool,
    /// What is so.
    pub what: String,
    /// What to do.
    pub next: String,
}

/// What a look at a ledger gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Whose folder and ledger.
    pub format: Format,
    /// The ledger's table, as people write it.
    pub ledger: String,
    /// Migrations of the folder that are applied.
    pub applied: usize,
    /// Those that are not.
    pub pending: usize,
    /// What was found, in the folder's order; what only the ledger has comes last.
    pub findings: Vec<Finding>,
    /// What this ledger keeps no record of, so that it was not looked at.
    pub unchecked: Vec<&'static str>,
}

impl Verified {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.findings.iter().all(|finding| !finding.wrong)
    }
}

/// Compares the ledger with the folder. Reads only.
///
/// # Errors
/// When the database can't be read.
pub async fn verify(source: &Source, database: &mut Database) -> Result<Verified, MigrateError> {
    let reading = read(source, database).await?;
    look(&reading, database).await
}

pub(crate) async fn look(reading: &Reading, database: &mut Database) -> Result<Verified, MigrateError> {
    let order = order(reading, database).await?;
    let mut findings: Vec<Finding> =
        reading.refused.iter().map(|refusal| refused(&refusal.to_string())).collect();
    for entry in &reading.entries {
        findings.extend(of_entry(reading, entry));
        findings
            .extend(order.iter().filter(|finding| finding.migration == entry.migration.id.as_str()).cloned());
    }
    findings.extend(reading.unknown.iter().map(|row| of_row(reading, row)));
    let applied = reading.entries.iter().filter(|entry| entry.applied).count();
    Ok(Verified {
        format: reading.format,
        ledger: reading.ledger(),
        applied,
        pending: reading.entries.len() - applied,
        findings,
        unchecked: unchecked(reading.format),
    })
}

fn refused(text: &str) -> Finding {
    // A refusal's own text ends with the next step.
    let (what, next) = text.split_once("; ").unwrap_or((text, "correct it, then run this again"));
    Finding {
        kind: FindingKind::Refused,
        migration: String::new(),
        wrong: true,
        what: what.to_owned(),
        next: next.to_owned(),
    }
}

/// Writes findings about one migration.
struct About<'a>(&'a str);

impl About<'_> {
    fn wrong(&self, kind: FindingKind, what: String, next: impl Into<String>) -> Finding {
        Finding { kind, migration: self.0.to_owned(), wrong: true, what, next: next.into() }
    }

    fn known(&self, kind: FindingKind, what: String, next: impl Into<String>) -> Finding {
        Finding { wrong: false, ..self.wrong(kind, what, next) }
    }
}

const ADOPT: &str = "`cutover migrate adopt --apply` mends the row";

fn of_entry(reading: &Reading, entry: &Entry) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (file, about) = (entry.migration.file.display(), About(entry.migration.id.as_str()));
    if entry.changed {
        let next = format!("restore it (`git log -- {file}`) and put the change into a new migration");
        findings.push(about.wrong(FindingKind::Changed, format!("{file} is not what was applied"), next));
    }
    if let Some(interrupted) = entry.interrupted(reading.format) {
        let text = interrupted.to_string();
        let (what, next) = text.split_once("; ").unwrap_or((&text, "`cutover migrate up` goes on with it"));
        findings.push(about.wrong(FindingKind::Unfinished, what.to_owned(), next));
    }
    if entry.late {
        findings.push(late(reading, entry, &about));
    }
    if let Some(row) = entry.recorded.as_ref().filter(|row| row.finished && !entry.changed) {
        findings.extend(of_record(reading, entry, row, &about));
    }
    findings
}

/// A migration that waits for its phase is not late: it was passed over on purpose.
fn late(reading: &Reading, entry: &Entry, about: &About<'_>) -> Finding {
    let waits =
        !reading.first_install && matches!(entry.phase.clear(), Some(Phase::Backfill | Phase::Contract));
    if waits {
        let what = "a later migration is applied; this one waits for its phase".to_owned();
        return about.known(
            FindingKind::Late,
            what,
            "`cutover migrate up --all` when no live release needs what it removes",
        );
    }
    let what = format!("not applied, though a later migration is; {}", elsewhere(reading, entry));
    about.wrong(
        FindingKind::Late,
        what,
        "look whether a later one replaces what it does; `cutover migrate up` applies it, in the folder's order, and says so",
    )
}

/// What the folder's own tool does with a migration that is merged late.
fn elsewhere(reading: &Reading, entry: &Entry) -> &'static str {
    let newest = reading.entries.iter().filter_map(|other| other.recorded.as_ref()).map(|row| &row.key);
    let older = |key: &Key| match (key, &entry.migration.key) {
        (Key::Number(newest), Key::Number(own)) => own <= newest,
        _ => false,
    };
    match reading.format {
        Format::Drizzle if newest.into_iter().any(older) => "drizzle-kit skips it for ever without a word",
        Format::Drizzle | Format::DrizzleFolders => "drizzle-kit applies it out of order without a word",
        Format::Sqlx => "sqlx applies it out of order without a word",
        Format::Dbmate => "dbmate applies it out of order without a word, or refuses with --strict",
        Format::Diesel => "diesel applies it out of order without a word",
        Format::Refinery => "refinery refuses to run until it is there",
        Format::GolangMigrate => "golang-migrate takes it for applied",
        Format::Own => "nothing else applies it",
    }
}

fn of_record(reading: &Reading, entry: &Entry, row: &LedgerRow, about: &About<'_>) -> Option<Finding> {
    let keeps_checksums = !entry.migration.recorded_checksum().is_empty();
    if row.key != entry.migration.key {
        let what = format!(
            "recorded under {}, but the folder says {}: {} may apply it again",
            row.key,
            entry.migration.key,
            reading.format.as_str()
        );
        return Some(about.wrong(FindingKind::Misplaced, what, ADOPT));
    }
    if keeps_checksums && row.checksum.is_empty() {
        let what = "recorded without a checksum, so a change of the file can't be seen".to_owned();
        return Some(about.known(FindingKind::Unhashed, what, ADOPT));
    }
    let respelled = keeps_checksums && !entry.migration.has_this_checksum(&row.checksum);
    // drizzle never compares, so the spelling hurts nobody there.
    let compared = matches!(reading.format, Format::Sqlx | Format::Refinery);
    (respelled && compared).then(|| {
        let what = format!(
            "only line ends or byte order mark differ from what was applied, but {} would refuse it",
            reading.format.as_str()
        );
        about.known(FindingKind::Respelled, what, ADOPT)
    })
}

fn of_row(reading: &Reading, row: &LedgerRow) -> Finding {
    let key = row.key.to_string();
    match reading.entry_of_surplus(row) {
        Some(entry) if entry.migration.key == row.key => About(entry.migration.id.as_str()).wrong(
            FindingKind::Twice,
            "recorded more than once: two runners applied it, or tried to".to_owned(),
            format!("look whether its effects are there twice; {ADOPT}"),
        ),
        Some(entry) => About(entry.migration.id.as_str()).known(
            FindingKind::Twice,
            format!("recorded again under {key}: its number was changed, and it was applied a second time"),
            "look whether its effects are there twice; the row itself hurts nobody",
        ),
        None if !row.finished => About(&key).wrong(
            FindingKind::Unfinished,
            "begun and not finished, and its file is not in the folder".to_owned(),
            "check out the release that has the file, and finish or undo it there",
        ),
        None => About(&key).wrong(
            FindingKind::Unknown,
            "in the ledger, but not in the folder: the database is newer, or the file was deleted".to_owned(),
            "check out the release that has the file, or restore it from git",
        ),
    }
}

/// Migrations applied after one that comes later in the folder, where the ledger keeps the order.
async fn order(reading: &Reading, database: &mut Database) -> Result<Vec<Finding>, MigrateError> {
    let layout = reading.format.layout();
    let query = layout.applied_order(database.rules(), &reading.table);
    let (Some(query), true, None) = (query, reading.ledger_exists, &reading.refused) else {
        return Ok(Vec::new());
    };
    let rows = database.session.fetch(&query).await;
    let rows = rows.map_err(|fault| database.records("reading the ledger's order", fault))?;
    let position = |row: LedgerRow| {
        reading.entries.iter().position(|entry| entry.recorded.as_ref().is_some_and(|own| own.key == row.key))
    };
    let mut findings = Vec::new();
    let mut furthest = None;
    for at in rows.iter().filter_map(|row| layout.row(row)).filter_map(position) {
        let Some(before) = furthest.filter(|furthest| at < *furthest) else {
            furthest = Some(at);
            continue;
        };
        let (id, later) = (&reading.entries[at].migration.id, &reading.entries[before].migration.id);
        findings.push(About(id.as_str()).known(
            FindingKind::Order,
            format!("was applied after {later}, which comes later in the folder"),
            "nothing to mend; a database built in the folder's order may differ, so compare the two schemas once",
        ));
    }
    Ok(findings)
}

fn unchecked(format: Format) -> Vec<&'static str> {
    match format {
        Format::GolangMigrate => vec![
            "golang-migrate's ledger keeps the newest version only: that every older migration was applied is taken for granted",
            "it keeps no checksums: a changed file can't be seen",
        ],
        Format::Dbmate => {
            vec!["dbmate's ledger keeps versions only: a changed file, and the order, can't be seen"]
        }
        Format::Diesel => vec!["diesel's ledger keeps no checksums: a changed file can't be seen"],
        Format::Own | Format::Drizzle | Format::DrizzleFolders | Format::Sqlx | Format::Refinery => {
            Vec::new()
        }
    }
}
