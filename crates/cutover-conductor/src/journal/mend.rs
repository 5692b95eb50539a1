//! Mending a damaged journal: what can be trusted goes on, what is damaged is kept aside, and nothing is guessed.

use std::{fs, path::Path, path::PathBuf, time::SystemTime};

use futures_util::TryStreamExt as _;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{
    chain::{Row, Tip, columns},
    fault::{Fault, explain},
    place::Place,
    store,
};
use crate::ports::JournalError;

/// How far fences jump, besides one for each event lost: the leases that the lost part gave out must never be given again.
const FENCES_SKIPPED: u64 = 1000;

/// What mending did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    /// Events that are in the journal now.
    pub kept: u64,
    /// Events that were written and are lost, as far as that is known.
    pub lost: u64,
    /// What was wrong with the first that is lost; `None` where every event was sound.
    pub why: Option<String>,
    /// The directory that holds the damaged files as they were.
    pub aside: PathBuf,
}

/// Puts the sound beginning of the journal in `dir` in its place, and the damaged files into a directory beside it.
///
/// Interrupted at any point, it may be done again. A run whose latest events are lost goes on, when it is next driven, from
/// what is left of it: its steps look at what is there and do the rest.
///
/// # Errors
/// [`JournalError::Unusable`] while anything is writing, and as [`crate::ports::Journal`]'s.
pub async fn mend(dir: &Path) -> Result<Mended, JournalError> {
    let place = Place::new(dir).map_err(|error| explain(error.into(), dir, 0))?;
    mend_at(&place).await.map_err(|fault| explain(fault, &place.database(), 0))
}

async fn mend_at(place: &Place) -> Result<Mended, Fault> {
    place.create()?;
    let in_use = place.use_lock()?;
    in_use.try_lock().map_err(|_| Fault::Unusable("something is writing to it; try again".into()))?;
    let witnessed = place.witnessed()?.unwrap_or(Tip::EMPTY);
    let aside = set_aside(place)?;
    let mut report = Mended { kept: 0, lost: 0, why: None, aside };
    if !place.mended().exists() {
        let (tip, why) = copy_sound(place, &report.aside, witnessed).await?;
        report.lost = witnessed.seq.saturating_sub(tip.seq);
        report.why = why;
    }
    // From here on the mended file decides, also for a later attempt.
    let mut connection = SqliteConnectOptions::new().filename(place.mended()).connect().await?;
    let tip = store::tip(&mut connection, None).await?;
    connection.close().await?;
    for stale in place.beside() {
        match fs::remove_file(stale) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    place.witness(tip)?;
    fs::rename(place.mended(), place.database())?;
    place.sync()?;
    report.kept = tip.seq;
    Ok(report)
}

/// Copies the files as they are into a directory of their own.
fn set_aside(place: &Place) -> Result<PathBuf, Fault> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let aside = place.dir().join(format!("journal.damaged-{}", now.as_millis()));
    fs::create_dir(&aside)?;
    let [log, _] = place.beside();
    for file in [place.database(), log] {
        if let (true, Some(name)) = (file.exists(), file.file_name()) {
            fs::copy(&file, aside.join(name))?;
            fs::File::open(aside.join(name))?.sync_all()?;
        }
    }
    fs::File::open(&aside)?.sync_all()?;
    Ok(aside)
}

/// Makes the mended file from a copy of the damaged ones: it gets its name once it is whole.
async fn copy_sound(place: &Place, aside: &Path, witnessed: Tip) -> Result<(Tip, Option<String>), Fault> {
    // SQLite changes what it opens, so it opens a copy of the copy.
    let work = tempfile::tempdir_in(place.dir())?;
    for file in fs::read_dir(aside)? {
        let file = file?;
        fs::copy(file.path(), work.path().join(file.file_name()))?;
    }
    let fresh_path = work.path().join("mended.db");
    let mut fresh = store::fresh(&fresh_path).await?;
    let mut fence = 0;
    let damaged = SqliteConnectOptions::new().filename(work.path().join("journal.db"));
    let (tip, why) = match damaged.disable_statement_logging().connect().await {
        Err(error) => (Tip::EMPTY, Some(error.to_string())),
        Ok(mut damaged) => {
            let query = sqlx::query_scalar("SELECT fence FROM tip").fetch_optional(&mut damaged);
            let known: Option<i64> = query.await.unwrap_or_default();
            fence = known.map_or(0, i64::cast_unsigned);
            let mut transaction = fresh.begin().await?;
            let (tip, fault) =
                walk(&mut damaged, async |row| store::insert(&mut transaction, row).await).await?;
            store::set_tip(&mut transaction, tip).await?;
            transaction.commit().await?;
            damaged.close().await.ok();
            (tip, fault.map(|fault| explain(fault, &place.database(), tip.seq).to_string()))
        }
    };
    let why = why.or_else(|| {
        (tip.seq < witnessed.seq)
            .then(|| explain(store::gone(tip.seq + 1, witnessed.seq), &place.database(), 0).to_string())
    });
    let skipped = fence.saturating_add(FENCES_SKIPPED + witnessed.seq.saturating_sub(tip.seq));
    sqlx::query("UPDATE tip SET fence = max(?, coalesce((SELECT max(fence) FROM events), 0) + ?)")
        .bind(skipped.min(u64::MAX / 4).cast_signed())
        .bind(FENCES_SKIPPED.cast_signed())
        .execute(&mut fresh)
        .await?;
    fresh.close().await?;
    fs::File::open(&fresh_path)?.sync_all()?;
    fs::rename(&fresh_path, place.mended())?;
    place.sync()?;
    Ok((tip, why))
}

/// Hands each event to `each` in order as long as they are sound: how far they are, and what ended it where that was damage.
///
/// # Errors
/// Those of `each`.
pub(super) async fn walk(
    connection: &mut SqliteConnection,
    mut each: impl AsyncFnMut(&Row) -> Result<(), Fault>,
) -> Result<(Tip, Option<Fault>), Fault> {
    let mut tip = Tip::EMPTY;
    let query = sqlx::query(concat!("SELECT ", columns!(), " FROM events NOT INDEXED ORDER BY seq"));
    let mut rows = query.fetch(connection);
    loop {
        let sound = match rows.try_next().await {
            Ok(None) => return Ok((tip, None)),
            Ok(Some(row)) => Row::read(&row).and_then(|row| {
                row.record()?;
                let tip = row.follows(tip)?;
                Ok((row, tip))
            }),
            Err(error) => Err(Fault::Sql(error)),
        };
        match sound {
            Err(fault) => return Ok((tip, Some(fault))),
            Ok((row, next)) => {
                each(&row).await?;
                tip = next;
            }
        }
    }
}

/// The newest event that is sound, for the message of a damage that SQLite found. 0 where nothing can be read.
pub(super) async fn trusted(place: &Place) -> u64 {
    let options = SqliteConnectOptions::new().filename(place.database()).read_only(true);
    let Ok(mut connection) = options.disable_statement_logging().connect().await else { return 0 };
    walk(&mut connection, async |_| Ok(())).await.map_or(0, |(tip, _)| tip.seq)
}
