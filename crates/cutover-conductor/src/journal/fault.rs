//! What can go wrong underneath, and what that means to a caller of the journal.

use std::{io, path::Path};

use cutover_model::run::Illegal;

use crate::ports::JournalError;

/// A failure inside the journal, before its place and meaning are told.
#[derive(Debug)]
pub(super) enum Fault {
    /// SQLite's.
    Sql(sqlx::Error),
    /// A file's.
    Io(io::Error),
    /// Something isn't what was written.
    Damaged { seq: u64, what: String },
    /// Neither full nor damaged, and a sentence says why it can't be used.
    Unusable(String),
    /// An answer to the caller, not a failure.
    Answer(JournalError),
}

impl Fault {
    pub(super) fn damaged(seq: u64, what: String) -> Self {
        Self::Damaged { seq, what }
    }

    /// SQLite found damage, and does not know where.
    pub(super) fn is_damage(&self) -> bool {
        let Self::Sql(error) = self else { return false };
        matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_))
            || sqlite_code(error).is_some_and(|code| matches!(code & 0xff, CORRUPT | NOTADB))
    }

    /// An I/O failure that a retry on a fresh connection may pass: another process is just making or converting the file.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self, Self::Sql(error) if sqlite_code(error).is_some_and(|code| code & 0xff == BUSY))
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<JournalError> for Fault {
    fn from(error: JournalError) -> Self {
        Self::Answer(error)
    }
}

impl From<Illegal> for Fault {
    fn from(illegal: Illegal) -> Self {
        Self::Answer(JournalError::Illegal(illegal))
    }
}

// Result codes of https://www.sqlite.org/rescode.html; the low byte is the primary one.
const BUSY: i32 = 5;
const IOERR: i32 = 10;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const CANTOPEN: i32 = 14;
const NOTADB: i32 = 26;

fn sqlite_code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}

/// Tells a caller what a fault means for the journal at `place`. `trusted` is the newest event known to be sound.
pub(super) fn explain(fault: Fault, place: &Path, trusted: u64) -> JournalError {
    let place_text = place.display().to_string();
    let is_damage = fault.is_damage();
    let no_room = || {
        let volume = place.parent().and_then(|dir| rustix::fs::statvfs(dir).ok());
        // SQLite tells a failed write from a full disk only where the write itself said so, not where a file could not be
        // created or extended.
        volume.is_some_and(|volume| volume.f_bavail == 0 || (volume.f_files > 0 && volume.f_favail == 0))
    };
    match fault {
        Fault::Answer(answer) => answer,
        Fault::Sql(error) if is_damage => {
            JournalError::Corrupt { place: place_text, seq: trusted + 1, what: error.to_string() }
        }
        Fault::Damaged { seq, what } => JournalError::Corrupt { place: place_text, seq, what },
        Fault::Unusable(why) => JournalError::Unusable { place: place_text, source: why.into() },
        Fault::Io(error) => match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                JournalError::Full { place: place_text }
            }
            _ => JournalError::Unusable { place: place_text, source: Box::new(error) },
        },
        Fault::Sql(error) => match sqlite_code(&error).map(|code| code & 0xff) {
            Some(FULL) => JournalError::Full { place: place_text },
            Some(IOERR | CANTOPEN) if no_room() => JournalError::Full { place: place_text },
            _ => JournalError::Unusable { place: place_text, source: Box::new(error) },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_by_what_the_caller_can_do() {
        let place = Path::new("/nowhere/journal.db");
        let told = |fault| explain(fault, place, 6);
        assert!(matches!(told(Fault::Io(io::ErrorKind::StorageFull.into())), JournalError::Full { .. }));
        assert!(matches!(
            told(Fault::Io(io::ErrorKind::PermissionDenied.into())),
            JournalError::Unusable { .. }
        ));
        let JournalError::Corrupt { seq, place, .. } = told(Fault::Sql(sqlx::Error::Decode("odd".into())))
        else {
            panic!("not told as damage");
        };
        assert_eq!((seq, place.as_str()), (7, "/nowhere/journal.db"));
        assert!(matches!(told(Fault::Sql(sqlx::Error::WorkerCrashed)), JournalError::Unusable { .. }));
    }
}
