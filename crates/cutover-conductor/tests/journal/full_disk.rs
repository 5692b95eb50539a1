use cutover_conductor::ports::JournalError;

use super::*;

/// On a real small volume, mounted in a mount namespace of the child's own so that nothing is left behind. Where this user
/// may not mount, there is nothing to show it with, and the test says so; with `CI` set that is a failure.
#[test]
fn a_full_disk_stops_the_run_and_room_lets_it_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o size=400k none "$0" || exit 77; exec "$@""#;
    let again = child("full_disk::child_fills_its_disk", dir.path());
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script]).arg(dir.path());
    command.arg(again.get_program()).args(again.get_args()).env(CHILD, dir.path());
    let Ok(output) = command.output() else {
        assert!(std::env::var_os("CI").is_none(), "unshare is missing");
        return eprintln!("skipped: unshare is missing");
    };
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let refused = output.status.code() == Some(77) || text.contains("Operation not permitted");
    if refused && std::env::var_os("CI").is_none() {
        return eprintln!("skipped: this user may not mount");
    }
    assert!(output.status.success() && text.contains("went on"), "{text}");
}

#[tokio::test]
async fn child_fills_its_disk() {
    let Some(dir) = child_dir() else { return };
    let ballast = dir.join("ballast");
    std::fs::write(&ballast, vec![0; 120 * 1024]).unwrap();
    let state = dir.join("state");
    let journal = SqliteJournal::open(&state).await.unwrap();
    let mut run = Driven::begin(&journal, "staging").await;
    // The first time, SQLite makes room by moving its log into the database; after that there is none.
    let (mut fence, mut refused) = (0, 0);
    while refused < 3 {
        let event = Event::Driving { driver: ada(), fence: fence + 1 };
        let lease = Some(run.lease.as_ref());
        match journal.append(lease, run.run, &run.environment, run.last, 2, &event).await {
            Ok(record) => (run.last, fence, refused) = (record.seq, fence + 1, 0),
            Err(error) => {
                assert!(matches!(error, JournalError::Full { .. }), "{error:?}");
                assert!(error.to_string().contains("journal.db"), "{error}");
                refused += 1;
            }
        }
        assert!(fence < 10_000, "the disk does not fill");
    }
    assert!(run.last.0 > 3, "full before anything was written");
    // What was acknowledged is all there; also for somebody who opens it now.
    assert_eq!(journal.verify().await.unwrap(), run.last.0);
    let reader = SqliteJournal::open_read_only(&state).await.unwrap();
    assert_eq!(all(&reader, "staging", 1).await.last().unwrap().seq, run.last);
    reader.close().await;

    std::fs::remove_file(&ballast).unwrap();
    run.take(&journal, fence + 1).await;
    assert_eq!(journal.verify().await.unwrap(), run.last.0);
    println!("went on");
}

/// A disk that is full from the beginning says so as well.
#[test]
fn a_journal_that_can_t_be_made_says_why() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("state"), "a file").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = runtime.block_on(SqliteJournal::open(&dir.path().join("state"))).unwrap_err();
    assert!(matches!(error, JournalError::Unusable { .. }), "{error:?}");
}
