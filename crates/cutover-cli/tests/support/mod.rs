//! A described service in a git repository of its own, a host that runs it, and the real `cutover` command: what a person
//! has at a terminal.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test file uses its part; nothing here is published"
)]

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// The password that may never be seen anywhere.
pub const PASSWORD: &str = "hunter-2-is-not-enough";

/// How long a test waits for something that has to happen. Generous: it bounds hanging, it measures nothing.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct World {
    pub dir: tempfile::TempDir,
    pub port: u16,
    host: Option<Child>,
}

/// What one command said.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}\n{}", self.out, self.err))
    }

    /// Asserts exit code and that all texts stand in the message.
    #[track_caller]
    pub fn expect(&self, code: i32, texts: &[&str]) -> &Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.out, self.err);
        for text in texts {
            assert!(
                self.err.contains(text) || self.out.contains(text),
                "`{text}` is not in\n{}\n{}",
                self.out,
                self.err
            );
        }
        assert!(!self.err.contains(PASSWORD) && !self.out.contains(PASSWORD), "a secret was shown");
        assert!(!self.err.contains("panicked"), "{}", self.err);
        self
    }
}

pub fn cutover() -> &'static str {
    env!("CARGO_BIN_EXE_cutover")
}

impl World {
    /// A repository with one commit and the description that `change` makes of the usual one. No host yet.
    pub fn new(change: impl FnOnce(String) -> String) -> Self {
        let dir = tempfile::Builder::new().prefix("cutover-test-").tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let world = Self { dir, port, host: None };
        std::fs::create_dir_all(world.repository().join("migrations")).unwrap();
        let url = format!("sqlite:{}?mode=rwc", world.path("orders.db").display());
        std::fs::write(world.path("database-url"), url).unwrap();
        world.git(&["init", "--quiet", "--initial-branch=main"]);
        world.write("cutover.toml", &change(world.description()));
        world.write("behaviour.json", "{}");
        world.write(
            "migrations/0001_orders.sql",
            "create table orders (id integer primary key, item text not null);\n",
        );
        world.commit("Take orders");
        world
    }

    pub fn description(&self) -> String {
        let (exe, secret) = (cutover(), self.path("database-url").display().to_string());
        format!(
            r#"[service]
name = "orders"

[artifact]
run = "{exe} demo-service"

[migrations]
dir = "migrations"
database = "file:{secret}"
lock_wait = "20s"

[health]
live = "/health/live"
ready = "/health/ready"
interval = "200ms"
start_within = "10s"

[bad]
error_rate = "5%"
watch = "2m"
enough_requests = 100

[environments.test]
target = "host"
listen = "127.0.0.1:{port}"
replicas = 2
canary = "50%"
drain = "5s"
stop_within = "2s"
environment = {{ DATABASE_URL = "file:{secret}" }}
"#,
            port = self.port
        )
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn repository(&self) -> PathBuf {
        self.path("orders")
    }

    pub fn state(&self) -> PathBuf {
        self.repository().join(".cutover")
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.repository().join(name), text).unwrap();
    }

    pub fn edit(&self, name: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.repository().join(name)).unwrap();
        assert!(text.contains(from), "{from}");
        self.write(name, &text.replacen(from, to, 1));
    }

    pub fn commit(&self, subject: &str) {
        self.git(&["add", "--all"]);
        self.git(&[
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@localhost",
            "-c",
            "commit.gpgsign=false",
            "commit",
            "--quiet",
            "--allow-empty",
            "-m",
            subject,
        ]);
    }

    pub fn git(&self, arguments: &[&str]) {
        let output = Command::new("git").arg("-C").arg(self.repository()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The command, as somebody; not started yet.
    pub fn command_as(&self, who: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(cutover());
        command.current_dir(self.repository()).args(arguments).env("CUTOVER_USER", who);
        command.env_remove("RUST_LOG").env_remove("RUST_BACKTRACE").stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Said {
        self.run_as("ada", arguments)
    }

    pub fn run_as(&self, who: &str, arguments: &[&str]) -> Said {
        said(&self.command_as(who, arguments).output().unwrap())
    }

    /// Starts the host and waits until it answers.
    pub fn host(&mut self) -> &mut Self {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("host.log")).unwrap();
        let mut command = self.command_as("host", &["host"]);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.host = Some(command.spawn().unwrap());
        let socket = self.state().join("host/host.sock");
        eventually("the host answers", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
        self
    }

    pub fn kill_host(&mut self) {
        if let Some(mut host) = self.host.take() {
            host.kill().unwrap();
            host.wait().unwrap();
        }
    }

    pub fn host_log(&self) -> String {
        std::fs::read_to_string(self.path("host.log")).unwrap_or_default()
    }

    pub fn status(&self) -> Value {
        self.run(&["status", "--json"]).json()
    }

    /// Process ids of all replicas.
    pub fn pids(&self) -> Vec<u32> {
        let status = self.run(&["status", "--json"]);
        let Ok(status) = serde_json::from_str::<Value>(&status.out) else { return Vec::new() };
        let releases = status["fleet"]["releases"].as_array().cloned().unwrap_or_default();
        let replicas =
            releases.iter().flat_map(|release| release["replicas"].as_array().cloned().unwrap_or_default());
        replicas.filter_map(|replica| replica["pid"].as_u64().map(|pid| pid as u32)).collect()
    }

    /// The release that answers a request through the gate, if any does.
    pub fn answering(&self) -> Option<String> {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET /orders/1 HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let release = answer.lines().find_map(|line| line.strip_prefix("x-release: "));
        release.filter(|_| answer.starts_with("HTTP/1.1 200")).map(str::to_owned)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("host.log:\n{}", self.host_log());
        }
        let pids = if self.host.is_some() { self.pids() } else { Vec::new() };
        self.kill_host();
        for pid in pids {
            // Each replica leads a process group of its own.
            let _ =
                Command::new("kill").args(["-KILL", "--", &format!("-{pid}")]).stderr(Stdio::null()).status();
        }
    }
}

pub fn said(output: &Output) -> Said {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
}

#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a file's text, anywhere below a folder, has this text in it.
pub fn found_below(dir: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            found.extend(found_below(&path, text));
        } else if kind.is_file() && std::fs::read(&path).is_ok_and(|bytes| contains(&bytes, text.as_bytes()))
        {
            found.push(path);
        }
    }
    found
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    text.is_empty() || bytes.windows(text.len()).any(|window| window == text)
}
