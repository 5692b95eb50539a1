use std::io::{BufRead, BufReader};

use cutover_conductor::ports::JournalError;

use super::*;

#[tokio::test]
async fn one_drives_and_the_others_are_told_who() {
    let dir = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(dir.path()).await.unwrap();
    let lease = journal.lease(&environment("staging"), &ada()).await.unwrap();
    let second = SqliteJournal::open(dir.path()).await.unwrap();
    let bob = Identity("bob@build-2".into());
    let Err(JournalError::Busy { holder, .. }) = second.lease(&environment("staging"), &bob).await else {
        panic!("two drivers");
    };
    assert!(
        holder.starts_with(&format!("ada@build-1 (process {}, since 20", std::process::id())),
        "{holder}"
    );
    assert_eq!(second.driver(&environment("staging")).await.unwrap(), Some(holder));
    // Another environment is another lease, with a fence of its own.
    let other = second.lease(&environment("production"), &bob).await.unwrap();
    assert!(other.fence() > lease.fence());
    let crossed = second.begin(other.as_ref(), 1, &plan("staging")).await;
    assert!(matches!(crossed, Err(JournalError::Fenced(_))), "{crossed:?}");

    drop(lease);
    assert_eq!(second.driver(&environment("staging")).await.unwrap(), None);
    let next = second.lease(&environment("staging"), &bob).await.unwrap();
    assert!(next.fence() > other.fence());
}

#[tokio::test]
async fn of_many_that_try_at_once_one_gets_it() {
    let dir = tempfile::tempdir().unwrap();
    let tries: Vec<_> = (0..8)
        .map(|_| {
            let dir = dir.path().to_owned();
            tokio::spawn(async move {
                let journal = SqliteJournal::open(&dir).await.unwrap();
                journal.lease(&environment("staging"), &ada()).await
            })
        })
        .collect();
    let mut got = Vec::new();
    for each in tries {
        match each.await.unwrap() {
            Ok(lease) => got.push(lease),
            Err(error) => assert!(matches!(error, JournalError::Busy { .. }), "{error}"),
        }
    }
    assert_eq!(got.len(), 1);
}

#[tokio::test]
async fn a_driver_that_lost_its_lease_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(dir.path()).await.unwrap();
    let mut run = Driven::begin(&journal, "staging").await;
    // Somebody tidied up: the lock that the first driver holds is on a file nobody else finds.
    std::fs::remove_file(dir.path().join("staging.lock")).unwrap();
    let second = SqliteJournal::open(dir.path()).await.unwrap();
    let taken = second.lease(&environment("staging"), &ada()).await.unwrap();
    let driving = Event::Driving { driver: ada(), fence: taken.fence() };
    let late =
        journal.append(Some(run.lease.as_ref()), run.run, &run.environment, run.last, 2, &driving).await;
    assert!(matches!(late, Err(JournalError::Fenced(_))), "{late:?}");
    run.lease = taken;
    run.append(&second, driving).await;
}

#[tokio::test]
async fn a_killed_driver_holds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = child("lease::child_drives_until_it_is_killed", dir.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.find(|line| line.as_ref().unwrap().contains("driving")).unwrap().unwrap();
    let journal = SqliteJournal::open(dir.path()).await.unwrap();
    let Err(JournalError::Busy { holder, .. }) = journal.lease(&environment("staging"), &ada()).await else {
        panic!("two drivers");
    };
    assert!(holder.contains(&format!("process {}", child.id())), "{holder}");
    child.kill().unwrap();
    child.wait().unwrap();
    let lease = journal.lease(&environment("staging"), &ada()).await.unwrap();
    assert_eq!(lease.fence(), 2);
}

#[tokio::test]
async fn child_drives_until_it_is_killed() {
    let Some(dir) = child_dir() else { return };
    let journal = SqliteJournal::open(&dir).await.unwrap();
    let _lease = journal.lease(&environment("staging"), &ada()).await.unwrap();
    println!("driving");
    std::future::pending::<()>().await;
}
