//! Cut at every place and flipped in every part, a journal is either read as it was written, up to some event, or it is
//! told as damaged. It never tells another story.

use cutover_conductor::ports::JournalError;
use sqlx::Connection as _;

use super::*;

/// A directory with a closed journal of two environments, and its events in order.
async fn written() -> (tempfile::TempDir, Vec<Record>) {
    let dir = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(dir.path()).await.unwrap();
    let mut one = Driven::begin(&journal, "one").await;
    one.take(&journal, 1).await;
    let mut two = Driven::begin(&journal, "two").await;
    for fence in 2..5 {
        one.take(&journal, fence).await;
        two.take(&journal, fence).await;
    }
    one.end(&journal).await;
    drop(one);
    let mut next = Driven::begin(&journal, "one").await;
    next.take(&journal, 9).await;
    let events = story(&journal).await.unwrap();
    journal.close().await;
    assert_eq!(events.len(), 13);
    (dir, events)
}

/// Everything the journal tells, in order.
async fn story(journal: &SqliteJournal) -> Result<Vec<Record>, JournalError> {
    let mut told = Vec::new();
    for name in ["one", "two"] {
        for run in journal.runs(&environment(name)).await? {
            told.extend(journal.events(&environment(name), run, Seq(0)).await?);
        }
    }
    told.sort_by_key(|record| record.seq);
    Ok(told)
}

async fn story_of(dir: &Path) -> Result<Vec<Record>, JournalError> {
    let journal = SqliteJournal::open_read_only(dir).await?;
    let told = story(&journal).await;
    journal.close().await;
    told
}

fn is_damage(error: &JournalError) -> bool {
    matches!(error, JournalError::Corrupt { .. })
}

#[tokio::test]
async fn a_log_cut_anywhere_keeps_every_record_before_the_cut() {
    let dir = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(dir.path()).await.unwrap();
    let log = dir.path().join("journal.db-wal");
    let length = || std::fs::metadata(&log).unwrap().len();
    // How long the log was when each record was acknowledged.
    let mut acknowledged = Vec::new();
    let mut run = Driven::begin(&journal, "one").await;
    acknowledged.push(length());
    for fence in 1..8 {
        run.take(&journal, fence).await;
        acknowledged.push(length());
    }
    let events = story(&journal).await.unwrap();
    let bytes = std::fs::read(&log).unwrap();
    let frames = (32..bytes.len()).step_by(4096 + 24).flat_map(|at| [at - 1, at, at + 1]);
    let cuts = frames.chain((0..bytes.len()).step_by(1531)).chain([bytes.len()]);
    for cut in cuts {
        let there = acknowledged.iter().filter(|length| **length <= cut as u64).count();
        let copied = tempfile::tempdir().unwrap();
        copy(dir.path(), copied.path());
        std::fs::write(copied.path().join("journal.db-wal"), &bytes[..cut]).unwrap();
        // The second note of the tip tells the loss.
        let noticed = story_of(copied.path()).await;
        match there == events.len() {
            true => assert_eq!(noticed.unwrap(), events, "cut at {cut}"),
            false => {
                let Err(JournalError::Corrupt { seq, what, .. }) = noticed else {
                    panic!("cut at {cut}: {noticed:?}")
                };
                assert_eq!(seq, there as u64 + 1, "cut at {cut}: {what}");
            }
        }
        // Without it, what is left is still no other story.
        std::fs::remove_file(copied.path().join("journal.tip")).unwrap();
        std::fs::remove_file(copied.path().join("journal.db-shm")).ok();
        assert_eq!(story_of(copied.path()).await.unwrap(), events[..there], "cut at {cut}");
    }
}

#[tokio::test]
async fn a_database_cut_anywhere_is_told_as_damaged_or_read_as_it_was() {
    let (dir, events) = written().await;
    let bytes = std::fs::read(dir.path().join("journal.db")).unwrap();
    let pages = (0..=bytes.len()).step_by(4096).flat_map(|at| [at.saturating_sub(1), at, at + 1]);
    let cuts = pages.chain((0..bytes.len()).step_by(1531)).filter(|cut| *cut < bytes.len());
    for cut in cuts {
        let copied = tempfile::tempdir().unwrap();
        copy(dir.path(), copied.path());
        std::fs::write(copied.path().join("journal.db"), &bytes[..cut]).unwrap();
        // A byte may be missing that holds nothing; all else is noticed.
        match story_of(copied.path()).await {
            Ok(told) => assert_eq!(told, events, "cut at {cut}"),
            Err(error) => assert!(is_damage(&error), "cut at {cut}: {error:?}"),
        }
        if let Err(error) = SqliteJournal::open(copied.path()).await {
            assert!(is_damage(&error), "cut at {cut}: {error:?}");
        }
        std::fs::remove_file(copied.path().join("journal.tip")).unwrap();
        if let Ok(told) = story_of(copied.path()).await {
            assert_eq!(told, events[..told.len()], "cut at {cut}");
        }
    }
    // Gone altogether is not empty, either.
    std::fs::remove_file(dir.path().join("journal.db")).unwrap();
    assert!(story_of(dir.path()).await.as_ref().is_err_and(is_damage));
    assert!(SqliteJournal::open(dir.path()).await.as_ref().is_err_and(is_damage));
}

#[tokio::test]
async fn a_flipped_bit_changes_no_story() {
    let (dir, events) = written().await;
    let bytes = std::fs::read(dir.path().join("journal.db")).unwrap();
    let mut random = fastrand::Rng::with_seed(11);
    let mut noticed = 0;
    for _ in 0..1500 {
        let (at, bit) = (random.usize(0..bytes.len()), random.u8(0..8));
        let copied = tempfile::tempdir().unwrap();
        copy(dir.path(), copied.path());
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << bit;
        std::fs::write(copied.path().join("journal.db"), flipped).unwrap();
        match story_of(copied.path()).await {
            Ok(told) => assert_eq!(told, events, "byte {at}, bit {bit}"),
            Err(_) => noticed += 1,
        }
    }
    assert!(noticed > 100, "only {noticed} flips were noticed: the test does not reach the events");
}

#[tokio::test]
async fn a_flipped_bit_in_an_event_names_it() {
    let (dir, events) = written().await;
    let bytes = std::fs::read(dir.path().join("journal.db")).unwrap();
    for record in &events {
        let payload = serde_json::to_value(&record.event).unwrap().to_string();
        // Long ones lie on pages of their own, in pieces; their first piece is enough to find them by.
        let wanted = &payload.as_bytes()[..payload.len().min(60)];
        let found = bytes.windows(wanted.len()).rposition(|window| window == wanted).unwrap();
        for at in (found..found + wanted.len()).step_by(13) {
            let copied = tempfile::tempdir().unwrap();
            copy(dir.path(), copied.path());
            let mut flipped = bytes.clone();
            flipped[at] ^= 4;
            std::fs::write(copied.path().join("journal.db"), flipped).unwrap();
            let journal = SqliteJournal::open_read_only(copied.path()).await.unwrap();
            let error = journal.verify().await.unwrap_err();
            let JournalError::Corrupt { seq, .. } = error else { panic!("{error:?}") };
            // Equal beginnings stand several times in the file; whichever was hit is named.
            let named = events.iter().find(|record| record.seq.0 == seq).unwrap();
            let named = serde_json::to_value(&named.event).unwrap().to_string();
            assert!(named.as_bytes().starts_with(wanted), "{named}");
            journal.close().await;
        }
    }
}

/// Edits that leave a perfectly sound SQLite file.
#[tokio::test]
async fn edited_history_is_noticed_where_it_is_read() {
    let (dir, _) = written().await;
    for (edit, damaged) in [
        ("UPDATE events SET at_ms = 3 WHERE seq = 4", 4),
        ("UPDATE events SET fence = 9 WHERE seq = 4", 4),
        ("UPDATE events SET kind = 'other' WHERE seq = 4", 4),
        ("UPDATE events SET payload = replace(payload, 'ada', 'eve') WHERE seq = 4", 4),
        ("UPDATE events SET chain = zeroblob(32) WHERE seq = 4", 4),
        ("UPDATE events SET environment = 'two' WHERE seq = 4", 4),
        ("UPDATE events SET run = 2 WHERE seq = 11", 11),
        ("DELETE FROM events WHERE seq = 4", 4),
        ("DELETE FROM events WHERE seq = 1", 1),
        ("DELETE FROM events WHERE seq = 13", 13),
        ("DELETE FROM events WHERE seq > 11", 12),
        ("DELETE FROM events", 1),
        ("DELETE FROM tip", 1),
        ("UPDATE tip SET seq = 12", 12),
        (
            "DELETE FROM events WHERE seq = 13; UPDATE tip SET seq = 12, chain = (SELECT chain FROM events WHERE seq = 12)",
            13,
        ),
        ("UPDATE events SET seq = 14 WHERE seq = 13; UPDATE tip SET seq = 14", 13),
    ] {
        let copied = tempfile::tempdir().unwrap();
        copy(dir.path(), copied.path());
        let url = format!("sqlite://{}", copied.path().join("journal.db").display());
        let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
        let guarded = sqlx::raw_sql("DELETE FROM events WHERE seq = 1").execute(&mut connection).await;
        assert!(guarded.unwrap_err().to_string().contains("never removed"));
        let edits = format!("DROP TRIGGER events_stay; DROP TRIGGER events_last; {edit}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(edits)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let Err(JournalError::Corrupt { seq, what, .. }) = story_of(copied.path()).await else {
            panic!("not noticed: {edit}");
        };
        // The first thing read may be the event beside it.
        assert!(seq.abs_diff(damaged) <= 1, "{edit}: event {seq}: {what}");
    }
}

#[tokio::test]
async fn an_older_copy_put_back_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(dir.path()).await.unwrap();
    let mut run = Driven::begin(&journal, "one").await;
    journal.close().await;
    let older = tempfile::tempdir().unwrap();
    copy(dir.path(), older.path());
    let journal = SqliteJournal::open(dir.path()).await.unwrap();
    run.take(&journal, 1).await;
    journal.close().await;
    std::fs::copy(older.path().join("journal.db"), dir.path().join("journal.db")).unwrap();
    let error = SqliteJournal::open(dir.path()).await.unwrap_err();
    assert!(is_damage(&error), "{error}");
    assert!(error.to_string().contains("damaged at event 2"), "{error}");
}
