//! Where rollouts are measured: a repository with as many commits as wanted, and a host, both of them real and optimised;
//! the replicas are [`super::replica`], since a heavy service would hide what Cutover costs.

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use cutover_model::run::{Event, Record};

use super::{
    ended,
    replica::{BEHAVIOUR, Behaviour},
};
use crate::{failure::Failure, process};

/// What a long request is promised, more than those of [`super::held`] need.
pub(super) const DRAIN: Duration = Duration::from_secs(1);

const DESCRIPTION: &str = r#"
[service]
name = "light"

[artifact]
run = "XTASK replica"
keep = 2

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
drain = "1s"

[environments.ten]
target = "host"
listen = "127.0.0.1:TEN"
replicas = 10
drain = "1s"
bad = { watch = "0s" }
"#;

/// Everything that a release needs; all of it ends when this is dropped.
pub(super) struct Stage {
    folder: tempfile::TempDir,
    cutover: PathBuf,
    host: Option<Child>,
    /// Ports of the environments `two` and `ten`.
    ports: [u16; 2],
}

impl Stage {
    pub(super) fn set() -> Result<Self, Failure> {
        let cutover = build()?;
        let file = |source| Failure::File { path: "a temporary folder".into(), source };
        let folder = tempfile::tempdir().map_err(file)?;
        let ports = [super::free_port().map_err(file)?, super::free_port().map_err(file)?];
        let mut stage = Self { folder, cutover, host: None, ports };
        stage.plant()?;
        stage.start_host()?;
        Ok(stage)
    }

    /// Where an environment's requests go.
    pub(super) fn address(&self, environment: &str) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports[usize::from(environment == "ten")]).into()
    }

    fn repository(&self) -> PathBuf {
        self.folder.path().join("light")
    }

    fn plant(&self) -> Result<(), Failure> {
        let xtask = env::current_exe().map_err(|source| Failure::File { path: "xtask".into(), source })?;
        let description = DESCRIPTION
            .replace("TWO", &self.ports[0].to_string())
            .replace("TEN", &self.ports[1].to_string())
            .replace("XTASK", &xtask.display().to_string());
        self.write("cutover.toml", &description)?;
        self.write(".gitignore", "/.cutover\n")?;
        self.git(&["init", "--quiet", "--initial-branch", "main"]).map(|_| ())
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        let path = self.repository().join(name);
        fs::create_dir_all(self.repository())
            .and_then(|()| fs::write(&path, text))
            .map_err(|source| Failure::File { path, source })
    }

    /// One more commit, of code that behaves like this; its hash.
    pub(super) fn commit(&self, subject: &str, behaviour: Behaviour) -> Result<String, Failure> {
        self.write(BEHAVIOUR, &behaviour.text())?;
        self.git(&["add", "--all"])?;
        let who = ["-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "commit.gpgsign=false"];
        self.git(&[&who[..], &["commit", "--quiet", "--allow-empty", "--message", subject]].concat())?;
        self.git(&["rev-parse", "HEAD"]).map(|hash| hash.trim().to_owned())
    }

    fn git(&self, arguments: &[&str]) -> Result<String, Failure> {
        process::output(&mut self.git_command(arguments))
    }

    pub(super) fn git_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.current_dir(self.repository()).args(arguments);
        command
    }

    pub(super) fn cutover(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.cutover);
        command.current_dir(self.repository()).args(arguments);
        command
    }

    /// Releases a commit; whether it serves then, and what the journal recorded of it.
    pub(super) fn try_release(
        &self,
        environment: &str,
        commit: &str,
    ) -> Result<(bool, Vec<Record>), Failure> {
        let mut command = self.cutover(&["release", environment, "--ref", commit, "--json=events"]);
        let told = command.stdin(Stdio::null()).output();
        let told = told.map_err(|source| Failure::Start { program: "cutover".into(), source })?;
        let text = String::from_utf8_lossy(&told.stdout).into_owned();
        let records = text.lines().filter(|line| line.contains("\"seq\"")).map(serde_json::from_str);
        let unreadable = |_| Failure::Unreadable { bench: "rollout", what: "events", output: text.clone() };
        let records = records.collect::<Result<Vec<Record>, _>>().map_err(unreadable)?;
        match told.status.code() {
            Some(0) => Ok((true, records)),
            Some(1) => Ok((false, records)),
            _ => {
                eprintln!("{}", String::from_utf8_lossy(&told.stderr));
                Err(ended("cutover release", told.status))
            }
        }
    }

    /// Releases a commit that has to serve then; what the journal recorded of it.
    pub(super) fn release(&self, environment: &str, commit: &str) -> Result<Vec<Record>, Failure> {
        let (serves, records) = self.try_release(environment, commit)?;
        let why = || records.iter().rfind(|record| matches!(record.event, Event::Failed { .. }));
        if serves {
            return Ok(records);
        }
        let output = format!("{:?}", why());
        Err(Failure::Unreadable { bench: "rollout", what: "good release", output })
    }

    fn start_host(&mut self) -> Result<(), Failure> {
        let log = self.folder.path().join("host.log");
        let file = fs::File::create(&log).map_err(|source| Failure::File { path: log, source })?;
        let mut command = self.cutover(&["host"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn();
        let host = child.map_err(|source| Failure::Start { program: "cutover".into(), source })?;
        let host = self.host.insert(host);
        let socket = self.folder.path().join("light/.cutover/host/host.sock");
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

/// Builds the command; where it is.
fn build() -> Result<PathBuf, Failure> {
    process::run(process::cargo().args(["build", "--quiet", "--release", "--package", "cutover-cli"]))?;
    Ok(super::release_folder()?.join("cutover"))
}
