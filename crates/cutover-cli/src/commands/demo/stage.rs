//! What the demo plays on: a git repository with a described service, a database, and a host as a process of its own, all in
//! one directory that is removed at the end.

use std::{
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use cutover_model::{
    EnvironmentName,
    config::{CommandLine, Gate},
    fleet::{Desired, FleetName, Generation},
};
use cutover_targets::host::HostClient;

use super::service::{BEHAVIOUR, Behaviour};
use crate::{
    args::Global,
    failure::{Failure, Kind},
};

/// How long the host may take to answer after its start.
const HOST_WITHIN: Duration = Duration::from_secs(20);

/// The demo's directory and host.
pub(super) struct Stage {
    dir: PathBuf,
    keep: bool,
    /// Held all the time, as systemd holds a service's socket: connections wait while the host is away.
    listener: TcpListener,
    host: Option<Child>,
    pub(super) fleet: FleetName,
}

impl Stage {
    /// Makes the repository, without a commit yet.
    pub(super) fn set(keep: bool) -> Result<Self, Failure> {
        let dir = std::env::temp_dir().join(format!("cutover-demo-{}", std::process::id()));
        let stage = Self {
            listener: TcpListener::bind("127.0.0.1:0")?,
            fleet: "orders.demo".parse().expect("a constant name"),
            host: None,
            keep,
            dir,
        };
        std::fs::create_dir_all(stage.repository().join("migrations"))?;
        std::fs::write(stage.secret(), format!("sqlite:{}?mode=rwc", stage.dir.join("orders.db").display()))?;
        stage.git(&["init", "--quiet", "--initial-branch=main"])?;
        std::fs::write(stage.repository().join("cutover.toml"), stage.description()?)?;
        Ok(stage)
    }

    /// Where requests go.
    pub(super) fn address(&self) -> Result<SocketAddr, Failure> {
        Ok(self.listener.local_addr()?)
    }

    /// The environment that is released to.
    pub(super) fn environment(&self) -> &EnvironmentName {
        &self.fleet.environment
    }

    /// The arguments that a person would have given in the repository.
    pub(super) fn global(&self, json: Option<crate::args::Json>) -> Global {
        let file = self.repository().join("cutover.toml");
        Global { file, state: None, host: None, json, verbose: 0 }
    }

    /// Commits a change of the service: how it behaves, and the migrations it brings or takes away (`None`).
    pub(super) fn commit(
        &self,
        subject: &str,
        behaviour: &Behaviour,
        migrations: &[(&str, Option<&str>)],
    ) -> Result<(), Failure> {
        let repository = self.repository();
        let text = serde_json::to_string_pretty(behaviour).expect("plain data");
        std::fs::write(repository.join(BEHAVIOUR), text)?;
        for (name, sql) in migrations {
            let file = repository.join("migrations").join(name);
            match sql {
                Some(sql) => std::fs::write(file, sql)?,
                None => std::fs::remove_file(file)?,
            }
        }
        self.git(&["add", "--all"])?;
        let author =
            ["-c", "user.name=demo", "-c", "user.email=demo@localhost", "-c", "commit.gpgsign=false"];
        self.git(
            &[&author[..], &["commit", "--quiet", "--no-verify", "--allow-empty", "-m", subject]].concat(),
        )
    }

    /// Starts the host, and waits until it answers.
    pub(super) async fn start_host(&mut self) -> Result<(), Failure> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.dir.join("host.log"))?;
        // The socket comes as standard input and is passed on by the protocol of sd_listen_fds(3).
        let script = r#"exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" host --file "$1""#;
        let host = Command::new("sh")
            .args(["-c", script])
            .arg(std::env::current_exe()?)
            .arg(self.repository().join("cutover.toml"))
            .stdin(Stdio::from(OwnedFd::from(self.listener.try_clone()?)))
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.host = Some(host);
        let client = self.client();
        let began = tokio::time::Instant::now();
        while client.status().await.is_err() {
            let died = self.host.as_mut().and_then(|host| host.try_wait().ok().flatten());
            if died.is_some() || began.elapsed() > HOST_WITHIN {
                return Err(self.host_failed());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Kills the host as the kernel does when memory is short.
    pub(super) fn kill_host(&mut self) -> Result<(), Failure> {
        if let Some(mut host) = self.host.take() {
            host.kill()?;
            host.wait()?;
        }
        Ok(())
    }

    /// A client of the host.
    pub(super) fn client(&self) -> HostClient {
        HostClient::new(self.repository().join(".cutover/host/host.sock"))
    }

    /// Stops replicas and host, and removes the directory unless it shall stay.
    pub(super) async fn strike(mut self) -> Result<Option<PathBuf>, Failure> {
        if self.host.is_some() {
            self.stop_replicas().await?;
        }
        self.kill_host()?;
        if self.keep {
            return Ok(Some(self.dir));
        }
        std::fs::remove_dir_all(&self.dir)?;
        Ok(None)
    }

    async fn stop_replicas(&self) -> Result<(), Failure> {
        let client = self.client();
        let nothing = Desired {
            generation: Generation { fence: u64::MAX >> 1, write: 0 },
            listen: self.address()?,
            gate: Gate::default(),
            releases: Vec::new(),
        };
        let told = |error: cutover_targets::host::HostError| Failure::new(Kind::Failed, error.to_string());
        client.put(&self.fleet, &nothing).await.map_err(told)?;
        let began = tokio::time::Instant::now();
        loop {
            let observed = client.observe(&self.fleet).await.map_err(told)?;
            let left: usize = observed.releases.iter().map(|release| release.replicas.len()).sum();
            if left == 0 {
                return Ok(());
            }
            if began.elapsed() > HOST_WITHIN {
                return Err(Failure::new(Kind::Failed, format!("{left} replicas of the demo did not stop")));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn host_failed(&self) -> Failure {
        let log = std::fs::read_to_string(self.dir.join("host.log")).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(5).collect();
        Failure::new(
            Kind::Failed,
            format!("the host did not start: {}", tail.into_iter().rev().collect::<Vec<_>>().join(" / ")),
        )
        .help("run `cutover demo --keep` and look at host.log in its directory")
    }

    fn repository(&self) -> PathBuf {
        self.dir.join("orders")
    }

    fn secret(&self) -> PathBuf {
        self.dir.join("database-url")
    }

    fn description(&self) -> Result<String, Failure> {
        let exe = std::env::current_exe()?;
        let run =
            CommandLine::from_words([exe.display().to_string(), "demo-service".into()]).expect("two words");
        let run = toml_string(&run.to_string());
        let secret = toml_string(&format!("file:{}", self.secret().display()));
        let listen = self.address()?;
        Ok(format!(
            r#"[service]
name = "orders"

[checks]
schema = "ls migrations/*.sql"
behaviour = "test -s {BEHAVIOUR}"

[artifact]
run = {run}
keep = 3

[migrations]
dir = "migrations"
database = {secret}

[health]
live = "/health/live"
ready = "/health/ready"
interval = "200ms"

[bad]
error_rate = "5%"
slower_than = "250ms for 5%"
than_old = true
false_alarm = 0.001
watch = "2m"
enough_requests = 200

[gate]
routes = ["/orders", "/orders/{{id}}"]

[environments.demo]
target = "host"
listen = "{listen}"
replicas = 3
canary = "34%"
drain = "5s"
environment = {{ DATABASE_URL = {secret} }}
"#
        ))
    }

    fn git(&self, arguments: &[&str]) -> Result<(), Failure> {
        let mut git = Command::new("git");
        git.arg("-C").arg(self.repository()).args(arguments).stdin(Stdio::null());
        // The demo's repository follows nobody's hooks and templates.
        git.env("GIT_CONFIG_GLOBAL", Path::new("/dev/null")).env("GIT_CONFIG_NOSYSTEM", "1");
        let output = git.output().map_err(|error| {
            Failure::new(Kind::Failed, format!("git can't be run: {error}"))
                .help("install git, then run `cutover demo` again")
        })?;
        if output.status.success() {
            return Ok(());
        }
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(Failure::new(Kind::Failed, format!("git {}: {message}", arguments.join(" "))))
    }
}

/// A basic string of TOML: JSON's escapes are a part of its own.
fn toml_string(text: &str) -> String {
    serde_json::to_string(text).expect("text")
}
