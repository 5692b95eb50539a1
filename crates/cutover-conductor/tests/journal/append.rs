use std::os::unix::fs::PermissionsExt;

use cutover_conductor::ports::JournalError;
use cutover_model::run::{Note, Step};

use super::*;

#[tokio::test]
async fn what_was_appended_is_read_back_by_anybody_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(dir.path()).await.unwrap();
    let mut run = Driven::begin(&journal, "staging").await;
    let mut other = Driven::begin(&journal, "production").await;
    let mut written = vec![run.take(&journal, 1).await];
    other.take(&journal, 1).await;
    written.push(run.take(&journal, 2).await);
    let reader = SqliteJournal::open_read_only(dir.path()).await.unwrap();
    for journal in [&journal, &reader] {
        let read = all(journal, "staging", 1).await;
        assert_eq!(read[1..], written);
        assert_eq!(read[0].event, Event::Planned { plan: Box::new(plan("staging")) });
        assert_eq!(read.iter().map(|record| record.seq.0).collect::<Vec<_>>(), [1, 3, 5]);
        let later = journal.events(&environment("staging"), RunNumber(1), Seq(3)).await.unwrap();
        assert_eq!(later, written[1..]);
        assert_eq!(journal.events(&environment("staging"), RunNumber(1), Seq(5)).await.unwrap(), []);
        assert_eq!(journal.events(&environment("staging"), RunNumber(9), Seq(0)).await.unwrap(), []);
        assert_eq!(journal.runs(&environment("production")).await.unwrap(), [RunNumber(1)]);
        assert_eq!(journal.runs(&environment("nowhere")).await.unwrap(), []);
        assert_eq!(journal.verify().await.unwrap(), 5);
    }
    // The reader sees what is written from now on, too.
    run.take(&journal, 3).await;
    assert_eq!(all(&reader, "staging", 1).await.len(), 4);
}

#[tokio::test]
async fn a_run_begins_when_the_one_before_it_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(dir.path()).await.unwrap();
    let mut run = Driven::begin(&journal, "staging").await;
    let again = journal.begin(run.lease.as_ref(), 3, &plan("staging")).await;
    assert!(matches!(again, Err(JournalError::Behind)), "{again:?}");
    run.take(&journal, 1).await;
    run.end(&journal).await;
    let next = journal.begin(run.lease.as_ref(), 3, &plan("staging")).await.unwrap();
    assert_eq!(next.run, RunNumber(2));
    assert_eq!(journal.runs(&environment("staging")).await.unwrap(), [RunNumber(1), RunNumber(2)]);
}

#[tokio::test]
async fn a_writer_that_has_not_seen_the_newest_event_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(dir.path()).await.unwrap();
    let operators = SqliteJournal::open(dir.path()).await.unwrap();
    let mut run = Driven::begin(&journal, "staging").await;
    let wish = Event::AbortRequested { by: ada(), reason: String::new() };
    let wished = operators.append(None, run.run, &run.environment, run.last, 5, &wish).await.unwrap();
    let driving = Event::Driving { driver: ada(), fence: 1 };
    let stale =
        journal.append(Some(run.lease.as_ref()), run.run, &run.environment, run.last, 6, &driving).await;
    assert!(matches!(stale, Err(JournalError::Behind)), "{stale:?}");
    run.last = wished.seq;
    run.append(&journal, driving).await;
    let nowhere =
        journal.append(Some(run.lease.as_ref()), RunNumber(7), &run.environment, run.last, 6, &wish).await;
    assert!(matches!(nowhere, Err(JournalError::Behind)), "{nowhere:?}");
}

#[tokio::test]
async fn an_event_that_can_t_follow_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(dir.path()).await.unwrap();
    let mut run = Driven::begin(&journal, "staging").await;
    for event in [
        Event::Succeeded { step: Step::Build, note: Note::None },
        Event::Intended { step: Step::Build, attempt: 1 },
        Event::Planned { plan: Box::new(plan("staging")) },
    ] {
        let lease = Some(run.lease.as_ref());
        let refused = journal.append(lease, run.run, &run.environment, run.last, 6, &event).await;
        assert!(matches!(refused, Err(JournalError::Illegal(_))), "{refused:?}");
    }
    assert_eq!(journal.verify().await.unwrap(), 1);
    run.take(&journal, 1).await;
}

#[tokio::test]
async fn a_dropped_append_leaves_the_journal_usable() {
    let dir = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(dir.path()).await.unwrap();
    let mut run = Driven::begin(&journal, "staging").await;
    for (fence, polls) in (1..).zip(0..30) {
        let event = Event::Driving { driver: ada(), fence };
        let lease = Some(run.lease.as_ref());
        let mut append = journal.append(lease, run.run, &run.environment, run.last, 2, &event);
        // Dropped after so many turns, which is somewhere in the middle of it.
        let mut turns = 0;
        let finished = std::future::poll_fn(|context| {
            turns += 1;
            match append.as_mut().poll(context) {
                std::task::Poll::Pending if turns > polls => std::task::Poll::Ready(None),
                other => other.map(Some),
            }
        })
        .await;
        drop(append);
        let seen = all(&journal, "staging", 1).await;
        if let Some(record) = finished {
            assert_eq!(seen.last(), Some(&record.unwrap()));
        }
        run.last = seen.last().unwrap().seq;
    }
    // A commit that nobody waited for may still be on its way; then the next writer is told to look again.
    let event = Event::Driving { driver: ada(), fence: 100 };
    loop {
        let last = all(&journal, "staging", 1).await.last().unwrap().seq;
        let lease = Some(run.lease.as_ref());
        match journal.append(lease, run.run, &run.environment, last, 2, &event).await {
            Err(JournalError::Behind) => {}
            appended => break assert_eq!(appended.unwrap().event, event),
        }
    }
}

#[tokio::test]
async fn two_environments_are_written_by_several_connections_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let writers = ["one", "two", "three"].map(|name| {
        let dir = dir.path().to_owned();
        tokio::spawn(async move {
            let journal = SqliteJournal::open(&dir).await.unwrap();
            let mut run = Driven::begin(&journal, name).await;
            for fence in 1..=20 {
                run.take(&journal, fence).await;
            }
        })
    });
    for writer in writers {
        writer.await.unwrap();
    }
    let journal = SqliteJournal::open_read_only(dir.path()).await.unwrap();
    assert_eq!(journal.verify().await.unwrap(), 63);
    for name in ["one", "two", "three"] {
        assert_eq!(all(&journal, name, 1).await.len(), 21);
    }
}

#[tokio::test]
async fn reading_creates_nothing_and_can_t_write() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("state");
    let reader = SqliteJournal::open_read_only(&missing).await.unwrap();
    assert_eq!(reader.runs(&environment("staging")).await.unwrap(), []);
    assert_eq!(reader.driver(&environment("staging")).await.unwrap(), None);
    assert!(!missing.exists());
    assert!(reader.lease(&environment("staging"), &ada()).await.is_err());
    assert!(!missing.exists());

    let journal = SqliteJournal::open(&missing).await.unwrap();
    Driven::begin(&journal, "staging").await;
    journal.close().await;
    let listed = || {
        let names = std::fs::read_dir(&missing).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(listed(), ["journal.db", "journal.tip", "staging.lock"]);
    // It looks again each time, so it sees what was not there before.
    assert_eq!(reader.runs(&environment("staging")).await.unwrap(), [RunNumber(1)]);
    let denied = reader.lease(&environment("staging"), &ada()).await;
    assert!(matches!(denied, Err(JournalError::Unusable { .. })), "{denied:?}");
    reader.close().await;
    let mode = |name: &str| std::fs::metadata(missing.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(["", "journal.db", "journal.tip", "staging.lock"].map(mode), [0o700, 0o600, 0o600, 0o600]);
}

#[tokio::test]
async fn a_journal_of_a_newer_version_is_left_alone() {
    use sqlx::Connection;
    let dir = tempfile::tempdir().unwrap();
    SqliteJournal::open(dir.path()).await.unwrap().close().await;
    let url = format!("sqlite://{}", dir.path().join("journal.db").display());
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("PRAGMA user_version = 2").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    for opened in [SqliteJournal::open(dir.path()).await, SqliteJournal::open_read_only(dir.path()).await] {
        let error = opened.unwrap_err().to_string();
        assert!(error.contains("newer Cutover (format 2; this one knows 1)"), "{error}");
    }
}
