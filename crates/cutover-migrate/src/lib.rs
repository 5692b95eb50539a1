//! Migrations: folders and ledgers of several tools, the lock, the plan and applying, for PostgreSQL, MySQL/MariaDB and
//! SQLite.
//!
//! ```text
//! Source (a folder) ─┐                    ┌─ status   where the database stands          reads only
//!                    ├── read ── choose ──┼─ plan     what would run now                 reads only
//! Database (a URL) ──┘                    └─ up       lock, apply, record, release
//! ```
//! Guarantees: any number of runners may call [`up`] at once and each migration is applied once; the lock goes with
//! its owner; a ledger row is written in the transaction of what it records, wherever the database can do that, and the
//! tool whose folder it is still understands its ledger; no error shows a password or a row's data.
//!
//! A format is one file in `format/`, a database one file in `dialect/`; the lifecycle stands once, in `up.rs` and `apply.rs`.

// With a database left out, what only the others use is unused.
#![cfg_attr(not(all(feature = "postgres", feature = "mysql", feature = "sqlite")), allow(dead_code))]

mod address;
mod adopt;
mod apply;
mod database;
mod dialect;
mod error;
mod fault;
mod folder;
mod format;
pub mod lint;
mod lock;
mod migration;
mod observe;
mod others;
mod plan;
mod progress;
mod source;
mod sql;
mod status;
mod token;
mod up;
mod verify;

pub use address::{InvalidUrl, Place};
pub use adopt::{Adoption, Mending, adopt};
pub use database::Database;
pub use dialect::{Dialect, Limits};
pub use error::{ErrorKind, FailedStatement, Failure, Interrupted, Left, MigrateError, Refusal};
pub use fault::Fault;
pub use folder::{FILE_MAX, SourceError};
pub use format::{Format, InvalidFormat};
pub use lock::{LockState, check_lock};
pub use observe::{Notice, Observer, Silent};
pub use plan::{OnInterrupted, Plan, Upto, plan};
pub use source::{Recognised, Source};
pub use status::{Status, status};
pub use up::{Applied, Options, up};
pub use verify::{Finding, FindingKind, Verified, verify};
