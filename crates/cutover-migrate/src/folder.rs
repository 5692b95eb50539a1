//! Reading a migration folder: bounded, UTF-8 only, and every refusal names the file and what would be right.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

use cutover_model::migration::{InvalidMigrationId, InvalidPhase, MigrationId, Phase};

use crate::{migration::Migration, sql::header_phase};

/// The largest migration file read, in bytes.
pub const FILE_MAX: u64 = 16 * 1024 * 1024;

/// The most names looked at in a folder.
const NAMES_MAX: usize = 100_000;

/// Why a migration folder can't be used. Nothing was read from any database yet.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The folder is not there or can't be read.
    #[error("the migration folder {} can't be read: {cause}", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A file can't be read.
    #[error("{} can't be read: {cause}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// More names than anyone wrote by hand.
    #[error("{} has more than {NAMES_MAX} entries; is it the migration folder?", .path.display())]
    TooMany {
        /// The folder.
        path: PathBuf,
    },
    /// A file that is too large to be a migration.
    #[error("{} is larger than {} MiB; load data by another way than a migration", .path.display(), FILE_MAX / 1024 / 1024)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Not UTF-8.
    #[error("{} is not UTF-8 text (first bad byte at offset {at}); save it as UTF-8", .path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Offset of the first bad byte.
        at: usize,
    },
    /// A name that its format does not know.
    #[error("{} has a name that can't be ordered; {rule}", .path.display())]
    Name {
        /// The file or folder.
        path: PathBuf,
        /// What would be right.
        rule: &'static str,
    },
    /// A name that is no id.
    #[error("{}: {cause}", .path.display())]
    Id {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        cause: InvalidMigrationId,
    },
    /// Two migrations with one number.
    #[error("{} and {} have the same number; give the newer one the next number", .first.display(), .second.display())]
    Duplicate {
        /// One of them.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// A `-- phase:` header with another word.
    #[error("{}, line {line}: {cause}", .path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// Its line, 1 or more.
        line: u32,
        /// Why.
        cause: InvalidPhase,
    },
    /// drizzle's journal is not what it should be.
    #[error("{} is not a drizzle journal: {cause}", .path.display())]
    Journal {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: serde_json::Error,
    },
    /// drizzle's journal is for a database that Cutover does not know.
    #[error("{} is for `{}`; Cutover knows postgresql, mysql, sqlite and turso", .path.display(), .found.escape_debug())]
    Dialect {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: String,
    },
    /// drizzle's journal names a file that is not there.
    #[error("{} names {}, which is missing; restore it from git, or run drizzle-kit drop to take the entry out", .named_in.display(), .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The journal.
        named_in: PathBuf,
    },
    /// `sqlx.toml` is not what it should be.
    #[error("{}: {cause}", .path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: Box<toml::de::Error>,
    },
}

/// The names in a folder, sorted; those that are not UTF-8 are left out, as no format has such.
pub(crate) fn names(dir: &Path) -> Result<Vec<String>, SourceError> {
    let failed = |cause| SourceError::Folder { path: dir.to_owned(), cause };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        names.extend(entry.map_err(failed)?.file_name().into_string());
        if names.len() > NAMES_MAX {
            return Err(SourceError::TooMany { path: dir.to_owned() });
        }
    }
    names.sort();
    Ok(names)
}

/// A file's text, as it is.
pub(crate) fn text(path: &Path) -> Result<String, SourceError> {
    let failed = |cause| SourceError::File { path: path.to_owned(), cause };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(SourceError::TooLarge { path: path.to_owned() });
    }
    String::from_utf8(bytes)
        .map_err(|error| SourceError::NotUtf8 { path: path.to_owned(), at: error.utf8_error().valid_up_to() })
}

pub(crate) fn id(text: &str, path: &Path) -> Result<MigrationId, SourceError> {
    text.parse().map_err(|cause| SourceError::Id { path: path.to_owned(), cause })
}

pub(crate) fn phase(sql: &str, path: &Path) -> Result<Option<Phase>, SourceError> {
    header_phase(sql).map_err(|(line, cause)| SourceError::Header { path: path.to_owned(), line, cause })
}

/// Migrations in the order of their versions, each of which may stand there once.
pub(crate) fn in_order<V: Ord>(mut versioned: Vec<(V, Migration)>) -> Result<Vec<Migration>, SourceError> {
    versioned.sort_by(|(one, _), (other, _)| one.cmp(other));
    for pair in versioned.windows(2) {
        if pair[0].0 == pair[1].0 {
            let (first, second) = (pair[0].1.file.clone(), pair[1].1.file.clone());
            return Err(SourceError::Duplicate { first, second });
        }
    }
    Ok(versioned.into_iter().map(|(_, migration)| migration).collect())
}

pub(crate) fn unique_ids(migrations: &[Migration]) -> Result<(), SourceError> {
    let mut seen = std::collections::HashMap::new();
    for migration in migrations {
        if let Some(first) = seen.insert(&migration.id, &migration.file) {
            return Err(SourceError::Duplicate { first: first.clone(), second: migration.file.clone() });
        }
    }
    Ok(())
}
