//! A migration folder, recognised and read.
//!
//! Whose folder it is: what was said (`format = …`), else a mark that only one tool leaves, else Cutover's own. sqlx's plain
//! files look like Cutover's, and golang-migrate's like sqlx's reversible ones; such a folder is taken for what the ledger
//! in the database says.
//! See `docs/design/migration-formats.md`.

use std::path::{Path, PathBuf};

use cutover_model::migration::{MigrationId, Phase};

use crate::{
    dialect::{Dialect, Table},
    folder::{self, SourceError},
    format::{Folder, Format, LAYOUTS, sqlx::REVERSIBLE},
    migration::Migration,
};

/// Why a folder is read as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recognised {
    /// It was said.
    Said,
    /// This in the folder.
    By(String),
    /// Nothing marks it: Cutover's own, unless the database has another ledger.
    Unmarked,
}

/// A migration folder's content. Reading it again is the only way to see later changes.
#[derive(Debug)]
pub struct Source {
    dir: PathBuf,
    format: Format,
    recognised: Recognised,
    pub(crate) folder: Folder,
}

impl Source {
    /// Reads a folder. Blocking file access, bounded by [`folder::FILE_MAX`] a file.
    ///
    /// # Errors
    /// The first file or name that its format does not allow.
    pub fn open(dir: impl Into<PathBuf>, format: Option<Format>) -> Result<Self, SourceError> {
        let dir = dir.into();
        let names = folder::names(&dir)?;
        let (format, recognised) = match format {
            Some(format) => (format, Recognised::Said),
            None => recognise(&dir, &names),
        };
        let folder = format.layout().read(&dir)?;
        Ok(Self { dir, format, recognised, folder })
    }

    /// The same files read as another tool's, when the database says that they are and the folder allows it: plain
    /// files may be sqlx's, reversible ones golang-migrate's.
    pub(crate) fn as_the_database_says(&self, found: &str) -> Option<Result<Self, SourceError>> {
        let format = match (self.format, &self.recognised) {
            (Format::Own, Recognised::Unmarked) => Format::Sqlx,
            (Format::Sqlx, Recognised::By(mark)) if REVERSIBLE.iter().any(|end| mark.ends_with(end)) => {
                Format::GolangMigrate
            }
            _ => return None,
        };
        if format.as_str() != found {
            return None;
        }
        let recognised = Recognised::By("the ledger in the database".into());
        let read = format.layout().read(&self.dir);
        Some(read.map(|folder| Self { dir: self.dir.clone(), format, recognised, folder }))
    }

    /// Uses a ledger of another name, as drizzle's configuration can: `table` or `schema.table`.
    #[must_use]
    pub fn with_ledger(mut self, name: &str) -> Self {
        self.folder.table = Some(match name.split_once('.') {
            Some((schema, name)) => Table { schema: Some(schema.to_owned()), name: name.to_owned() },
            None => Table::plain(name),
        });
        self
    }

    /// Where it was read.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whose format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Why that format.
    pub fn recognised(&self) -> &Recognised {
        &self.recognised
    }

    /// The database the folder is written for, where it says so.
    pub fn dialect(&self) -> Option<Dialect> {
        self.folder.dialect
    }

    /// All migrations' ids in the order in which they are applied.
    pub fn ids(&self) -> Vec<MigrationId> {
        self.folder.migrations.iter().map(|m| m.id.clone()).collect()
    }

    /// The schema head that code of this folder expects: its last expand migration. `None` when it has none.
    pub fn head(&self, dialect: Dialect) -> Option<MigrationId> {
        let is_expand =
            |m: &&Migration| m.phase(&m.statements(dialect), dialect).clear() == Some(Phase::Expand);
        self.folder.migrations.iter().rev().find(is_expand).map(|m| m.id.clone())
    }

    pub(crate) fn table(&self, dialect: Dialect) -> Table {
        self.folder.table.clone().unwrap_or_else(|| self.format.layout().table(dialect))
    }
}

fn recognise(dir: &Path, names: &[String]) -> (Format, Recognised) {
    let marked = LAYOUTS.iter().find_map(|layout| Some((layout.format(), layout.mark(dir, names)?)));
    match marked {
        Some((format, mark)) => (format, Recognised::By(mark)),
        None => (Format::Own, Recognised::Unmarked),
    }
}
