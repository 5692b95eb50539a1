//! The rules, a family a file, and the one list of them.

use std::sync::LazyLock;

use super::{
    allow,
    rule::{Check, Rule},
};

mod data;
mod mysql_copies;
mod mysql_schema;
mod passwords;
mod people;
mod phases;
mod postgres_columns;
mod postgres_enums;
mod postgres_locks;
mod postgres_transactions;
mod renaming;
mod sql_from_input;
mod sqlite_cannot;
mod sqlite_rebuild;
pub(super) mod squawk;

/// Every rule, in the order in which findings at one place and the pages show them.
pub(super) static REGISTRY: LazyLock<Vec<&'static Rule>> =
    LazyLock::new(|| OURS.iter().copied().chain(&squawk::TAKEN).collect());

static OURS: &[&Rule] = &[
    // What breaks the code that is running
    &phases::MIXED,
    &phases::REQUIRED_COLUMN,
    &phases::UNCLEAR,
    &phases::HEADER,
    &phases::BACKFILL_UNDER_LOCK,
    &renaming::TABLE,
    &renaming::COLUMN,
    // Secrets, people, input
    &passwords::PASSWORD,
    &passwords::SECRET,
    &people::COPIED,
    &sql_from_input::PLACEHOLDER,
    &sql_from_input::CONCATENATED,
    // Rows
    &data::DROP_TABLE,
    &data::DROP_COLUMN,
    &data::ALL_ROWS,
    &data::UNBOUNDED,
    &data::UNIQUE,
    // PostgreSQL
    &postgres_columns::SERIAL,
    &postgres_columns::JSON,
    &postgres_locks::EXCLUSION,
    &postgres_locks::REWRITE,
    &postgres_locks::LOCK_TABLE,
    &postgres_locks::REFRESH,
    &postgres_locks::ATTACH,
    &postgres_locks::WIDE_INDEX,
    &postgres_enums::RENAMED,
    &postgres_enums::USED_AT_ONCE,
    &postgres_transactions::IMPOSSIBLE,
    &postgres_transactions::SEVERAL,
    // MySQL, MariaDB
    &mysql_copies::COPY,
    &mysql_copies::LOCK,
    &mysql_copies::COLUMN_TYPE,
    &mysql_copies::WHOLE_TABLE,
    &mysql_copies::STORED,
    &mysql_copies::EXPRESSION_DEFAULT,
    &mysql_copies::FOREIGN_KEY,
    &mysql_copies::BLOCKING_INDEX,
    &mysql_schema::INLINE_REFERENCE,
    &mysql_schema::ENGINE,
    &mysql_schema::CHARSET,
    &mysql_schema::LOCK_TABLES,
    &mysql_schema::DROP_CONSTRAINT,
    // SQLite
    &sqlite_rebuild::REBUILD,
    &sqlite_rebuild::CASCADES,
    &sqlite_rebuild::DROP_COLUMN,
    &sqlite_rebuild::WRITABLE_SCHEMA,
    &sqlite_rebuild::VACUUM,
    &sqlite_cannot::ALTER,
    &sqlite_cannot::COLUMN,
    &squawk::UNREADABLE,
    // Allowing
    &allow::WITHOUT_REASON,
    &allow::UNUSED,
];
