//! The journal on real files: what it admits, what it survives, and what it notices.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod append;
mod damage;
mod death;
mod full_disk;
mod lease;
mod mend;

use std::path::Path;

use cutover_conductor::{
    journal::SqliteJournal,
    ports::{Journal, Lease},
};
use cutover_model::{
    EnvironmentName, ReleaseNumber, RunNumber,
    config::Config,
    run::{Commit, Event, Identity, Kind, Plan, Record, Seq},
};

fn environment(name: &str) -> EnvironmentName {
    name.parse().unwrap()
}

fn ada() -> Identity {
    Identity("ada@build-1".into())
}

fn plan(environment_name: &str) -> Plan {
    let text = format!(
        r#"
        [service]
        name = "shop"
        [artifact]
        run = "./shop"
        [health]
        live = "/live"
        ready = "/ready"
        [environments.{environment_name}]
        target = "host"
        listen = "127.0.0.1:0"
        "#
    );
    let settings = Config::parse(&text).unwrap().environment(&environment(environment_name)).unwrap();
    Plan {
        kind: Kind::Release,
        release: ReleaseNumber::FIRST,
        from: None,
        commit: Commit { sha: "a".repeat(40).parse().unwrap(), subject: "first".into() },
        by: ada(),
        settings,
    }
}

/// A run and the lease it is driven under.
struct Driven {
    lease: Box<dyn Lease>,
    environment: EnvironmentName,
    run: RunNumber,
    last: Seq,
}

impl Driven {
    async fn begin(journal: &SqliteJournal, name: &str) -> Self {
        let lease = journal.lease(&environment(name), &ada()).await.unwrap();
        let first = journal.begin(lease.as_ref(), 1, &plan(name)).await.unwrap();
        Self { lease, environment: environment(name), run: first.run, last: first.seq }
    }

    async fn append(&mut self, journal: &SqliteJournal, event: Event) -> Record {
        let lease = Some(self.lease.as_ref());
        let record = journal.append(lease, self.run, &self.environment, self.last, 2, &event).await.unwrap();
        self.last = record.seq;
        record
    }

    /// Takes the run once more, with a fence as high as wanted: an event that may follow any number of times.
    async fn take(&mut self, journal: &SqliteJournal, fence: u64) -> Record {
        self.append(journal, Event::Driving { driver: ada(), fence }).await
    }

    async fn end(&mut self, journal: &SqliteJournal) {
        let reason = "enough".to_owned();
        self.append(journal, Event::AbortRequested { by: ada(), reason: reason.clone() }).await;
        let cause = cutover_model::run::Cause::Aborted { by: ada(), reason };
        let outcome = cutover_model::run::Outcome::Stopped { cause };
        self.append(journal, Event::Ended { outcome }).await;
    }
}

async fn all(journal: &SqliteJournal, name: &str, run: u64) -> Vec<Record> {
    journal.events(&environment(name), RunNumber(run), Seq(0)).await.unwrap()
}

/// Copies the journal's files as they are now, as a power cut would leave them.
fn copy(from: &Path, to: &Path) {
    for name in ["journal.db", "journal.db-wal", "journal.tip"] {
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

/// This test program again, as another process that runs one test.
fn child(test: &str, dir: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(CHILD, dir);
    command
}

const CHILD: &str = "CUTOVER_JOURNAL_TEST_CHILD";

/// The directory a child works in; `None` in the program that people start.
fn child_dir() -> Option<std::path::PathBuf> {
    std::env::var_os(CHILD).map(Into::into)
}
