//! One running shop, in a tree as a release would have it, and its database.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Instant,
};

use cutover_testdb::TestDatabase;
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection, PgConnection, migrate::Migrator};
use tempfile::TempDir;

use crate::PATIENCE;

const BINARY: &str = env!("CARGO_BIN_EXE_shop");

/// The example's own folder.
pub(crate) fn example() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The migrations that the commit with this tag has.
fn migrations(tag: &str) -> Vec<PathBuf> {
    let count = match tag {
        "nothing" => 0,
        "v1" => 1,
        "v2" => 2,
        other => panic!("no such tag here: {other}"),
    };
    let mut files: Vec<PathBuf> =
        fs::read_dir(example().join("migrations")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.truncate(count);
    assert_eq!(files.len(), count);
    files
}

/// A tree with a commit's migrations and this behaviour.
fn tree(tag: &str, behaviour: &str) -> TempDir {
    let tree = tempfile::tempdir().unwrap();
    fs::create_dir(tree.path().join("migrations")).unwrap();
    for file in migrations(tag) {
        fs::copy(&file, tree.path().join("migrations").join(file.file_name().unwrap())).unwrap();
    }
    fs::write(tree.path().join("behaviour.toml"), behaviour).unwrap();
    tree
}

/// A database migrated by sqlx itself, whose ledger the shop reads.
pub(crate) struct Migrated {
    pub(crate) url: String,
}

impl Migrated {
    /// `None`, which was said on stderr, without a PostgreSQL.
    pub(crate) fn to(tag: &str) -> Option<Self> {
        let TestDatabase { url, .. } = cutover_testdb::postgres()?;
        let database = Self { url };
        database.migrate(tag);
        Some(database)
    }

    pub(crate) fn migrate(&self, tag: &str) {
        if tag == "nothing" {
            return;
        }
        let tree = tree(tag, "");
        self.run(async |connection| {
            let migrator = Migrator::new(tree.path().join("migrations")).await.unwrap();
            migrator.run(connection).await.unwrap();
        });
    }

    /// The only column of a query, as text.
    pub(crate) fn column(&self, query: &'static str) -> Vec<String> {
        self.run(async |connection| {
            let text = sqlx::AssertSqlSafe(format!("SELECT x::text FROM ({query}) AS rows (x)"));
            sqlx::query_scalar(text).fetch_all(connection).await.unwrap()
        })
    }

    fn run<T>(&self, work: impl AsyncFnOnce(&mut PgConnection) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut connection = PgConnection::connect(&self.url).await.unwrap();
            let result = work(&mut connection).await;
            connection.close().await.unwrap();
            result
        })
    }
}

/// Everything the process has written so far, and whether it has ended.
#[derive(Default)]
struct Output {
    text: Mutex<String>,
    more: Condvar,
}

/// A running shop; it is killed when this is dropped.
pub(crate) struct Replica {
    pub(crate) address: SocketAddr,
    child: Child,
    output: Arc<Output>,
    _tree: TempDir,
}

impl Replica {
    pub(crate) fn start(database: &Migrated, behaviour: &str) -> Self {
        Self::start_at(database, "v1", behaviour)
    }

    pub(crate) fn start_at(database: &Migrated, tag: &str, behaviour: &str) -> Self {
        Self::start_with(&database.url, tag, behaviour)
    }

    /// Returns when it listens.
    pub(crate) fn start_with(url: &str, tag: &str, behaviour: &str) -> Self {
        let mut replica = Self::spawn(url, tag, behaviour);
        let said = replica.wait_for_output(", pid ");
        let address = said.split("listens on ").nth(1).and_then(|rest| rest.split(',').next());
        replica.address =
            address.and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("{said}"));
        replica
    }

    /// Does not wait; `address` is not known yet.
    pub(crate) fn spawn(url: &str, tag: &str, behaviour: &str) -> Self {
        let tree = tree(tag, behaviour);
        let mut child = Command::new(BINARY)
            .current_dir(tree.path())
            .envs([("PORT", "0"), ("CUTOVER_RELEASE", "r7"), ("DATABASE_URL", url)])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = Arc::new(Output::default());
        collect(child.stdout.take().unwrap(), output.clone());
        collect(child.stderr.take().unwrap(), output.clone());
        Self { address: SocketAddr::from(([127, 0, 0, 1], 0)), child, output, _tree: tree }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn output(&self) -> String {
        self.output.text.lock().unwrap().clone()
    }

    /// All output once it has this part.
    pub(crate) fn wait_for_output(&self, part: &str) -> String {
        let text = self.output.text.lock().unwrap();
        let (text, waited) =
            self.output.more.wait_timeout_while(text, PATIENCE, |text| !text.contains(part)).unwrap();
        assert!(!waited.timed_out(), "never said {part:?}, only: {text}");
        text.clone()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for its end; `None` where a signal ended it.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        let patience = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < patience, "it never ended: {}", self.output());
            thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(stream: impl Read + Send + 'static, output: Arc<Output>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut text = output.text.lock().unwrap();
            text.push_str(&line);
            text.push('\n');
            output.more.notify_all();
        }
    });
}

/// Runs the smoke check; true where it is content.
pub(crate) fn smoke(address: SocketAddr) -> bool {
    let mut command = Command::new(BINARY);
    command.arg("smoke").env("CUTOVER_URL", format!("http://{address}"));
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
}
