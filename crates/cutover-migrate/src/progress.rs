//! How far a migration came whose statements commit one by one (MySQL's changes of shape, `-- no-transaction`).
//!
//! ```text
//! [done = 0, running] ── statement 1 ── [done = 1, running] ── statement 2 ── [forget, ledger row]
//! ```
//! Each bracket is one commit with the fence. `running` says that the next statement may have been begun: after a cut there,
//! whether it took effect can't be known, and only then is a person asked. A statement that a transaction can hold runs inside
//! the bracket after it, so for such a one `running` is not set and nobody is asked.
//! The row is deleted together with the ledger's being written.

use sha2::{Digest, Sha256};

use crate::{
    database::Database,
    dialect::{Rules, Table},
    fault::Fault,
    migration::hex,
    sql::Statement,
};

/// One half-done migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) migration: String,
    /// Statements done, from the first on.
    pub(crate) done: u32,
    /// The next one was begun, and its end not recorded.
    pub(crate) running: bool,
    /// Digest of the statements done.
    prefix: String,
}

impl Progress {
    /// Whether the file still begins with the statements that are done.
    pub(crate) fn is_prefix_of(&self, statements: &[Statement]) -> bool {
        statements.get(..self.done as usize).is_some_and(|done| digest(done) == self.prefix)
    }
}

fn digest(statements: &[Statement]) -> String {
    let mut digest = Sha256::new();
    for statement in statements {
        digest.update(statement.sql.as_bytes());
        digest.update([0]);
    }
    hex(&digest.finalize())
}

pub(crate) fn table() -> Table {
    Table::plain("_cutover_progress")
}

pub(crate) fn create(rules: &dyn Rules) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {} (migration varchar(190) NOT NULL PRIMARY KEY, done int NOT NULL, running int NOT NULL, \
         prefix varchar(64) NOT NULL)",
        rules.table(&table())
    )
}

pub(crate) async fn read(database: &mut Database) -> Result<Vec<Progress>, Fault> {
    let table = database.rules().table(&table());
    let rows =
        database.session.fetch(&format!("SELECT migration, done, running, prefix FROM {table}")).await?;
    let read = |row: &crate::dialect::Row| {
        Some(Progress {
            migration: row.first()?.text()?.to_owned(),
            done: u32::try_from(row.get(1)?.int()?).ok()?,
            running: row.get(2)?.int()? == 1,
            prefix: row.get(3)?.text()?.to_owned(),
        })
    };
    Ok(rows.iter().filter_map(read).collect())
}

/// Statements that record how far a migration is; run them in one transaction with the fence.
pub(crate) fn record(
    rules: &dyn Rules,
    migration: &str,
    statements: &[Statement],
    done: usize,
    running: bool,
) -> Vec<String> {
    let done_statements = statements.get(..done).unwrap_or(statements);
    let values = [
        rules.literal(&migration.into()),
        done.to_string(),
        i32::from(running).to_string(),
        rules.literal(&digest(done_statements).as_str().into()),
    ];
    let into = format!(
        "{} (migration, done, running, prefix) VALUES ({})",
        rules.table(&table()),
        values.join(", ")
    );
    vec![forget(rules, migration), format!("INSERT INTO {into}")]
}

pub(crate) fn forget(rules: &dyn Rules, migration: &str) -> String {
    format!("DELETE FROM {} WHERE migration = {}", rules.table(&table()), rules.literal(&migration.into()))
}
