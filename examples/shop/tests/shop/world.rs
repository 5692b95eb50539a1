//! What a team has: the shop's repository, a database, a host that runs the service, and the `cutover` command.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{PATIENCE, history, replica::Migrated, wire};

/// The command, built beside the shop; `None`, which was said, where it was not.
fn cutover() -> Option<PathBuf> {
    let binary = Path::new(env!("CARGO_BIN_EXE_shop")).with_file_name("cutover");
    if binary.exists() {
        return Some(binary);
    }
    cutover_testdb::skip("the command `cutover`: cargo build --package cutover-cli");
    None
}

pub(crate) struct World {
    folder: TempDir,
    cutover: PathBuf,
    pub(crate) database: Migrated,
    pub(crate) gate: SocketAddr,
    host: Option<Child>,
}

/// What one command left.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    /// Both its outputs.
    pub(crate) text: String,
}

impl World {
    /// With the history made and the host running; `None`, which was said, where a part is missing.
    pub(crate) fn begin() -> Option<Self> {
        let (cutover, database) = (cutover()?, Migrated::to("nothing")?);
        let folder = tempfile::Builder::new().prefix("shop-release-").tempdir().unwrap();
        let gate = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
        let mut world = Self { folder, cutover, database, gate, host: None };
        let made = history::make(&world.repository(), &gate.to_string());
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        world.start_host();
        Some(world)
    }

    fn repository(&self) -> PathBuf {
        self.folder.path().join("shop")
    }

    /// The command in the repository, with what a team's shell would have.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.cutover);
        command.current_dir(self.repository()).args(arguments).stdin(Stdio::null());
        command.env("SHOP_BINARY", env!("CARGO_BIN_EXE_shop"));
        command.env("SHOP_DATABASE_URL", &self.database.url);
        command.env("SHOP_MIGRATION_DATABASE_URL", &self.database.url);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        let output = self.command(arguments).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        Said { code: output.status.code(), text: String::from_utf8_lossy(&text).into_owned() }
    }

    fn start_host(&mut self) {
        let log = fs::File::create(self.folder.path().join("host.log")).unwrap();
        let mut command = self.command(&["host"]);
        self.host = Some(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
        let socket = self.repository().join(".cutover/host/host.sock");
        let patience = Instant::now() + PATIENCE;
        while UnixStream::connect(&socket).is_err() {
            assert!(Instant::now() < patience, "the host never answered: {}", self.host_log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn host_log(&self) -> String {
        fs::read_to_string(self.folder.path().join("host.log")).unwrap_or_default()
    }

    /// The release that answers through the gate.
    pub(crate) fn serving(&self) -> String {
        let info = wire::get(self.gate, "/info");
        let value: Value = serde_json::from_str(&info.body).unwrap_or_else(|_| panic!("{info:?}"));
        value["release"].as_str().unwrap().to_owned()
    }

    /// Process ids of the replicas that the host knows.
    fn replicas(&self) -> Vec<u64> {
        let said = self.command(&["status", "--json"]).output().unwrap();
        let status: Value = serde_json::from_slice(&said.stdout).unwrap_or_default();
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let releases = list(&status["fleet"]["releases"]);
        let replicas = releases.iter().flat_map(|release| list(&release["replicas"]));
        replicas.filter_map(|replica| replica["pid"].as_u64()).collect()
    }

    /// Every file of ours, journal, logs and artifacts, in which this text stands.
    pub(crate) fn files_with(&self, text: &str) -> Vec<PathBuf> {
        let mut waiting = vec![self.folder.path().to_owned()];
        let mut found = Vec::new();
        while let Some(folder) = waiting.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    waiting.push(entry.path());
                } else if kind.is_file() && has(&fs::read(entry.path()).unwrap_or_default(), text) {
                    found.push(entry.path());
                }
            }
        }
        found
    }
}

fn has(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

impl Drop for World {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the host's log:\n{}", self.host_log());
        }
        let replicas = self.replicas();
        if let Some(host) = &mut self.host {
            let _ = host.kill();
            let _ = host.wait();
        }
        for pid in replicas {
            // A replica outlives its host, which is the point of it; it leads a process group of its own.
            let group = format!("-{pid}");
            let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        }
    }
}
