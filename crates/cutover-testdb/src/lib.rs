//! Real database servers for tests: one of each kind per test process, one fresh database per test.
//!
//! ```text
//! test process ── pipe ──► sh (own process group) ──► server in a private temporary directory, on a free loopback port
//!     dies, however ──► the pipe closes ──► sh stops the server and removes the directory
//! ```
//! `CUTOVER_TEST_POSTGRES_URL` and `CUTOVER_TEST_MYSQL_URL` name servers to use instead (the user must be allowed to
//! create databases). What is missing is named on stderr and gives `None`, so that the test skips itself; with `CI=true`
//! it is a panic, because nothing may be skipped there.

use std::{
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

mod find;
mod mariadb;
mod pgbouncer;
mod postgres;
mod skip;
mod supervise;

pub use skip::skip;

/// A fresh, empty database of its own.
#[derive(Debug, Clone)]
pub struct TestDatabase {
    /// How to connect.
    pub url: String,
    /// Its name on the server.
    pub name: String,
    /// The server itself, when `url` goes through a pooler; else the same as `url`.
    pub direct_url: String,
}

/// Why there is no server: names what is missing and how to get it.
type Missing = String;

static POSTGRES: OnceLock<Result<postgres::Server, Missing>> = OnceLock::new();
static MARIADB: OnceLock<Result<mariadb::Server, Missing>> = OnceLock::new();
static PGBOUNCER: OnceLock<Result<pgbouncer::Server, Missing>> = OnceLock::new();

fn present<T>(
    server: &'static OnceLock<Result<T, Missing>>,
    start: fn() -> Result<T, Missing>,
) -> Option<&'static T> {
    match server.get_or_init(start) {
        Ok(server) => Some(server),
        Err(missing) => {
            skip(missing);
            None
        }
    }
}

/// A fresh PostgreSQL database, or `None` when there is no server to be had.
pub fn postgres() -> Option<TestDatabase> {
    let server = present(&POSTGRES, postgres::start)?;
    Some(server.create(&fresh_name()))
}

/// A fresh MySQL or MariaDB database, or `None` when there is no server to be had.
pub fn mysql() -> Option<TestDatabase> {
    let server = present(&MARIADB, mariadb::start)?;
    Some(server.create(&fresh_name()))
}

/// A fresh PostgreSQL database behind PgBouncer in transaction mode, or `None` when it is not to be had.
pub fn pgbouncer() -> Option<TestDatabase> {
    let server = present(&POSTGRES, postgres::start)?;
    let pooler = present(&PGBOUNCER, || match POSTGRES.get() {
        Some(Ok(server)) => pgbouncer::start(server),
        _ => Err("PgBouncer needs PostgreSQL".into()),
    })?;
    Some(pooler.front(server.create(&fresh_name())))
}

/// Unique in the server even when several test processes share it.
fn fresh_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("cutover_test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Runs a command to its end and panics with what it said when it fails.
fn must(command: &mut Command) -> String {
    let output =
        command.output().unwrap_or_else(|error| panic!("{:?} can't be run: {error}", command.get_program()));
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{:?} failed: {}{}",
        command.get_program(),
        said(&output.stdout),
        said(&output.stderr)
    );
    said(&output.stdout)
}

/// The same server's URL with another database.
fn with_database(url: &str, name: &str) -> String {
    let (base, query) = url.split_once('?').map_or((url, None), |(base, query)| (base, Some(query)));
    let after_scheme = base.find("://").map_or(0, |at| at + 3);
    let base = base[after_scheme..].find('/').map_or(base, |at| &base[..after_scheme + at]);
    query.map_or_else(|| format!("{base}/{name}"), |query| format!("{base}/{name}?{query}"))
}
