//! Another tool's ledger in the same database: running a history again over a database that has it can destroy data.
//!
//! golang-migrate, dbmate and others (Rails among them) call their ledger `schema_migrations`. golang-migrate's has a column
//! `dirty`; a table without it is taken for dbmate's only when it has a version of this folder.

use crate::{
    database::Database,
    dialect::{Dialect, Table},
    error::Refusal,
    fault::{Fault, FaultKind},
    format::{Format, LAYOUTS},
    source::Source,
};

/// The ledgers of every format but those that are in `table`.
pub(crate) fn ledgers_but(table: &Table, dialect: Dialect) -> Vec<(Format, Table)> {
    let mut known: Vec<(Format, Table)> = Vec::new();
    for layout in LAYOUTS {
        let (format, other) = (layout.format(), layout.table(dialect));
        // drizzle's two formats share one ledger, and each says so itself.
        let seen = known.iter().any(|(_, known)| *known == other) && format != Format::GolangMigrate;
        if other != *table && !seen {
            known.push((format, other));
        }
    }
    known
}

/// Whether the rows in this table are another format's: asked of each that is there when ours has no rows.
pub(crate) async fn has_rows_of(
    format: Format,
    table: &Table,
    source: &Source,
    database: &mut Database,
) -> Result<bool, Fault> {
    let rules = database.rules();
    let name = rules.table(table);
    let query = match format {
        Format::GolangMigrate => return Ok(dirty_rows(table, database).await? > Some(0)),
        Format::Dbmate if dirty_rows(table, database).await?.is_some() => return Ok(false),
        Format::Dbmate => {
            let stems = source.folder.migrations.iter().map(|migration| migration.id.as_str());
            let versions: Vec<_> = stems.map(leading_digits).filter(|digits| !digits.is_empty()).collect();
            if versions.is_empty() {
                return Ok(false);
            }
            format!("SELECT count(*) FROM {name} WHERE version IN {}", rules.list(&versions))
        }
        _ => format!("SELECT count(*) FROM {name}"),
    };
    match database.number(&query).await {
        Err(fault) if fault.kind == FaultKind::NoColumn => Ok(false),
        other => Ok(other? > Some(0)),
    }
}

/// dbmate's ledger where golang-migrate's is wanted, or the other way round: they have one name.
pub(crate) async fn is_the_namesake_s(
    format: Format,
    table: &Table,
    database: &mut Database,
) -> Result<Option<Refusal>, Fault> {
    let found = match format {
        Format::Dbmate if dirty_rows(table, database).await?.is_some() => Format::GolangMigrate,
        Format::GolangMigrate if dirty_rows(table, database).await?.is_none() => Format::Dbmate,
        _ => return Ok(None),
    };
    let table = database.rules().table(table);
    Ok(Some(Refusal::OtherLedger { found: found.as_str(), table, format: format.as_str() }))
}

/// Rows of golang-migrate's ledger; `None` when the table is not one.
async fn dirty_rows(table: &Table, database: &mut Database) -> Result<Option<i64>, Fault> {
    let name = database.rules().table(table);
    match database.number(&format!("SELECT count(dirty) FROM {name}")).await {
        Err(fault) if fault.kind == FaultKind::NoColumn => Ok(None),
        other => other,
    }
}

fn leading_digits(stem: &str) -> &str {
    let end = stem.find(|c: char| !c.is_ascii_digit()).unwrap_or(stem.len());
    &stem[..end]
}
