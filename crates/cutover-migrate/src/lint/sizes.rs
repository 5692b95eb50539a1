//! How many rows tables have: what is dangerous on a large table is not on a small one.

use std::collections::HashMap;

use crate::{
    database::Database,
    dialect::{Dialect, Value},
    error::MigrateError,
};

/// Below this a scan or rewrite is over before anyone notices; rules that depend on size only warn.
pub const SMALL_ROWS: u64 = 10_000;

/// The most tables asked about one by one (SQLite).
const TABLES_MAX: usize = 1_000;

/// Rows by table, as the database estimates them. Empty: nobody was asked, so every table may be large.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sizes(HashMap<String, u64>);

impl Sizes {
    /// Rows of a table by its name without schema, in lower case. Of two tables with one name the larger.
    pub fn rows(&self, table: &str) -> Option<u64> {
        self.0.get(table).copied()
    }

    /// Adds what is known of a table.
    pub fn add(&mut self, table: &str, rows: u64) {
        let known = self.0.entry(table.to_lowercase()).or_default();
        *known = rows.max(*known);
    }
}

const POSTGRES: &str = "SELECT relname::text, greatest(reltuples, \
    CASE WHEN reltuples < 0 THEN pg_relation_size(oid) / 32 ELSE 0 END)::bigint FROM pg_class WHERE relkind IN ('r', 'p', 'm')";
const MYSQL: &str = "SELECT table_name, CAST(table_rows AS SIGNED) FROM information_schema.tables WHERE table_schema = DATABASE()";
const SQLITE: &str = "SELECT name FROM sqlite_schema WHERE type = 'table'";

/// Asks the database. Estimates come from its statistics; a PostgreSQL table that was never analysed is judged by its
/// bytes, at 32 a row, which errs towards large. SQLite keeps none, so it counts up to [`SMALL_ROWS`].
///
/// # Errors
/// When the database can't be read.
pub async fn sizes(database: &mut Database) -> Result<Sizes, MigrateError> {
    let doing = "reading how large tables are";
    let query = match database.dialect() {
        Dialect::Postgres => POSTGRES,
        Dialect::Mysql => MYSQL,
        Dialect::Sqlite => SQLITE,
    };
    let rows = database.session.fetch(query).await.map_err(|fault| database.records(doing, fault))?;
    let mut sizes = Sizes::default();
    for row in
        rows.into_iter().take(if database.dialect() == Dialect::Sqlite { TABLES_MAX } else { usize::MAX })
    {
        let Some(table) = row.first().and_then(Value::text).map(str::to_owned) else { continue };
        let rows = match row.get(1) {
            Some(rows) => rows.int(),
            None => {
                let from = database.rules().quote(&table);
                let count = format!("SELECT count(*) FROM (SELECT 1 FROM {from} LIMIT {SMALL_ROWS})");
                database.number(&count).await.map_err(|fault| database.records(doing, fault))?
            }
        };
        sizes.add(&table, rows.and_then(|rows| u64::try_from(rows).ok()).unwrap_or_default());
    }
    Ok(sizes)
}
