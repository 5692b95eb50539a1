//! A host with its state directory and address, and what tests ask of it. All that it started ends with it.

use std::{
    collections::BTreeMap,
    fs,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;
use cutover_model::{
    ReleaseNumber,
    config::{Gate, Health, Span, Variables},
    fleet::{Desired, DesiredRelease, FleetName, Generation, Observed, ObservedReplica, RunSpec},
};
use cutover_targets::host::{HostClient, HostError};
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::ROLE;

/// For anything that must happen at all.
pub(crate) const LIVELY: Duration = Duration::from_secs(60);

/// What the host's environment holds under `HOST_SECRET`.
pub(crate) const SECRET: &str = "postgres://shop:hunter-22-hunter@localhost/shop";

/// One release in a desired state, in short.
#[derive(Clone)]
pub(crate) struct Wanted {
    release: u64,
    replicas: u32,
    weight: f64,
    variables: Variables,
    pub(crate) drain: Duration,
    pub(crate) stop_within: Duration,
    pub(crate) start_within: Span,
}

/// A release with a weight of 1 that behaves.
pub(crate) fn wanted(release: u64, replicas: u32) -> Wanted {
    Wanted {
        release,
        replicas,
        weight: 1.0,
        variables: Variables::new(),
        drain: Duration::from_secs(30),
        stop_within: Duration::from_secs(30),
        start_within: Span::from_secs(30),
    }
}

impl Wanted {
    pub(crate) fn weight(mut self, weight: f64) -> Self {
        self.weight = weight;
        self
    }

    pub(crate) fn replicas(mut self, replicas: u32) -> Self {
        self.replicas = replicas;
        self
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.into(), value.parse().unwrap());
        self
    }
}

pub(crate) struct World {
    directory: TempDir,
    host: Option<Child>,
    pub(crate) client: HostClient,
    pub(crate) fleet: FleetName,
    pub(crate) listen: SocketAddr,
    environment: BTreeMap<String, String>,
    written: u64,
}

impl World {
    /// A host with nothing to do.
    pub(crate) async fn start() -> Self {
        let mut world = Self::without_host();
        world.start_host().await;
        world
    }

    pub(crate) fn without_host() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("state/host.sock");
        Self {
            directory,
            host: None,
            client: HostClient::new(socket),
            fleet: "shop.test".parse().unwrap(),
            listen: free_address(),
            environment: [("HOST_SECRET".to_owned(), SECRET.to_owned())].into(),
            written: 0,
        }
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    pub(crate) fn fleet_dir(&self) -> PathBuf {
        self.state_dir().join("fleets").join(self.fleet.to_string())
    }

    pub(crate) fn environment(&mut self, name: &str, value: Option<String>) {
        match value {
            Some(value) => self.environment.insert(name.into(), value),
            None => self.environment.remove(name),
        };
    }

    /// A host of this world, not yet started.
    pub(crate) fn command(&self, takeover: bool) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "role", "--nocapture"]).env(ROLE, "host").env("STATE_DIR", self.state_dir());
        command.envs(takeover.then_some(("TAKEOVER", "1"))).envs(&self.environment);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Starts a host and waits until it answers.
    pub(crate) async fn start_host(&mut self) {
        let pid = self.spawn_host(false);
        self.until_answers(pid).await;
    }

    /// Starts a host; its process.
    pub(crate) fn spawn_host(&mut self, takeover: bool) -> u32 {
        let child = self.command(takeover).spawn().unwrap();
        self.host.insert(child).id()
    }

    pub(crate) async fn until_answers(&self, pid: u32) {
        let deadline = Instant::now() + LIVELY;
        while self.client.status().await.map(|status| status.pid).ok() != Some(pid) {
            assert!(Instant::now() < deadline, "the host does not answer");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Starts another host beside the one that runs, and waits until it has taken over. The old one.
    pub(crate) async fn take_over(&mut self) -> Child {
        let old = self.host.take().unwrap();
        let pid = self.spawn_host(true);
        self.until_answers(pid).await;
        old
    }

    /// Ends the host as a crash would.
    pub(crate) fn kill_host(&mut self) {
        let mut host = self.host.take().unwrap();
        host.kill().unwrap();
        host.wait().unwrap();
    }

    /// Ends the host as an operator would.
    pub(crate) async fn stop_host(&mut self) {
        let mut host = self.host.take().unwrap();
        signal(host.id(), rustix::process::Signal::TERM);
        let status = tokio::task::spawn_blocking(move || host.wait()).await.unwrap().unwrap();
        assert!(status.success(), "{status}");
    }

    pub(crate) fn desired(&mut self, releases: &[Wanted]) -> Desired {
        self.written += 1;
        let releases = releases.iter().map(|wanted| DesiredRelease {
            release: ReleaseNumber::new(wanted.release).unwrap(),
            replicas: wanted.replicas,
            weight: wanted.weight,
            run: self.run(wanted),
        });
        Desired {
            generation: Generation { fence: 1, write: self.written },
            listen: self.listen,
            gate: Gate::default(),
            releases: releases.collect(),
        }
    }

    fn run(&self, wanted: &Wanted) -> RunSpec {
        let mut variables = wanted.variables.clone();
        let own = std::env::current_exe().unwrap();
        variables.insert(ROLE.into(), "replica".parse().unwrap());
        variables.insert("TEST_WORLD".into(), self.directory.path().display().to_string().parse().unwrap());
        let health = r#"{"live":"/live","ready":"/ready","interval":"50ms","timeout":"10s"}"#;
        let health: Health = serde_json::from_str(health).unwrap();
        RunSpec {
            command: format!("{} --exact role --nocapture", own.display()).parse().unwrap(),
            directory: self.directory.path().to_owned(),
            variables,
            health: Health { start_within: wanted.start_within, ..health },
            drain: wanted.drain,
            stop_within: wanted.stop_within,
        }
    }

    /// Wants these releases from now on.
    pub(crate) async fn want(&mut self, releases: &[Wanted]) -> Observed {
        let desired = self.desired(releases);
        self.client.put(&self.fleet, &desired).await.unwrap()
    }

    pub(crate) async fn try_want(&mut self, releases: &[Wanted]) -> Result<Observed, HostError> {
        let desired = self.desired(releases);
        self.client.put(&self.fleet, &desired).await
    }

    pub(crate) async fn observe(&self) -> Observed {
        self.client.observe(&self.fleet).await.unwrap()
    }

    /// Waits until the fleet is so.
    pub(crate) async fn until(&self, what: &str, so: impl Fn(&Observed) -> bool) -> Observed {
        let deadline = Instant::now() + LIVELY;
        let mut after = 0;
        loop {
            let wait = Duration::from_secs(5);
            let observed = self.client.observe_after(&self.fleet, after, wait).await.unwrap();
            if so(&observed) {
                return observed;
            }
            assert!(Instant::now() < deadline, "still not {what}: {observed:#?}");
            after = observed.version;
        }
    }

    pub(crate) async fn until_ready(&self, release: u64, count: u32) -> Observed {
        let release = ReleaseNumber::new(release).unwrap();
        self.until(&format!("{count} of {release} ready"), |observed| observed.ready(release) == count).await
    }

    /// A request through the gate.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        get(self.listen, path).await
    }

    /// The release, replica and process that answer a request through the gate.
    pub(crate) async fn who(&self) -> (String, String, u32) {
        let (status, body) = self.get("/").await;
        assert_eq!(status, 200, "{body}");
        let mut parts = body.split(' ').map(str::to_owned);
        let mut next = || parts.next().unwrap();
        (next(), next(), next().parse().unwrap())
    }

    /// Every process that runs as a replica of this world, whether its host knows it or not.
    pub(crate) fn replica_processes(&self) -> Vec<u32> {
        self.processes_with("CUTOVER_REPLICA=")
    }

    /// The processes of this world that have such an environment variable.
    fn processes_with(&self, variable: &str) -> Vec<u32> {
        let mark = format!("TEST_WORLD={}", self.directory.path().display());
        let has = |pid: &u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let mut variables = environment.split(|byte| *byte == 0);
            variables.clone().any(|entry| entry == mark.as_bytes())
                && variables.any(|entry| entry.starts_with(variable.as_bytes()))
        };
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let mut pids: Vec<u32> =
            entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(has).collect();
        pids.sort_unstable();
        pids
    }

    /// Every file under the state directory that holds this text.
    pub(crate) fn files_with(&self, text: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut left = vec![self.directory.path().to_owned()];
        while let Some(path) = left.pop() {
            let kind = path.symlink_metadata().unwrap().file_type();
            if kind.is_dir() {
                left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            } else if kind.is_file() && String::from_utf8_lossy(&fs::read(&path).unwrap()).contains(text) {
                found.push(path);
            }
        }
        found
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut host) = self.host.take() {
            let _ = host.kill();
            let _ = host.wait();
        }
        for pid in self.processes_with("") {
            signal(pid, rustix::process::Signal::KILL);
        }
    }
}

pub(crate) fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    let _ = rustix::process::kill_process(pid, signal);
}

/// True while a process runs; a zombie does not.
pub(crate) fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

pub(crate) async fn until_gone(pid: u32) {
    let deadline = Instant::now() + LIVELY;
    while runs(pid) {
        assert!(Instant::now() < deadline, "process {pid} still runs");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn replicas(observed: &Observed) -> impl Iterator<Item = &ObservedReplica> {
    observed.releases.iter().flat_map(|release| &release.replicas)
}

pub(crate) fn pids(observed: &Observed) -> Vec<u32> {
    replicas(observed).filter_map(|replica| replica.pid).collect()
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    try_get(address, path).await.unwrap()
}

pub(crate) async fn try_get(
    address: SocketAddr,
    path: &str,
) -> Result<(u16, String), Box<dyn std::error::Error>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get(path).header("host", "test").body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await?.to_bytes();
    connection.abort();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
