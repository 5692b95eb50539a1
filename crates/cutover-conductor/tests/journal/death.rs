use std::io::{BufRead, BufReader};

use super::*;

/// Killed anywhere in a stream of appends, no record is lost whose append had returned, and at most the one in hand is
/// there besides.
#[tokio::test]
async fn sigkill_loses_no_acknowledged_record() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..12 {
        let mut child = child("death::child_appends_until_it_is_killed", dir.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut acknowledged = Vec::new();
        let wanted = random.usize(1..30);
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            // The test runner's own line may stand before the first.
            if let Some((_, seq)) = line.split_once("acked ") {
                acknowledged.push(seq.trim().parse::<u64>().unwrap());
            }
            if acknowledged.len() == wanted {
                std::thread::sleep(std::time::Duration::from_micros(random.u64(0..3000)));
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let journal = SqliteJournal::open(dir.path()).await.unwrap();
        let there = journal.verify().await.unwrap();
        let newest = *acknowledged.last().unwrap();
        assert!(acknowledged.len() >= wanted, "round {round}");
        assert!(there == newest || there == newest + 1, "round {round}: {there} of {newest}");
        let read = all(&journal, "staging", 1).await;
        assert_eq!(read.len() as u64, there);
        cutover_model::run::Run::replay(&read).unwrap();
    }
}

#[tokio::test]
async fn child_appends_until_it_is_killed() {
    let Some(dir) = child_dir() else { return };
    let journal = SqliteJournal::open(&dir).await.unwrap();
    let mut run = match journal.runs(&environment("staging")).await.unwrap().last() {
        None => Driven::begin(&journal, "staging").await,
        Some(run) => {
            let lease = journal.lease(&environment("staging"), &ada()).await.unwrap();
            let last = all(&journal, "staging", run.0).await.last().unwrap().seq;
            Driven { lease, environment: environment("staging"), run: *run, last }
        }
    };
    loop {
        let fence = run.last.0;
        let record = run.take(&journal, fence).await;
        println!("acked {}", record.seq.0);
    }
}
