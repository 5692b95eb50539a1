//! What the plan and the conductor need to know of a migration: its id, its phase and its state, and the two rules
//! that keep old code alive: the *order* of phases in a release, and the *floor* below which nobody may roll back.
//!
//! ```text
//! a release's own pending migrations, in folder order
//!   expand … expand │ backfill … backfill │ contract … contract
//!   before the code │ online, after it    │ wait until nobody needs what they remove
//! ```
//! Why the order is a rule and not a sorting: a later file was written and tested on top of all earlier ones, so
//! taking an expand past a contract runs SQL in an order that nobody ever tried.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::id::ReleaseNumber;

/// Names one migration within its folder: the file's stem, drizzle's tag, or the folder's name.
///
/// 1 to [`MigrationId::MAX`] bytes, no control characters and no path separators, so that it can be shown, stored in
/// a ledger and joined to a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MigrationId(String);

/// Why a text is not a migration's id; the text says what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a migration's id: use 1 to {} bytes without `/`, `\\` and control characters", .0.escape_debug(), MigrationId::MAX)]
pub struct InvalidMigrationId(String);

impl MigrationId {
    /// The longest id, in bytes: what an indexed text column holds in each of the three databases.
    pub const MAX: usize = 190;

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MigrationId {
    type Err = InvalidMigrationId;
    fn from_str(text: &str) -> Result<Self, InvalidMigrationId> {
        let shaped = !text.is_empty() && text.len() <= Self::MAX;
        if shaped && !text.chars().any(|c| c.is_control() || c == '/' || c == '\\') {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidMigrationId(text.chars().take(64).collect()))
    }
}

impl TryFrom<String> for MigrationId {
    type Error = InvalidMigrationId;
    fn try_from(text: String) -> Result<Self, InvalidMigrationId> {
        text.parse()
    }
}

impl From<MigrationId> for String {
    fn from(id: MigrationId) -> String {
        id.0
    }
}

impl fmt::Display for MigrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl schemars::JsonSchema for MigrationId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MigrationId".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "minLength": 1, "maxLength": Self::MAX })
    }
}

/// When a migration may run, in the order in which a release runs them.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Old code keeps working: runs before the release's code.
    Expand,
    /// Changes data, not shape: runs online, after the code.
    Backfill,
    /// Old code breaks: waits until no live replica and no release one may return to needs what it removes.
    Contract,
}

impl Phase {
    /// The word used in headers, ledgers and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expand => "expand",
            Self::Backfill => "backfill",
            Self::Contract => "contract",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Phase {
    type Err = InvalidPhase;
    fn from_str(text: &str) -> Result<Self, InvalidPhase> {
        match text {
            "expand" => Ok(Self::Expand),
            "backfill" => Ok(Self::Backfill),
            "contract" => Ok(Self::Contract),
            _ => Err(InvalidPhase(text.chars().take(64).collect())),
        }
    }
}

/// A phase that is none of the three.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a phase: write expand, backfill or contract", .0.escape_debug())]
pub struct InvalidPhase(String);

/// Who said which phase a migration has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DecidedBy {
    /// A `-- phase: …` line in the migration: a person decided, and is believed.
    Header,
    /// Its SQL was read.
    Classification,
    /// The ledger remembers it; the file is not in the folder.
    Ledger,
}

/// Where a migration stands in one database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MigrationState {
    /// In the ledger, and the file is what was applied.
    Applied,
    /// In the folder, not in the ledger; the next `up` before code runs it.
    Pending,
    /// In the folder, not in the ledger; its phase makes it wait for later in the release.
    Held,
    /// In the ledger, but the file is not what was applied.
    Changed,
    /// In the ledger, not in the folder: the database is newer than the folder, or the file was deleted.
    Unknown,
}

impl MigrationState {
    /// The word used in output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Pending => "pending",
            Self::Held => "held",
            Self::Changed => "changed",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for MigrationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The phase of a whole migration, as far as it could be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "is", rename_all = "lowercase")]
pub enum PhaseReading {
    /// One phase.
    Clear {
        /// The phase.
        phase: Phase,
        /// Header or classification.
        by: DecidedBy,
    },
    /// Statements of several phases in one migration: it can be placed neither before nor after the code.
    Mixed {
        /// One statement of each phase found.
        found: Vec<PhaseEvidence>,
    },
    /// A statement whose effect can't be read from its text; a header must say.
    Unclear {
        /// Line of the statement in the file, 1 or more.
        line: u32,
        /// The statement's first words, no literals.
        summary: String,
    },
    /// A statement that fails or locks out writers on a table with rows, with the safe way to do the same.
    Unsafe {
        /// Line of the statement in the file, 1 or more.
        line: u32,
        /// The statement's first words, no literals.
        summary: String,
        /// What to write instead.
        instead: String,
    },
}

impl PhaseReading {
    /// The phase, when there is exactly one.
    pub fn clear(&self) -> Option<Phase> {
        match self {
            Self::Clear { phase, .. } => Some(*phase),
            _ => None,
        }
    }
}

/// A statement and the phase it stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PhaseEvidence {
    /// The phase of this statement.
    pub phase: Phase,
    /// Line of the statement in the file, 1 or more.
    pub line: u32,
    /// The statement's first words, no literals.
    pub summary: String,
}

/// One migration as `status`, `plan` and the conductor see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PlannedMigration {
    /// Its id.
    pub id: MigrationId,
    /// Its phase and who decided; `None` for one that is only in a ledger which keeps no phases.
    pub phase: Option<PhaseReading>,
    /// Where it stands.
    pub state: MigrationState,
    /// The first words of each statement, without literals; empty for one that is only in the ledger.
    pub statements: Vec<String>,
    /// Anything a person must know before going on: applied late, half done, not in the folder.
    pub notes: Vec<String>,
}

/// Why a release's migrations can't be placed around its code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "kebab-case")]
pub enum OrderRefused {
    /// A migration with statements of several phases.
    #[error(
        "migration {id} mixes phases: {}; split it into one migration per phase, or say which it is with a first line `-- phase: …`",
        listed(.found)
    )]
    Mixed {
        /// The migration.
        id: MigrationId,
        /// One statement of each phase.
        found: Vec<PhaseEvidence>,
    },
    /// A statement whose effect can't be read.
    #[error(
        "migration {id}, line {line}: the phase of `{summary}` can't be told from its text; say it with a first line `-- phase: expand`, `backfill` or `contract`"
    )]
    Unclear {
        /// The migration.
        id: MigrationId,
        /// Line of the statement.
        line: u32,
        /// Its first words.
        summary: String,
    },
    /// A statement that is not safe on a table with rows.
    #[error(
        "migration {id}, line {line}: `{summary}` fails on a table with rows and breaks the code that is live; {instead}"
    )]
    Unsafe {
        /// The migration.
        id: MigrationId,
        /// Line of the statement.
        line: u32,
        /// Its first words.
        summary: String,
        /// What to write instead.
        instead: String,
    },
    /// A later phase stands before an earlier one.
    #[error(
        "{late_phase} migration {late} comes before {early_phase} migration {early}: release the commit up to {late} first, let it finish its {late_phase} step, then release the rest"
    )]
    OutOfOrder {
        /// The one that must wait.
        late: MigrationId,
        /// Its phase.
        late_phase: Phase,
        /// The one that may not overtake it.
        early: MigrationId,
        /// Its phase.
        early_phase: Phase,
    },
}

fn listed(found: &[PhaseEvidence]) -> String {
    let parts: Vec<_> =
        found.iter().map(|e| format!("line {} is {} (`{}`)", e.line, e.phase, e.summary)).collect();
    parts.join(", ")
}

/// A release's pending migrations, each where it runs. Order within each list is the folder's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// Run before the code.
    pub expand: Vec<MigrationId>,
    /// Run online after the code.
    pub backfill: Vec<MigrationId>,
    /// Wait for rule 3.
    pub contract: Vec<MigrationId>,
    /// Backfill and contract migrations that the live release already brought and that have not run yet. They keep
    /// waiting, and do not stand in the way of this release's expand migrations.
    pub carried: Vec<MigrationId>,
}

/// Places pending migrations (in folder order) around the code, or says why that can't be done.
///
/// `carried(id)` says that the release that is live now already had this migration in its folder; such a contract
/// migration waits for *its* release's window, not for this one's, so it is no reason to refuse.
///
/// # Errors
/// The first reason in folder order.
pub fn place<'a>(
    pending: impl IntoIterator<Item = (&'a MigrationId, &'a PhaseReading)>,
    carried: impl Fn(&MigrationId) -> bool,
) -> Result<Placed, OrderRefused> {
    let mut placed = Placed::default();
    let mut latest: Option<(&MigrationId, Phase)> = None;
    for (id, reading) in pending {
        let phase = clear_phase(id, reading)?;
        if phase != Phase::Expand && carried(id) {
            placed.carried.push(id.clone());
            continue;
        }
        if let Some((late, late_phase)) = latest.filter(|(_, latest)| *latest > phase) {
            return Err(OrderRefused::OutOfOrder {
                late: late.clone(),
                late_phase,
                early: id.clone(),
                early_phase: phase,
            });
        }
        latest = Some((id, phase));
        match phase {
            Phase::Expand => placed.expand.push(id.clone()),
            Phase::Backfill => placed.backfill.push(id.clone()),
            Phase::Contract => placed.contract.push(id.clone()),
        }
    }
    Ok(placed)
}

fn clear_phase(id: &MigrationId, reading: &PhaseReading) -> Result<Phase, OrderRefused> {
    let id = id.clone();
    match reading {
        PhaseReading::Clear { phase, .. } => Ok(*phase),
        PhaseReading::Mixed { found } => Err(OrderRefused::Mixed { id, found: found.clone() }),
        PhaseReading::Unclear { line, summary } => {
            Err(OrderRefused::Unclear { id, line: *line, summary: summary.clone() })
        }
        PhaseReading::Unsafe { line, summary, instead } => {
            Err(OrderRefused::Unsafe { id, line: *line, summary: summary.clone(), instead: instead.clone() })
        }
    }
}

/// A past release, as the floor rule sees it: its number and every migration its folder had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleasedWith {
    /// The release.
    pub release: ReleaseNumber,
    /// All ids in its migration folder, applied or not.
    pub migrations: BTreeSet<MigrationId>,
}

/// The oldest release that may still be rolled back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Floor {
    /// No contract migration is applied: any release.
    None,
    /// This release and those after it that are `>=` it.
    At(ReleaseNumber),
    /// A contract migration is applied that no past release had in its folder: none of them.
    AboveAll,
}

impl Floor {
    /// Whether one may roll back to this release.
    pub fn allows(self, release: ReleaseNumber) -> bool {
        match self {
            Self::None => true,
            Self::At(floor) => release >= floor,
            Self::AboveAll => false,
        }
    }
}

/// The floor: the newest, over all applied contract migrations, of the first release that had the migration in its
/// folder. Such a release was written knowing the removal; nothing older is known to live without what was removed.
/// The rule and what it gives up are in `docs/design/rollback-floor.md`.
///
/// `releases` in any order; a release missing from it can only raise the floor, never lower it.
pub fn floor<'a>(
    releases: &[ReleasedWith],
    applied_contracts: impl IntoIterator<Item = &'a MigrationId>,
) -> Floor {
    let mut floor = Floor::None;
    for contract in applied_contracts {
        let first = releases.iter().filter(|r| r.migrations.contains(contract)).map(|r| r.release).min();
        let Some(first) = first else { return Floor::AboveAll };
        floor = match floor {
            Floor::At(other) if other >= first => floor,
            _ => Floor::At(first),
        };
    }
    floor
}

/// The releases that forbid a contract migration now: those still needed (live, or kept to return to) whose folder
/// does not have it. Empty means that it may run.
pub fn needed_by(contract: &MigrationId, needed: &[ReleasedWith]) -> Vec<ReleaseNumber> {
    let mut releases: Vec<_> =
        needed.iter().filter(|r| !r.migrations.contains(contract)).map(|r| r.release).collect();
    releases.sort_unstable();
    releases.dedup();
    releases
}

#[cfg(test)]
#[path = "migration_tests.rs"]
mod tests;
