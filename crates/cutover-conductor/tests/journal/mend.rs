use cutover_conductor::{journal::mend, ports::JournalError};

use super::*;

async fn damaged() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(dir.path()).await.unwrap();
    let mut run = Driven::begin(&journal, "one").await;
    for fence in 1..6 {
        run.take(&journal, fence).await;
    }
    journal.close().await;
    let file = dir.path().join("journal.db");
    let mut bytes = std::fs::read(&file).unwrap();
    let wanted = br#""event":"driving","fence":4"#;
    let at = bytes.windows(wanted.len()).position(|window| window == wanted).unwrap();
    bytes[at + 9] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    dir
}

#[tokio::test]
async fn what_is_sound_goes_on_and_what_is_not_is_kept_aside() {
    let dir = damaged().await;
    let before = std::fs::read(dir.path().join("journal.db")).unwrap();
    let journal = SqliteJournal::open(dir.path()).await.unwrap();
    let broken = journal.events(&environment("one"), RunNumber(1), Seq(0)).await;
    assert!(matches!(broken, Err(JournalError::Corrupt { seq: 5, .. })), "{broken:?}");
    journal.close().await;

    let mended = mend(dir.path()).await.unwrap();
    assert_eq!((mended.kept, mended.lost), (4, 2));
    assert!(mended.why.unwrap().contains("damaged at event 5"));
    assert_eq!(std::fs::read(mended.aside.join("journal.db")).unwrap(), before);

    let journal = SqliteJournal::open(dir.path()).await.unwrap();
    assert_eq!(journal.verify().await.unwrap(), 4);
    assert_eq!(all(&journal, "one", 1).await.len(), 4);
    // The run goes on, under a fence that no lost lease had.
    let lease = journal.lease(&environment("one"), &ada()).await.unwrap();
    assert!(lease.fence() > 1000);
    let driving = Event::Driving { driver: ada(), fence: lease.fence() };
    journal
        .append(Some(lease.as_ref()), RunNumber(1), &environment("one"), Seq(4), 9, &driving)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_sound_journal_is_mended_into_itself() {
    let dir = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(dir.path()).await.unwrap();
    Driven::begin(&journal, "one").await;
    let events = all(&journal, "one", 1).await;
    journal.close().await;
    let mended = mend(dir.path()).await.unwrap();
    assert_eq!((mended.kept, mended.lost, mended.why), (1, 0, None));
    let journal = SqliteJournal::open(dir.path()).await.unwrap();
    assert_eq!(all(&journal, "one", 1).await, events);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_mended_to_nothing() {
    let dir = damaged().await;
    std::fs::write(dir.path().join("journal.db"), vec![b'x'; 9000]).unwrap();
    let opened = SqliteJournal::open(dir.path()).await;
    assert!(matches!(opened, Err(JournalError::Corrupt { seq: 1, .. })), "{opened:?}");
    let mended = mend(dir.path()).await.unwrap();
    assert_eq!((mended.kept, mended.lost), (0, 6));
    let journal = SqliteJournal::open(dir.path()).await.unwrap();
    Driven::begin(&journal, "one").await;
}

#[tokio::test]
async fn an_interrupted_mending_is_finished_by_the_next() {
    let dir = damaged().await;
    let twin = tempfile::tempdir().unwrap();
    copy(dir.path(), twin.path());
    mend(twin.path()).await.unwrap();
    // Killed when the mended file was whole and had not yet taken its place.
    std::fs::copy(twin.path().join("journal.db"), dir.path().join("journal.mended.db")).unwrap();
    let opened = SqliteJournal::open(dir.path()).await;
    assert!(matches!(opened, Err(JournalError::Corrupt { .. })), "{opened:?}");
    assert_eq!(mend(dir.path()).await.unwrap().kept, 4);
    let journal = SqliteJournal::open(dir.path()).await.unwrap();
    assert_eq!(journal.verify().await.unwrap(), 4);
}

#[tokio::test]
async fn a_journal_whose_file_was_replaced_is_read_anew() {
    let dir = damaged().await;
    let reader = SqliteJournal::open_read_only(dir.path()).await.unwrap();
    assert!(reader.verify().await.is_err());
    mend(dir.path()).await.unwrap();
    assert_eq!(reader.verify().await.unwrap(), 4);
}
