//! Why migrations were refused, failed, or could not be reached; every message ends with the next step.

use std::{fmt, path::PathBuf, time::Duration};

use cutover_model::migration::{MigrationId, OrderRefused};

use crate::{
    address::{InvalidUrl, Place},
    dialect::Dialect,
    fault::Fault,
    folder::SourceError,
    format::Format,
};

/// What the caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Nothing was changed: the folder, the order, the ledger or the lock forbids it.
    Refused,
    /// A migration was begun and its SQL failed; the error says what is left.
    Failed,
    /// The database can't be reached, or was lost.
    Unreachable,
}

/// Any error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// The folder.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The URL.
    #[error(transparent)]
    Url(#[from] InvalidUrl),
    /// A rule.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A migration's own SQL.
    #[error(transparent)]
    Failed(Box<Failure>),
    /// The way to the database.
    #[error(
        "cannot reach {place}: {fault}; nothing was changed by this attempt. Check that the server runs and the URL is right (`cutover doctor`)"
    )]
    Unreachable {
        /// Where.
        place: Place,
        /// Why.
        #[source]
        fault: Fault,
    },
    /// Reading or writing Cutover's records, or the ledger.
    #[error("{doing} in {place} failed: {fault}; no migration was begun by it. {next}")]
    Records {
        /// Where.
        place: Place,
        /// What was being done.
        doing: &'static str,
        /// Why.
        #[source]
        fault: Fault,
        /// The next step.
        next: &'static str,
    },
}

impl MigrateError {
    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Source(_) | Self::Url(_) | Self::Refused(_) => ErrorKind::Refused,
            Self::Failed(failure) if failure.is_lost() => ErrorKind::Unreachable,
            Self::Failed(_) => ErrorKind::Failed,
            Self::Unreachable { .. } => ErrorKind::Unreachable,
            Self::Records { fault, .. } if fault.is_lost() => ErrorKind::Unreachable,
            Self::Records { .. } => ErrorKind::Failed,
        }
    }
}

/// A rule that forbids going on. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Phases.
    #[error(transparent)]
    Order(#[from] OrderRefused),
    /// A file that is not what was applied.
    #[error(
        "{} changed after migration {id} was applied; restore it (`git log -- {}`) and put the change into a new migration",
        .file.display(), .file.display()
    )]
    Changed {
        /// The migration.
        id: MigrationId,
        /// Its file.
        file: PathBuf,
    },
    /// A statement that ends Cutover's transaction.
    #[error(
        "{}, line {line}: `{summary}` would end the transaction that holds the migration and its ledger row; take it out, or begin the file with `-- no-transaction`",
        .file.display()
    )]
    Transaction {
        /// The file.
        file: PathBuf,
        /// Its line, 1 or more.
        line: u32,
        /// The statement's first words.
        summary: String,
    },
    /// Something that only a database's own client understands.
    #[error("{}, line {line}: {what}; {instead}", .file.display())]
    ClientCommand {
        /// The file.
        file: PathBuf,
        /// Its line, 1 or more.
        line: u32,
        /// What it is.
        what: &'static str,
        /// What to write instead.
        instead: &'static str,
    },
    /// drizzle 1.0's folder with a ledger that drizzle 0.x made.
    #[error(
        "the ledger `{table}` is from drizzle 0.x and the folder from drizzle 1.0; run `drizzle-kit migrate` once, which upgrades the ledger, then run this again"
    )]
    OldLedger {
        /// The table.
        table: String,
    },
    /// A migration that can't be taken back was cut off.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// Someone else migrates, for longer than one wanted to wait.
    #[error(
        "{holder} has been migrating this database for {} s; nothing was changed. Wait and run the command again; the lock goes with its owner",
        .held.as_secs()
    )]
    Locked {
        /// Who.
        holder: String,
        /// For how long, by the server's clock.
        held: Duration,
    },
    /// The folder is written for another database.
    #[error("the migration folder is for {folder}, the database is {database}; correct the migrations' dir or database", folder = .folder.as_str(), database = .database.as_str())]
    Dialect {
        /// What the folder says.
        folder: Dialect,
        /// What the URL says.
        database: Dialect,
    },
    /// Another tool's ledger has rows, this format's has none.
    #[error(
        "this database was migrated by {found} (its ledger `{table}` has rows), but the folder is read as {format}; set `format = \"{found}\"` for the migrations"
    )]
    OtherLedger {
        /// Whose ledger has rows.
        found: &'static str,
        /// The table.
        table: String,
        /// How the folder is read.
        format: &'static str,
    },
    /// A ledger that keeps one version can't say that an earlier migration still waits.
    #[error(
        "{held} waits and {next} would run before it, but {format}'s ledger keeps the newest version only and would take {held} for applied;          let {held} run first (`cutover migrate up --all` when no live release needs what it removes), or give it a higher number"
    )]
    Gap {
        /// The one that waits.
        held: MigrationId,
        /// The one that would run.
        next: MigrationId,
        /// Whose ledger.
        format: &'static str,
    },
    /// Other runners took the lock over again and again, each time after its lease had run out.
    #[error(
        "the lock on the migrations was lost {times} times to other runners; nothing was left half done. Run the command again when fewer run"
    )]
    LostTooOften {
        /// How often.
        times: u32,
    },
}

/// A migration whose statements commit one by one was cut off in the middle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct Interrupted {
    /// The migration.
    pub id: MigrationId,
    /// Its file.
    pub file: PathBuf,
    /// Statements that are done, from the first on; `None` when another tool began it and kept no count.
    pub done: Option<u32>,
    /// Statements in the file.
    pub of: u32,
    /// Line of the statement that was running when it was cut off, if one was.
    pub running_line: Option<u32>,
    /// The statements that are done are no longer what the file begins with.
    pub edited: bool,
    /// Whose ledger it is.
    pub format: Format,
}

impl Interrupted {
    fn text(&self) -> String {
        let file = self.file.display();
        let Some(done) = self.done else {
            if self.format == Format::GolangMigrate {
                let version = self.id.as_str().split('_').next().unwrap_or_default();
                return format!(
                    "golang-migrate's ledger is dirty at migration {}: it was begun and not finished, and how far it came is not \
                     known; compare {file} with the database. Finish it by hand and say so with `migrate force {version}`, or undo it \
                     by hand and `migrate force` the version before it (-1 when there is none); then run `cutover migrate up`",
                    self.id
                );
            }
            return format!(
                "migration {} was begun by another tool and not finished, and how far it came is not known; compare {file} with the \
                 database, undo or finish it by hand, then delete or complete its row in the ledger and run `cutover migrate up`",
                self.id
            );
        };
        if self.edited {
            return format!(
                "migration {} is half done ({done} of {} statements), and what is done was edited in {file} since; restore the first \
                 {done} statements, change only what comes after, and run `cutover migrate up`",
                self.id, self.of
            );
        }
        let line = self.running_line.unwrap_or(1);
        format!(
            "migration {} was cut off while statement {} of {} ({file}, line {line}) was running: the {done} before it are done and \
             kept, whether this one is can't be known here; look at the database, then run `cutover migrate up --interrupted done` or \
             `--interrupted not-done`",
            self.id,
            done + 1,
            self.of
        )
    }
}

/// A migration's SQL failed.
#[derive(Debug, thiserror::Error)]
pub struct Failure {
    /// The migration.
    pub id: MigrationId,
    /// Its file.
    pub file: PathBuf,
    /// The statement, where it was one; recording it may fail too.
    pub statement: Option<FailedStatement>,
    /// What the database said.
    #[source]
    pub fault: Fault,
    /// Migrations that this call applied before, oldest first. They stay.
    pub applied: Vec<MigrationId>,
    /// What is left of the one that failed.
    pub left: Left,
}

impl Failure {
    fn is_lost(&self) -> bool {
        self.fault.is_lost()
    }
}

/// Which statement failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedStatement {
    /// 1 or more.
    pub number: u32,
    /// Statements in the file.
    pub of: u32,
    /// Line in the file, 1 or more.
    pub line: u32,
    /// Its first words, no literals.
    pub summary: String,
}

/// What is left of a migration that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Nothing: it was taken back.
    Nothing,
    /// The first so many statements, which this database can't take back.
    Statements(u32),
    /// The connection broke at the commit: the ledger tells.
    Unknown,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "migration {} failed", self.id)?;
        match &self.statement {
            Some(s) => write!(
                f,
                " at statement {} of {} ({}, line {}: `{}`)",
                s.number,
                s.of,
                self.file.display(),
                s.line,
                s.summary
            )?,
            None => write!(f, " ({})", self.file.display())?,
        }
        write!(f, ": {}. ", self.fault)?;
        match self.left {
            Left::Nothing => write!(f, "Nothing of it was kept")?,
            Left::Statements(0) => write!(f, "None of its statements took effect")?,
            Left::Statements(done) => {
                write!(f, "Its first {done} statements are done and can't be taken back")?;
            }
            Left::Unknown => write!(f, "Whether it was committed is not known here")?,
        }
        match self.applied.as_slice() {
            [] => write!(f, "; nothing else was changed. ")?,
            applied => {
                let names: Vec<_> = applied.iter().map(MigrationId::as_str).collect();
                write!(f, "; applied before it, and kept: {}; nothing after it was run. ", names.join(", "))?;
            }
        }
        match self.left {
            Left::Unknown => {
                write!(f, "See with `cutover migrate status`, then run `cutover migrate up` again")
            }
            Left::Statements(1..) => {
                write!(
                    f,
                    "Correct the statement that failed and run `cutover migrate up` again: it goes on from there"
                )
            }
            _ if self.is_lost() => write!(f, "Run `cutover migrate up` again when the database is back"),
            _ => write!(f, "Correct the file and run `cutover migrate up` again"),
        }
    }
}
