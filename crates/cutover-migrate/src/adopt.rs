//! Taking a database over from the tool that migrated it, in place: what its ledger says wrongly, and the mending of it.
//!
//! ```text
//! look ── report ──(apply)── lock ── look again ── BEGIN ─ rows of the ledger ─ fence ─ COMMIT ── look again
//! ```
//! Only rows of the ledger are changed, and only those whose right content is known from the folder: a number, a checksum, a
//! surplus copy. What a person must decide (a changed file, a dirty row) and what `up` does (a late migration) is reported
//! and left. The ledger stays the tool's own, so it finds nothing wrong afterwards either.

use serde::Serialize;

use crate::{
    database::Database,
    dialect::Rules,
    error::{MigrateError, Refusal},
    fault::Fault,
    lock::{self, Claim, Held, Peer, Taking},
    source::Source,
    status::{Reading, read},
    up::Options,
    verify::{Verified, look},
};

/// A ledger row that is mended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mending {
    /// The migration.
    pub migration: String,
    /// What becomes of its row.
    pub what: String,
    #[serde(skip)]
    sql: String,
}

/// What taking over found and did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Adoption {
    /// What the ledger says; after mending, what is left.
    pub verified: Verified,
    /// Rows that are mended, or would be.
    pub mendings: Vec<Mending>,
    /// Whether they were.
    pub applied: bool,
}

/// Looks at what the tool before left, and with `apply` mends the rows whose right content is known.
///
/// Cancel safety: dropping the future takes the mending back as a whole.
///
/// # Errors
/// A database that can't be read or written, or a lock that somebody else has; nothing was changed then.
pub async fn adopt(
    source: &Source,
    database: &mut Database,
    apply: Option<&Options>,
) -> Result<Adoption, MigrateError> {
    let reading = read(source, database).await?;
    let mendings = mendings(&reading, database.rules());
    let Some(options) = apply.filter(|_| !mendings.is_empty()) else {
        let verified = look(&reading, database).await?;
        return Ok(Adoption { verified, mendings, applied: apply.is_some() });
    };
    let claim = Claim {
        holder: &options.holder,
        lease: options.lease,
        peer: Peer::of(reading.format, &reading.table),
    };
    let taking = lock::try_take(database, &claim).await;
    let held = match taking.map_err(|fault| database.records("taking the migration lock", fault))? {
        Taking::Taken(held) => held,
        Taking::Busy { holder, held } => return Err(Refusal::Locked { holder, held }.into()),
    };
    let mended = mend(source, database, &held).await;
    held.release(database).await;
    let mendings = mended?;
    let reading = read(source, database).await?;
    Ok(Adoption { verified: look(&reading, database).await?, mendings, applied: true })
}

/// With the lock: what was read before may be old, so it is read again.
async fn mend(source: &Source, database: &mut Database, held: &Held) -> Result<Vec<Mending>, MigrateError> {
    let reading = read(source, database).await?;
    let rules = database.rules();
    let mendings = mendings(&reading, rules);
    let done = in_one_transaction(database, held, &mendings).await;
    match done.map_err(|fault| database.records("mending the ledger", fault))? {
        true => Ok(mendings),
        false => Err(Refusal::LostTooOften { times: 1 }.into()),
    }
}

/// False when the lock was lost: nothing was changed.
async fn in_one_transaction(
    database: &mut Database,
    held: &Held,
    mendings: &[Mending],
) -> Result<bool, Fault> {
    let rules = database.rules();
    database.session.execute(rules.begin()).await?;
    let mut done = Ok(0);
    for mending in mendings {
        done = database.session.execute(&mending.sql).await;
        if done.is_err() {
            break;
        }
    }
    if done.is_ok() {
        done = database.session.execute(&held.fence(rules)).await;
    }
    let end = if matches!(done, Ok(1)) { "COMMIT" } else { "ROLLBACK" };
    let ended = database.session.execute(end).await;
    let fenced = done? == 1;
    ended.map(|_| fenced)
}

/// What can be put right from the folder alone. Pure.
fn mendings(reading: &Reading, rules: &dyn Rules) -> Vec<Mending> {
    if reading.refused.is_some() || !reading.ledger_exists {
        return Vec::new();
    }
    let layout = reading.format.layout();
    let mut mendings = Vec::new();
    for entry in reading.entries.iter().filter(|entry| entry.applied && !entry.changed) {
        let surplus: Vec<_> = reading.unknown.iter().filter(|row| row.key == entry.migration.key).collect();
        let Some(row) = &entry.recorded else { continue };
        let mut add = |what: String, sql: Option<String>| {
            mendings.extend(sql.map(|sql| Mending { migration: entry.migration.id.to_string(), what, sql }));
        };
        for extra in surplus {
            let sql = layout.drop_surplus(rules, &reading.table, row, extra);
            add("its surplus row goes".to_owned(), sql);
        }
        let wanted = entry.migration.recorded_checksum();
        let same_checksum = wanted.is_empty() || entry.migration.has_this_checksum(&row.checksum);
        if row.key == entry.migration.key && same_checksum {
            continue;
        }
        let what = if row.key == entry.migration.key {
            "gets the checksum of the file as it is".to_owned()
        } else {
            format!("is recorded under {} instead of {}", entry.migration.key, row.key)
        };
        add(what, layout.mend(rules, &reading.table, &entry.migration, row));
    }
    mendings
}
