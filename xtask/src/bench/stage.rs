//! The shop released by Cutover, both optimised: a repository with as many commits as wanted, a PostgreSQL, a host.

use std::{
    fs,
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use cutover_model::run::{Event, Record};
use cutover_testdb::TestDatabase;

use super::ended;
use crate::{failure::Failure, process};

const DESCRIPTION: &str = r#"
[service]
name = "shop"

[artifact]
build = 'cp "$SHOP_BINARY" shop'
run = "./shop"
keep = 2

[migrations]
dir = "migrations"
format = "sqlx"
database = "env:SHOP_DATABASE_URL"

[health]
live = "/health/live"
ready = "/health/ready"
interval = "100ms"

[bad]
error_rate = "1%"
than_old = true
enough_requests = 200

[environments.two]
target = "host"
listen = "127.0.0.1:TWO"
replicas = 2
canary = "50%"
environment = { DATABASE_URL = "env:SHOP_DATABASE_URL" }

[environments.ten]
target = "host"
listen = "127.0.0.1:TEN"
replicas = 10
bad = { watch = "0s" }
environment = { DATABASE_URL = "env:SHOP_DATABASE_URL" }
"#;

/// What one release command told.
pub(super) struct Told {
    /// The release serves now; else the one before it does.
    pub(super) serves: bool,
    /// What the journal recorded.
    pub(super) records: Vec<Record>,
}

/// Everything that a release needs; all of it ends when this is dropped.
pub(super) struct Stage {
    folder: tempfile::TempDir,
    release: PathBuf,
    database: TestDatabase,
    host: Option<Child>,
    /// Ports of the environments `two` and `ten`.
    ports: [u16; 2],
}

impl Stage {
    /// `None` where there is no PostgreSQL.
    pub(super) fn set() -> Result<Option<Self>, Failure> {
        let Some(database) = cutover_testdb::postgres() else { return Ok(None) };
        let release = build()?;
        let file = |source| Failure::File { path: "a temporary folder".into(), source };
        let folder = tempfile::tempdir().map_err(file)?;
        let ports = [super::free_port().map_err(file)?, super::free_port().map_err(file)?];
        let mut stage = Self { folder, release, database, host: None, ports };
        stage.plant()?;
        stage.start_host()?;
        Ok(Some(stage))
    }

    pub(super) fn url(&self, environment: usize, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports[environment])
    }

    fn repository(&self) -> PathBuf {
        self.folder.path().join("shop")
    }

    fn plant(&self) -> Result<(), Failure> {
        let example = crate::root().join("examples/shop");
        let description = DESCRIPTION.replace("TWO", &self.ports[0].to_string());
        let description = description.replace("TEN", &self.ports[1].to_string());
        let migration = "migrations/20260105090000_products_and_orders.sql";
        let write = |name: &str, text: String| {
            let path = self.repository().join(name);
            fs::create_dir_all(path.parent().unwrap_or(&path))
                .and_then(|()| fs::write(&path, text))
                .map_err(|source| Failure::File { path: path.clone(), source })
        };
        let read = |path: PathBuf| fs::read_to_string(&path).map_err(|source| Failure::File { path, source });
        write(migration, read(example.join(migration))?)?;
        write("cutover.toml", description)?;
        write("behaviour.toml", "ready_after_ms = 0\n".into())?;
        write(".gitignore", "/shop\n/.cutover\n".into())?;
        self.git(&["init", "--quiet", "--initial-branch", "main"])?;
        self.commit("Begin")
    }

    /// One more commit with what is in the folder now.
    pub(super) fn commit(&self, subject: &str) -> Result<(), Failure> {
        self.git(&["add", "--all"])?;
        let who = ["-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "commit.gpgsign=false"];
        self.git(&[&who[..], &["commit", "--quiet", "--allow-empty", "--message", subject]].concat())
    }

    /// From the next commit on, replicas are ready so long after their start.
    pub(super) fn ready_after(&self, millis: u32) -> Result<(), Failure> {
        let path = self.repository().join("behaviour.toml");
        fs::write(&path, format!("ready_after_ms = {millis}\n"))
            .map_err(|source| Failure::File { path, source })
    }

    fn git(&self, arguments: &[&str]) -> Result<(), Failure> {
        process::output(Command::new("git").current_dir(self.repository()).args(arguments)).map(|_| ())
    }

    fn cutover(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.release.join("cutover"));
        command.current_dir(self.repository()).args(arguments);
        command.env("SHOP_BINARY", self.release.join("shop")).env("SHOP_DATABASE_URL", &self.database.url);
        command
    }

    /// Releases the newest commit.
    pub(super) fn release(&self, environment: &str) -> Result<Told, Failure> {
        let mut command = self.cutover(&["release", environment, "--json=events"]);
        let told = command.stdin(Stdio::null()).output();
        let told = told.map_err(|source| Failure::Start { program: "cutover".into(), source })?;
        let text = String::from_utf8_lossy(&told.stdout).into_owned();
        let unreadable = |what| Failure::Unreadable { bench: "rollout", what, output: text.clone() };
        let records: Result<Vec<Record>, _> =
            text.lines().filter(|line| line.contains("\"seq\"")).map(serde_json::from_str).collect();
        let records = records.map_err(|_| unreadable("events"))?;
        if !told.status.success() {
            let why = records.iter().rfind(|record| matches!(record.event, Event::Failed { .. }));
            eprintln!("{environment}: {why:?}\n{}", String::from_utf8_lossy(&told.stderr));
        }
        Ok(Told { serves: told.status.success(), records })
    }

    fn start_host(&mut self) -> Result<(), Failure> {
        let log = self.folder.path().join("host.log");
        let file = fs::File::create(&log).map_err(|source| Failure::File { path: log, source })?;
        let mut command = self.cutover(&["host"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn();
        let host = child.map_err(|source| Failure::Start { program: "cutover".into(), source })?;
        let host = self.host.insert(host);
        let socket = self.folder.path().join("shop/.cutover/host/host.sock");
        let patience = Instant::now() + Duration::from_secs(30);
        while UnixStream::connect(&socket).is_err() {
            let status = host.try_wait().ok().flatten();
            if let Some(status) = status {
                return Err(ended("cutover host", status));
            }
            if Instant::now() > patience {
                let output = format!("nothing listens on {}", socket.display());
                return Err(Failure::Unreadable { bench: "rollout", what: "host", output });
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// What the host holds in memory, in bytes (proc(5): VmRSS of status, in KiB).
    pub(super) fn host_resident(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.host.as_ref()?.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
    }

    /// The demo's report.
    pub(super) fn demo(&self) -> Result<serde_json::Value, Failure> {
        let output = process::output(&mut self.cutover(&["demo", "--json"]))?;
        let unreadable =
            |_| Failure::Unreadable { bench: "rollout", what: "report of the demo", output: output.clone() };
        serde_json::from_str(&output).map_err(unreadable)
    }

    /// Process groups of the replicas; each outlives the host by design.
    fn replicas(&self) -> Vec<u64> {
        let told =
            ["two", "ten"].map(|environment| self.cutover(&["status", environment, "--json"]).output());
        let values = told.into_iter().flatten().filter_map(|told| serde_json::from_slice(&told.stdout).ok());
        values.flat_map(|status: serde_json::Value| pids(&status)).collect()
    }
}

/// Every `pid` anywhere in a document.
fn pids(value: &serde_json::Value) -> Vec<u64> {
    match value {
        serde_json::Value::Object(fields) => {
            let own = fields.get("pid").and_then(serde_json::Value::as_u64);
            own.into_iter().chain(fields.values().flat_map(pids)).collect()
        }
        serde_json::Value::Array(items) => items.iter().flat_map(pids).collect(),
        _ => Vec::new(),
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let replicas = self.replicas();
        if let Some(mut host) = self.host.take() {
            let _ = host.kill();
            let _ = host.wait();
        }
        for pid in replicas {
            let group = format!("-{pid}");
            let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        }
    }
}

/// Builds both programs; the folder they are in.
fn build() -> Result<PathBuf, Failure> {
    process::run(process::cargo().args([
        "build",
        "--quiet",
        "--release",
        "--package",
        "cutover-cli",
        "--package",
        "shop",
    ]))?;
    super::release_folder()
}
