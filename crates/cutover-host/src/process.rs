//! Processes that may outlive the host that started them, and signals that never reach a stranger.
//!
//! A number alone does not name a process: the kernel gives it to another one once the first has ended and was reaped.
//! So a process is known by its number, the tick it started at and the boot it started in ([`Identity`]), and every
//! signal goes through a pidfd, which names one process for ever. The order makes it safe: the pidfd is opened first
//! and the identity read afterwards. If what bears the number then is the process that was recorded, it has borne it since
//! before the pidfd was opened, so the pidfd is its own.
//!
//! ```text
//! pidfd_open(pid) ──► read /proc/pid/stat: same start tick? ──yes──► pidfd_send_signal(pidfd)
//!                                                           ──no───► a stranger: it is never signalled
//! ```
//!
//! The rest of a replica's process group is ended the same way, one pidfd each, and never by `kill(-group)`: membership
//! is read after the member's pidfd was opened and while the leader still exists (also as a zombie that was not reaped).
//! The kernel gives no new process a number that a group still bears, so within that time the group's number can't
//! belong to anybody else. Once an adopted leader was reaped by init that proof is gone; then only processes that carry
//! the replica's own id in their environment count.

use std::{
    fs, io,
    os::fd::{AsFd as _, OwnedFd},
    sync::Arc,
};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};
use serde::{Deserialize, Serialize};
use tokio::io::{Interest, unix::AsyncFd};

use crate::replica::ReplicaId;

/// The variable that marks every process of a replica.
pub(crate) const REPLICA_VARIABLE: &str = "CUTOVER_REPLICA";

/// Names one process for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    /// Field 22 of `/proc/<pid>/stat`: clock ticks since boot.
    pub(crate) start_ticks: u64,
    pub(crate) boot_id: String,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// An earlier host was its parent, and only a parent learns more.
    Unknown,
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "exited with status {status}"),
            Self::Killed(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "was ended by {name}"),
                None => write!(f, "was ended by signal {signal}"),
            },
            Self::Unknown => write!(f, "ended (an earlier host started it, so its status is unknown)"),
        }
    }
}

fn signal_name(signal: i32) -> Option<&'static str> {
    let named = [
        (1, "SIGHUP"),
        (2, "SIGINT"),
        (4, "SIGILL"),
        (6, "SIGABRT"),
        (7, "SIGBUS"),
        (8, "SIGFPE"),
        (9, "SIGKILL"),
        (11, "SIGSEGV"),
        (13, "SIGPIPE"),
        (15, "SIGTERM"),
    ];
    named.iter().find(|(number, _)| *number == signal).map(|(_, name)| *name)
}

/// A running process that was verified to be the one meant. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    identity: Identity,
    pidfd: Arc<AsyncFd<OwnedFd>>,
}

impl Process {
    /// A child that this process has started and not yet reaped: until then its number is its own.
    pub(crate) fn of_child(pid: u32) -> io::Result<Self> {
        let pidfd = open(pid)?;
        let stat = Stat::read(pid)?;
        Self::new(pidfd, stat.identity(pid)?)
    }

    /// The process of that identity, or `None` where it has ended.
    pub(crate) fn adopt(identity: &Identity) -> io::Result<Option<Self>> {
        if identity.boot_id != boot_id()? {
            return Ok(None);
        }
        let Some(pidfd) = gone_is_none(open(identity.pid))? else { return Ok(None) };
        match gone_is_none(Stat::read(identity.pid))? {
            Some(stat) if stat.start_ticks == identity.start_ticks && !stat.ended() => {
                Self::new(pidfd, identity.clone()).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The leader of the replica's processes, found by what it carries in its environment: for a host that died after it
    /// had started the process and before it could write down which. Reads all of /proc.
    pub(crate) fn find(replica: &ReplicaId) -> io::Result<Option<Self>> {
        let leads = |pid: &u32| {
            Stat::read(*pid).is_ok_and(|stat| stat.group == *pid && !stat.ended()) && carries(*pid, replica)
        };
        let mut found = Vec::new();
        for pid in pids()?.into_iter().filter(leads) {
            if let Some(identity) = gone_is_none(Stat::read(pid).and_then(|stat| stat.identity(pid)))? {
                found.push(identity);
            }
        }
        // A process of the replica may have founded a group of its own; the one that came first is the replica.
        found.sort_by_key(|identity| identity.start_ticks);
        found.first().map_or(Ok(None), Self::adopt)
    }

    #[allow(
        deprecated,
        reason = "its successor is unsafe for types whose descriptor may change; an OwnedFd's can't"
    )]
    fn new(pidfd: OwnedFd, identity: Identity) -> io::Result<Self> {
        let pidfd = AsyncFd::with_interest(pidfd, Interest::READABLE)?;
        Ok(Self { identity, pidfd: Arc::new(pidfd) })
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns when the process has ended, child or not. Cancel safe.
    pub(crate) async fn ended(&self) {
        // A pidfd becomes readable once, for good. An error would mean a broken reactor; the caller then looks for itself.
        let _ = self.pidfd.readable().await;
    }

    /// Reaps an ended child and tells how it ended.
    pub(crate) fn reap(&self) -> End {
        let id = WaitId::PidFd(self.pidfd.get_ref().as_fd());
        match waitid(id, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                (Some(status), _) => End::Exited(status),
                (None, Some(signal)) => End::Killed(signal),
                (None, None) => End::Unknown,
            },
            _ => End::Unknown,
        }
    }

    /// Sends a signal to every process of the replica, the leader included. How many there were.
    pub(crate) fn signal_all(&self, replica: &ReplicaId, signal: Signal) -> io::Result<usize> {
        let sent = usize::from(send(self.pidfd.get_ref(), Some(signal))?);
        Ok(sent + self.signal_rest(replica, Some(signal))?)
    }

    /// Sends a signal, or none, to every process of the replica but the leader. How many there were.
    pub(crate) fn signal_rest(&self, replica: &ReplicaId, signal: Option<Signal>) -> io::Result<usize> {
        let mut sent = 0;
        for pid in pids()?.into_iter().filter(|pid| *pid != self.identity.pid && *pid != std::process::id()) {
            let suspect = Stat::read(pid).is_ok_and(|stat| self.may_hold(&stat));
            if !suspect || !self.has(pid, replica) {
                continue;
            }
            let Some(pidfd) = gone_is_none(open(pid))? else { continue };
            // Only what holds after the pidfd was opened counts.
            if self.has(pid, replica) && send(&pidfd, signal)? {
                sent += 1;
            }
        }
        Ok(sent)
    }

    /// A process of the replica can't be older than its leader.
    fn may_hold(&self, stat: &Stat) -> bool {
        stat.start_ticks >= self.identity.start_ticks && !stat.ended()
    }

    fn has(&self, pid: u32, replica: &ReplicaId) -> bool {
        let Ok(stat) = Stat::read(pid) else { return false };
        let grouped = stat.group == self.identity.pid && self.still_bears_its_number();
        self.may_hold(&stat) && (grouped || carries(pid, replica))
    }

    /// True while the process exists, as a zombie at least: until then nobody else can have its number as a group.
    fn still_bears_its_number(&self) -> bool {
        Stat::read(self.identity.pid).is_ok_and(|stat| stat.start_ticks == self.identity.start_ticks)
    }
}

/// Kills what a replica has left behind after its own process is gone: everything that carries its id. How many there were.
pub(crate) fn kill_strays(replica: &ReplicaId) -> io::Result<usize> {
    let mut killed = 0;
    for pid in pids()?.into_iter().filter(|pid| *pid != std::process::id()) {
        if !carries(pid, replica) {
            continue;
        }
        let Some(pidfd) = gone_is_none(open(pid))? else { continue };
        // Only what holds after the pidfd was opened counts.
        killed += usize::from(carries(pid, replica) && send(&pidfd, Some(Signal::KILL))?);
    }
    Ok(killed)
}

/// The secrets' way back after a restart: the variables that a process was started with, as long as it has not
/// overwritten them.
pub(crate) fn environment_of(pid: u32) -> io::Result<Vec<(String, String)>> {
    let bytes = fs::read(format!("/proc/{pid}/environ"))?;
    let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
    let entries = bytes.split(|byte| *byte == 0).filter_map(|entry| {
        let at = entry.iter().position(|byte| *byte == b'=')?;
        Some((text(&entry[..at]), text(&entry[at + 1..])))
    });
    Ok(entries.collect())
}

/// Which boot of the machine this is.
pub(crate) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

fn carries(pid: u32, replica: &ReplicaId) -> bool {
    let wanted = format!("{REPLICA_VARIABLE}={replica}");
    fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|environment| environment.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes()))
}

fn pids() -> io::Result<Vec<u32>> {
    let entries = fs::read_dir("/proc")?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
}

fn open(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::from(rustix::io::Errno::SRCH))?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// False where the process has ended.
fn send(pidfd: &OwnedFd, signal: Option<Signal>) -> io::Result<bool> {
    let sent = signal.map_or(Ok(()), |signal| pidfd_send_signal(pidfd, signal).map_err(io::Error::from));
    gone_is_none(sent).map(|sent| sent.is_some())
}

fn gone_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The fields of `/proc/<pid>/stat` that matter here.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    group: u32,
    start_ticks: u64,
}

impl Stat {
    fn read(pid: u32) -> io::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        Self::parse(&text).ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat has an unknown form")))
    }

    /// The command's name may hold anything, also `)` and spaces; what follows its last `)` is fields from number 3 on.
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        Some(Self {
            state: fields.first()?.chars().next()?,
            group: fields.get(2)?.parse().ok()?,
            start_ticks: fields.get(19)?.parse().ok()?,
        })
    }

    fn ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }

    fn identity(&self, pid: u32) -> io::Result<Identity> {
        Ok(Identity { pid, start_ticks: self.start_ticks, boot_id: boot_id()? })
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn sleeper(replica: &str) -> Child {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new("sleep");
        command.arg("1000").env(REPLICA_VARIABLE, replica).process_group(0).stdin(Stdio::null());
        command.spawn().unwrap()
    }

    fn id(text: &str) -> ReplicaId {
        text.parse().unwrap()
    }

    #[test]
    fn a_command_may_be_called_anything() {
        let fields = "S 1 77 77 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 4242 5 6";
        let stat = Stat::parse(&format!("77 (a) b (c)) {fields}")).unwrap();
        assert_eq!(stat, Stat { state: 'S', group: 77, start_ticks: 4242 });
        assert_eq!(Stat::parse("77 (cut"), None);
    }

    #[tokio::test]
    async fn a_number_that_was_reused_is_never_signalled() {
        let mut stranger = sleeper("r1-stranger");
        let true_identity = Process::of_child(stranger.id()).unwrap().identity().clone();
        let earlier = Identity { start_ticks: true_identity.start_ticks - 1, ..true_identity.clone() };
        let other_boot = Identity { boot_id: "another".into(), ..true_identity };
        assert!(Process::adopt(&earlier).unwrap().is_none());
        assert!(Process::adopt(&other_boot).unwrap().is_none());
        assert!(Process::adopt(&true_identity).unwrap().is_some());
        stranger.kill().unwrap();
        stranger.wait().unwrap();
        assert!(Process::adopt(&true_identity).unwrap().is_none(), "it has ended");
    }

    #[tokio::test]
    async fn a_process_is_found_by_its_replica_and_signalled_alone() {
        let (mut ours, mut other) = (sleeper("r1-ours"), sleeper("r1-other"));
        let found = Process::find(&id("r1-ours")).unwrap().unwrap();
        assert_eq!(found.identity().pid, ours.id());
        assert_eq!(found.signal_all(&id("r1-ours"), Signal::KILL).unwrap(), 1);
        found.ended().await;
        assert_eq!(found.reap(), End::Killed(9));
        assert_eq!(found.signal_all(&id("r1-ours"), Signal::KILL).unwrap(), 0, "there is nobody left");
        assert!(other.try_wait().unwrap().is_none(), "the other one runs on");
        other.kill().unwrap();
        other.wait().unwrap();
        let _ = ours.wait();
    }

    #[tokio::test]
    #[allow(clippy::zombie_processes, reason = "that it is reaped by its pidfd is what is tested")]
    async fn the_rest_of_a_group_is_found_while_its_leader_is_a_zombie() {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new("sh");
        // The one left behind hides: it has no environment, so only its group tells.
        command
            .args(["-c", "env -i sleep 1000 & exit 3"])
            .env(REPLICA_VARIABLE, "r1-leader")
            .process_group(0);
        let leader = command.spawn().unwrap();
        let process = Process::of_child(leader.id()).unwrap();
        process.ended().await;
        assert_eq!(process.signal_rest(&id("r1-leader"), Some(Signal::KILL)).unwrap(), 1);
        assert_eq!(process.reap(), End::Exited(3));
    }
}
