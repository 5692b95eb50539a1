//! Twenty processes at once on each database, some killed with SIGKILL at random moments: every migration once, the others
//! succeed, no lock left.
//!
//! The seed is printed; `CUTOVER_TEST_SEED` replays the moments (the kernel's scheduling is its own).

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking and prints its seed")]

mod support;

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use cutover_migrate::{
    Dialect, LockState, Notice, OnInterrupted, Options, Silent, Source, Upto, check_lock, up,
};
use secrecy::SecretString;
use support::{Backend, folder};

const RUNNERS: usize = 20;
const MIGRATIONS: usize = 8;

/// Run as a child process by the tests below.
#[tokio::test]
#[ignore = "one of the runners that the other tests start"]
async fn runner() {
    let url = SecretString::from(std::env::var("RUNNER_URL").unwrap());
    let source = Source::open(std::env::var("RUNNER_DIR").unwrap(), None).unwrap();
    let mut database = cutover_migrate::Database::connect(&url).await.unwrap();
    let options =
        Options { lease: Duration::from_secs(2), ..Options::new(format!("runner {}", std::process::id())) };
    up(&source, &mut database, Upto::All, &options, &mut Silent).await.unwrap();
}

fn start(backend: &Backend, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "runner"])
        .env("RUNNER_URL", &backend.url)
        .env("RUNNER_DIR", dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// A migration that takes a while and leaves one row for each time it was run.
fn slow_row(dialect: Dialect, number: usize) -> String {
    match dialect {
        Dialect::Postgres => format!("INSERT INTO ran VALUES ({number});\nSELECT pg_sleep(0.05);"),
        Dialect::Mysql => format!("INSERT INTO ran VALUES ({number});\nSELECT SLEEP(0.05);"),
        Dialect::Sqlite => format!(
            "INSERT INTO ran VALUES ({number});\nWITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) SELECT count(*) FROM n;"
        ),
    }
}

/// xorshift: enough to pick moments, and replayable.
struct Random(u64);

impl Random {
    fn seeded() -> Self {
        let given = std::env::var("CUTOVER_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let seed = given.unwrap_or(u64::from(now.subsec_nanos()) | 1);
        println!("CUTOVER_TEST_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

async fn compete(backend: Backend) {
    let mut random = Random::seeded();
    let first = ("0000_ran.sql".to_owned(), "CREATE TABLE ran (n int);".to_owned());
    let dir = folder(&[(&first.0, &first.1)]);
    backend.up(dir.path(), Upto::All).await.unwrap();
    for number in 1..=MIGRATIONS {
        support::write(dir.path(), &format!("{number:04}_m.sql"), &slow_row(backend.dialect, number));
    }
    let mut runners: Vec<Child> = (0..RUNNERS).map(|_| start(&backend, dir.path())).collect();
    for _ in 0..RUNNERS / 3 {
        tokio::time::sleep(Duration::from_millis(random.below(150))).await;
        let victim = usize::try_from(random.below(RUNNERS as u64)).unwrap();
        runners[victim].kill().unwrap();
        runners[victim].wait().unwrap();
        runners[victim] = start(&backend, dir.path());
    }
    for runner in runners {
        let output = tokio::task::spawn_blocking(|| runner.wait_with_output()).await.unwrap().unwrap();
        assert!(output.status.success(), "{}: {}", backend.name, String::from_utf8_lossy(&output.stdout));
    }
    let expected: Vec<_> = (1..=MIGRATIONS).map(|n| n.to_string()).collect();
    assert_eq!(backend.column("SELECT n FROM ran ORDER BY n").await, expected, "{}", backend.name);
    let ledger = backend.column("SELECT id FROM _cutover_migrations ORDER BY id").await;
    assert_eq!(ledger.len(), MIGRATIONS + 1, "{}", backend.name);
    assert_eq!(check_lock(&mut backend.connect().await).await.unwrap(), LockState::Free, "{}", backend.name);
    if backend.dialect == Dialect::Postgres {
        let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        assert_eq!(backend.rows(locks).await, [["0"]], "{}", backend.name);
    }
}

#[tokio::test]
async fn on_sqlite() {
    compete(support::sqlite()).await;
}

#[tokio::test]
async fn on_postgres() {
    if let Some(backend) = support::postgres() {
        compete(backend).await;
    }
}

#[tokio::test]
async fn through_pgbouncer() {
    if let Some(backend) = support::pgbouncer() {
        compete(backend).await;
    }
}

#[tokio::test]
async fn on_mysql() {
    if let Some(backend) = support::mysql() {
        compete(backend).await;
    }
}

/// Another runner takes the lease while a migration is in the middle: the dispossessed owner takes everything back, gets
/// in line again, and in the end the migration was applied once.
#[tokio::test]
async fn the_fence_takes_back_what_a_dispossessed_owner_did() {
    for backend in [support::postgres(), support::pgbouncer(), support::mysql()].into_iter().flatten() {
        let dir = folder(&[("0000_ran.sql", "CREATE TABLE ran (n int);")]);
        backend.up(dir.path(), Upto::All).await.unwrap();
        let slow = slow_row(backend.dialect, 1).replace("0.05", "1");
        support::write(dir.path(), "0001_slow.sql", &slow);
        let (begun, wait) = tokio::sync::oneshot::channel::<()>();
        let (mut begun, mut starts) = (Some(begun), 0);
        let mut observer = |notice: Notice<'_>| {
            if matches!(notice, Notice::Statement { number: 2, .. }) {
                drop(begun.take());
            }
            starts += usize::from(matches!(notice, Notice::Started { .. }));
        };
        let source = Source::open(dir.path(), None).unwrap();
        let mut database = backend.connect().await;
        let options = Options::new("test");
        let running = up(&source, &mut database, Upto::All, &options, &mut observer);
        let taking = async {
            let _ = wait.await;
            backend.run("UPDATE _cutover_lock SET token = 'another', expires = 1").await;
        };
        let (done, ()) = tokio::join!(running, taking);
        assert_eq!(done.unwrap().migrations.len(), 1, "{}", backend.name);
        assert_eq!(starts, 2, "{}: the first attempt was not taken back", backend.name);
        assert_eq!(backend.column("SELECT n FROM ran").await, ["1"], "{}", backend.name);
    }
}

/// A real kill -9 in the middle of a file that MySQL can't take back: reported clearly, and finished when told.
#[tokio::test]
async fn killed_in_a_mysql_file() {
    let Some(backend) = support::mysql() else { return };
    let dir = folder(&[(
        "0001_a.sql",
        "CREATE TABLE a (id int);\nCREATE TABLE b AS SELECT SLEEP(30) AS s;\nCREATE TABLE c (id int);",
    )]);
    let mut runner = start(&backend, dir.path());
    let running = "SELECT CAST(count(*) AS SIGNED) FROM information_schema.processlist WHERE info LIKE 'CREATE TABLE b%' AND db = DATABASE()";
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while backend.rows(running).await == [["0"]] {
        assert!(std::time::Instant::now() < deadline);
    }
    runner.kill().unwrap();
    runner.wait().unwrap();
    // The server goes on with the statement until it notices; a person would kill it too.
    let id = backend.column("SELECT CAST(id AS SIGNED) FROM information_schema.processlist WHERE info LIKE 'CREATE TABLE b%' AND db = DATABASE()").await;
    backend.run(&format!("KILL {}", id[0])).await;
    let error = backend.up(dir.path(), Upto::All).await.unwrap_err();
    let text = error.to_string();
    for part in ["0001_a", "statement 2 of 3", "line 2", "the 1 before it are done", "--interrupted not-done"]
    {
        assert!(text.contains(part), "no `{part}` in: {text}");
    }
    support::write(
        dir.path(),
        "0001_a.sql",
        "CREATE TABLE a (id int);\nCREATE TABLE b AS SELECT 1 AS s;\nCREATE TABLE c (id int);",
    );
    let source = Source::open(dir.path(), None).unwrap();
    let options = Options { on_interrupted: OnInterrupted::NotDone, ..Options::new("test") };
    up(&source, &mut backend.connect().await, Upto::All, &options, &mut Silent).await.unwrap();
    assert_eq!(backend.rows("SELECT count(*) FROM c").await, [["0"]]);
}
