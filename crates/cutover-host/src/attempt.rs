//! One attempt of a replica: one process from its start to the end of the last one of its group, told as it happens.
//!
//! ```text
//! record durable ──► references resolved ──► FIFO, process ──► Launched ──► … it ends ──► Ending
//!                                                                ──► the rest of its group ends ──► Ended
//! ```
//!
//! The intent to start is durable before the process is, and carries the id that the process will have in its
//! environment; so a host that dies in between finds the process again, and none runs unknown.

use std::{
    fs::File,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tokio::{sync::mpsc, task::spawn_blocking};

use crate::{
    fifo::Channel,
    fleet::Message,
    output::{self, Log},
    probe::Finding,
    process::{End, Process, REPLICA_VARIABLE},
    replica::ReplicaId,
    state::{FleetFiles, Record, Recorder},
    variables::{self, Resolved},
};

/// For the last output of a process that has ended to arrive.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

/// What becomes of an attempt.
#[derive(Debug)]
pub(crate) enum Happening {
    /// Its process runs.
    Launched(Process),
    /// There is no process, and why.
    NotLaunched(String),
    /// A probe's news.
    Found(Finding),
    /// The gate has no request of it.
    Drained,
    /// Its process has ended; others of its group may still run.
    Ending,
    /// Nothing of it is left.
    Ended(Ended),
}

/// How an attempt ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// For operators, redacted.
    pub(crate) reason: String,
    /// Somebody else has its port, which explains why it ended.
    pub(crate) port_taken: bool,
}

/// Tells a fleet what becomes of one attempt.
#[derive(Debug, Clone)]
pub(crate) struct Reporter {
    pub(crate) to: mpsc::Sender<Message>,
    pub(crate) id: ReplicaId,
    pub(crate) attempt: u32,
}

impl Reporter {
    pub(crate) async fn tell(&self, happening: Happening) {
        // Nobody listens any more when the host is ending; replicas go on without it.
        let _ = self.to.send(Message::Happened(self.id.clone(), self.attempt, happening)).await;
    }
}

/// One attempt and where it stands.
pub(crate) struct Attempt {
    pub(crate) record: Record,
    pub(crate) files: FleetFiles,
    pub(crate) log: Arc<Log>,
    pub(crate) report: Reporter,
}

impl Attempt {
    /// Starts the process and stays with it to its end.
    pub(crate) async fn launch(self, recorder: Recorder) {
        match self.start(&recorder).await {
            Err(reason) => self.report.tell(Happening::NotLaunched(self.log.redact(&reason))).await,
            Ok((process, channel)) => {
                let began = Instant::now();
                self.report.tell(Happening::Launched(process.clone())).await;
                self.live(&process, Some(channel), Some(began)).await;
            }
        }
    }

    /// Stays with a process that an earlier host has started.
    pub(crate) async fn adopt(self, process: Process) {
        let channel = Channel::open(&self.files.fifo(&self.record.id, self.record.attempt));
        if let Err(error) = &channel {
            self.log.note(&format!("its output can't be read any more: {error}"));
        }
        self.live(&process, channel.ok(), None).await;
    }

    async fn start(&self, recorder: &Recorder) -> Result<(Process, Channel), String> {
        let record = &self.record;
        let path = self.files.record(&record.id);
        recorder.write(path.clone(), record).await.map_err(|error| {
            format!("it was not started, because {} can't be written: {error}", path.display())
        })?;
        let run = record.run.clone();
        let found = spawn_blocking(move || {
            let resolved = variables::resolve(&run.variables, &run.directory)
                .map_err(|missing| missing.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
            Ok((resolved, variables::program(&run)?))
        });
        let (resolved, program) = found.await.map_err(|error| error.to_string()).flatten()?;
        self.log.set_redactor(resolved.redactor(&record.run.variables));
        let (channel, ends) = Channel::create(&self.files.fifo(&record.id, record.attempt))
            .map_err(|error| format!("its output can't be captured: {error}"))?;
        let process =
            spawn(Command::new(&program), &resolved, record, ends).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => format!(
                    "{} can't be started: it, its interpreter or {} does not exist",
                    program.display(),
                    record.run.directory.display()
                ),
                _ => format!("{} can't be started: {error}", program.display()),
            })?;
        let pid = process.identity().pid;
        self.log.note(&format!("started as process {pid} on port {}", record.port));
        Ok((process, channel))
    }

    async fn live(&self, process: &Process, channel: Option<Channel>, began: Option<Instant>) {
        let pumping = channel.map(|channel| tokio::spawn(channel.pump(Arc::clone(&self.log))));
        process.ended().await;
        let lived = began.map(|began| began.elapsed());
        self.report.tell(Happening::Ending).await;
        self.end_rest(process).await;
        let end = process.reap();
        if let Some(mut pumping) = pumping
            && tokio::time::timeout(LAST_OUTPUT, &mut pumping).await.is_err()
        {
            pumping.abort();
        }
        let reason = self.reason(end, lived);
        let port_taken = is_taken(self.record.port);
        self.report.tell(Happening::Ended(Ended { reason, port_taken })).await;
    }

    /// A replica ends as a whole: what its process leaves behind gets SIGTERM, and after `stop_within` SIGKILL. The process
    /// stays unreaped for so long, which keeps its group's number its own.
    async fn end_rest(&self, process: &Process) {
        let kill_at = Instant::now() + self.record.run.stop_within;
        let mut signal = Some(Signal::TERM);
        let mut pause = Duration::from_millis(10);
        loop {
            let (process, id) = (process.clone(), self.record.id.clone());
            let late = Instant::now() >= kill_at;
            let signal = if late { Some(Signal::KILL) } else { signal.take() };
            let left = spawn_blocking(move || process.signal_rest(&id, signal)).await;
            match left.map_err(io::Error::other).flatten() {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => return self.log.note(&format!("what it left behind can't be ended: {error}")),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }

    fn reason(&self, end: End, lived: Option<Duration>) -> String {
        let after = lived.map_or(String::new(), |lived| match lived.as_millis() {
            millis @ ..10_000 => format!(" after {millis} ms"),
            millis => format!(" after {} s", millis / 1000),
        });
        self.log.note(&format!("{end}{after}"));
        format!("it {end}{after}")
    }
}

/// What an operator reads about an end: the reason, and what the replica said last.
pub(crate) fn with_last_output(reason: &str, files: &FleetFiles, id: &ReplicaId) -> String {
    match output::last_output(&files.log(id)) {
        Some(said) => format!("{reason}; its last output:\n{said}"),
        None => format!("{reason}; it wrote nothing"),
    }
}

/// A port of the loopback interface that nobody listens on now. Somebody else may take it before the replica does; the
/// replica is then started again on another.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Where a replica listens.
pub(crate) fn address(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn is_taken(port: u16) -> bool {
    TcpListener::bind(address(port)).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

fn spawn(
    mut command: Command,
    variables: &Resolved,
    record: &Record,
    [out, err]: [File; 2],
) -> io::Result<Process> {
    let run = &record.run;
    command
        .env_clear()
        .envs(variables::inherited())
        .envs(variables::pairs(variables))
        .env("PORT", record.port.to_string())
        .env("CUTOVER_RELEASE", record.release.to_string())
        .env(REPLICA_VARIABLE, record.id.as_str())
        .arg0(&run.command.words()[0])
        .args(&run.command.words()[1..])
        .current_dir(&run.directory)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .process_group(0);
    let mut child = command.spawn()?;
    let process = Process::of_child(child.id());
    if process.is_err() {
        // Nobody else reaps it, so its number is still its own.
        child.kill()?;
        child.wait()?;
    }
    process
}
