//! The journal's SQLite database: how it is opened, its tables, and reading stretches of the chain.

use std::time::Duration;

use cutover_model::{EnvironmentName, RunNumber};
use sqlx::{ConnectOptions, Connection, Row as _, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{
    chain::{Link, Row, Tip, columns},
    fault::Fault,
    place::Place,
};

/// The format this version writes, in `user_version`. A higher one is refused: it may mean things this version can't know.
const FORMAT: i64 = 1;

/// How long to wait for another writer's transaction, which takes about one sync of the disk.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

const TABLES: &str = "
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    environment TEXT NOT NULL,
    run INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    fence INTEGER,
    kind TEXT NOT NULL,
    payload TEXT NOT NULL,
    chain BLOB NOT NULL
) STRICT;
CREATE INDEX events_of_run ON events (environment, run);
CREATE INDEX events_by_fence ON events (fence) WHERE fence IS NOT NULL;
CREATE TRIGGER events_stay BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events are never changed'); END;
CREATE TRIGGER events_last BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events are never removed'); END;
CREATE TABLE leases (
    environment TEXT PRIMARY KEY,
    fence INTEGER NOT NULL,
    holder TEXT NOT NULL,
    process INTEGER NOT NULL,
    since_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE tip (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    seq INTEGER NOT NULL,
    chain BLOB NOT NULL,
    fence INTEGER NOT NULL
) STRICT;
INSERT INTO tip VALUES (1, 0, zeroblob(32), 0);
PRAGMA user_version = 1;
";

/// An open database, and which file it is.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) connection: SqliteConnection,
    pub(super) inode: (u64, u64),
}

/// What a caller is going to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Creates what is missing.
    Write,
    /// Creates nothing.
    Read,
}

impl Store {
    /// Opens the journal; `None` where there is none and it is only to be read.
    pub(super) async fn open(
        place: &Place,
        access: Access,
        witnessed: Option<Tip>,
    ) -> Result<Option<Self>, Fault> {
        if place.mended().exists() {
            return Err(Fault::damaged(1, "mending it was interrupted; mend it again".into()));
        }
        if place.is_bare()? {
            if let Some(tip) = witnessed.filter(|tip| tip.seq > 0) {
                return Err(gone(1, tip.seq));
            }
            if access == Access::Read {
                return Ok(None);
            }
        }
        if access == Access::Write {
            place.create()?;
        }
        let Some(inode) = place.inode()? else { return Ok(None) };
        let mut connection = connect(place, access).await?;
        let format = format(&mut connection).await?;
        if format > FORMAT {
            return Err(Fault::Unusable(format!(
                "it was written by a newer Cutover (format {format}; this one knows {FORMAT}); use that version"
            )));
        }
        if format < FORMAT {
            let empty = !has_tables(&mut connection).await?;
            match witnessed.filter(|tip| tip.seq > 0) {
                Some(tip) if empty => return Err(gone(1, tip.seq)),
                _ if empty && access == Access::Read => return Ok(None),
                _ => initialise(&mut connection).await?,
            }
        }
        if access == Access::Write {
            durable(&mut connection).await?;
        }
        Ok(Some(Self { connection, inode }))
    }
}

/// What is said where events up to `last` were written and those from `seq` on are not there.
pub(super) fn gone(seq: u64, last: u64) -> Fault {
    Fault::damaged(seq, format!("it is gone, and so is what came after it; {last} events were written"))
}

/// A new database in a file of its own, for [`super::mend`].
pub(super) async fn fresh(path: &std::path::Path) -> Result<SqliteConnection, Fault> {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut connection = options.disable_statement_logging().connect().await?;
    initialise(&mut connection).await?;
    Ok(connection)
}

async fn connect(place: &Place, access: Access) -> Result<SqliteConnection, Fault> {
    let options = SqliteConnectOptions::new()
        .filename(place.database())
        .busy_timeout(BUSY_TIMEOUT)
        .read_only(access == Access::Read)
        .disable_statement_logging();
    let opened = open_once(&options).await;
    // On a volume that can't be written, SQLite can't make the index it reads a log by; without a log it needs none.
    let unlogged = !place.beside()[0].exists();
    if opened.is_err() && access == Access::Read && unlogged {
        return open_once(&options.immutable(true)).await.or(opened);
    }
    opened
}

async fn open_once(options: &SqliteConnectOptions) -> Result<SqliteConnection, Fault> {
    let mut connection = options.connect().await?;
    // The first read is where SQLite finds out whether it can use the file.
    format(&mut connection).await?;
    Ok(connection)
}

async fn format(connection: &mut SqliteConnection) -> Result<i64, Fault> {
    Ok(sqlx::query_scalar("PRAGMA user_version").fetch_one(connection).await?)
}

async fn has_tables(connection: &mut SqliteConnection) -> Result<bool, Fault> {
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(connection).await?;
    Ok(tables > 0)
}

/// Makes the tables, unless another process has just done so.
async fn initialise(connection: &mut SqliteConnection) -> Result<(), Fault> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    if format(&mut transaction).await? == FORMAT {
        return Ok(transaction.rollback().await?);
    }
    if has_tables(&mut transaction).await? {
        return Err(Fault::Unusable("it is a database, but not a journal of Cutover's".into()));
    }
    sqlx::raw_sql(TABLES).execute(&mut *transaction).await?;
    Ok(transaction.commit().await?)
}

/// A commit returns only when it would survive a power cut. With a write-ahead log, readers never hold up the driver.
async fn durable(connection: &mut SqliteConnection) -> Result<(), Fault> {
    // `fullfsync` is for macOS, where a plain sync stops at the drive's cache; elsewhere it does nothing.
    sqlx::raw_sql("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA fullfsync = ON")
        .execute(connection)
        .await?;
    Ok(())
}

/// How far the journal goes, after making sure that its parts agree on it, and that it goes as far as `witnessed`.
pub(super) async fn tip(connection: &mut SqliteConnection, witnessed: Option<Tip>) -> Result<Tip, Fault> {
    let row = sqlx::query("SELECT seq, chain FROM tip").fetch_optional(&mut *connection).await?;
    let row = row.ok_or_else(|| Fault::damaged(1, "the row that says how far it goes is missing".into()))?;
    let tip = read_tip(&row)?;
    let newest = sqlx::query("SELECT seq, chain FROM events ORDER BY seq DESC LIMIT 1");
    let newest = newest.fetch_optional(&mut *connection).await?;
    let newest = newest.as_ref().map_or(Ok(Tip::EMPTY), read_tip)?;
    if newest.seq < tip.seq {
        return Err(gone(newest.seq + 1, tip.seq));
    }
    if newest != tip {
        return Err(Fault::damaged(tip.seq.max(1), "it is not the newest event that was written".into()));
    }
    match witnessed {
        Some(witnessed) if witnessed.seq > tip.seq => Err(gone(tip.seq + 1, witnessed.seq)),
        Some(witnessed) if witnessed.seq > 0 => {
            let same = link(connection, witnessed.seq).await? == Some(witnessed.link);
            same.then_some(tip).ok_or_else(|| {
                Fault::damaged(witnessed.seq, "another event stands there than was written".into())
            })
        }
        _ => Ok(tip),
    }
}

fn read_tip(row: &sqlx::sqlite::SqliteRow) -> Result<Tip, Fault> {
    let seq = row.try_get_unchecked::<i64, _>(0)?.cast_unsigned();
    let link: Vec<u8> = row.try_get_unchecked(1)?;
    let odd = || Fault::damaged(seq.max(1), "its link can't be read".into());
    Ok(Tip { seq, link: Link::from_bytes(&link).ok_or_else(odd)? })
}

async fn link(connection: &mut SqliteConnection, seq: u64) -> Result<Option<Link>, Fault> {
    let row = sqlx::query("SELECT seq, chain FROM events WHERE seq = ?").bind(seq.cast_signed());
    row.fetch_optional(connection).await?.map(|row| read_tip(&row).map(|tip| tip.link)).transpose()
}

/// The events from `from` to `to`, both of 1 or more and not beyond the tip, each verified against the one before it.
pub(super) async fn stretch(
    connection: &mut SqliteConnection,
    from: u64,
    to: u64,
) -> Result<Vec<Row>, Fault> {
    let mut at = match from {
        0 | 1 => Tip::EMPTY,
        _ => {
            let missing = || Fault::damaged(from - 1, "it is missing".into());
            Tip { seq: from - 1, link: link(connection, from - 1).await?.ok_or_else(missing)? }
        }
    };
    let query =
        sqlx::query(concat!("SELECT ", columns!(), " FROM events WHERE seq BETWEEN ? AND ? ORDER BY seq"));
    let rows = query.bind(from.cast_signed()).bind(to.cast_signed()).fetch_all(connection).await?;
    let rows = rows.iter().map(Row::read).collect::<Result<Vec<_>, _>>()?;
    for row in &rows {
        at = row.follows(at)?;
    }
    match at.seq == to {
        true => Ok(rows),
        false => Err(gone(at.seq + 1, to)),
    }
}

/// A run's events after `after`, verified together with the events on either side, so that none can be missing from either
/// end or have been given to another run.
pub(super) async fn events_of_run(
    connection: &mut SqliteConnection,
    tip: Tip,
    (environment, run): (&str, u64),
    after: u64,
) -> Result<Vec<Row>, Fault> {
    let query = sqlx::query("SELECT min(seq), max(seq) FROM events WHERE environment = ? AND run = ?");
    let bounds = query.bind(environment).bind(run.cast_signed()).fetch_one(&mut *connection).await?;
    let [first, last]: [Option<i64>; 2] = [bounds.try_get(0)?, bounds.try_get(1)?];
    let (Some(first), Some(last)) = (first.map(i64::cast_unsigned), last.map(i64::cast_unsigned)) else {
        return Ok(Vec::new());
    };
    if last > tip.seq || first == 0 {
        return Err(Fault::damaged(tip.seq + 1, "it was not written by Cutover".into()));
    }
    if after >= last {
        return Ok(Vec::new());
    }
    let from = if after >= first { after } else { first.max(2) - 1 };
    let mut rows = stretch(connection, from, (last + 1).min(tip.seq)).await?;
    let strays = |row: &&Row| (row.seq < first || row.seq > last) && row.belongs_to(environment, run);
    if let Some(stray) = rows.iter().find(strays) {
        return Err(Fault::damaged(stray.seq, "the index of runs does not know it".into()));
    }
    rows.retain(|row| row.belongs_to(environment, run) && row.seq > after);
    Ok(rows)
}

/// The environment's runs. As many as their numbers say, or one is missing.
pub(super) async fn runs(
    connection: &mut SqliteConnection,
    tip: Tip,
    environment: &EnvironmentName,
) -> Result<Vec<RunNumber>, Fault> {
    let count: i64 =
        sqlx::query_scalar("SELECT count(*) FROM events NOT INDEXED").fetch_one(&mut *connection).await?;
    if count.cast_unsigned() != tip.seq {
        let (sound, fault) = super::mend::walk(connection, async |_| Ok(())).await?;
        return Err(fault.unwrap_or_else(|| gone(sound.seq + 1, tip.seq)));
    }
    let query = sqlx::query_scalar("SELECT DISTINCT run FROM events WHERE environment = ? ORDER BY run");
    let runs: Vec<i64> = query.bind(environment.as_str()).fetch_all(connection).await?;
    let whole = runs.iter().zip(1..).all(|(run, expected)| *run == expected);
    match whole {
        true => Ok(runs.into_iter().map(|run| RunNumber(run.cast_unsigned())).collect()),
        false => Err(Fault::damaged(1, format!("a run of {environment} is missing from {runs:?}"))),
    }
}

/// Inserts an event as it is.
pub(super) async fn insert(connection: &mut SqliteConnection, row: &Row) -> Result<(), Fault> {
    sqlx::query(concat!("INSERT INTO events (", columns!(), ") VALUES (?, ?, ?, ?, ?, ?, ?, ?)"))
        .bind(row.seq.cast_signed())
        .bind(&row.environment)
        .bind(row.run.cast_signed())
        .bind(row.at_ms)
        .bind(row.fence.map(u64::cast_signed))
        .bind(&row.kind)
        .bind(&row.payload)
        .bind(&row.link.0[..])
        .execute(connection)
        .await?;
    Ok(())
}

/// Says how far the journal goes, in the transaction that takes it there.
pub(super) async fn set_tip(connection: &mut SqliteConnection, tip: Tip) -> Result<(), Fault> {
    let query = sqlx::query("UPDATE tip SET seq = ?, chain = ?");
    query.bind(tip.seq.cast_signed()).bind(&tip.link.0[..]).execute(connection).await?;
    Ok(())
}
