//! Runs one of the team's commands, and never leaves it behind.
//!
//! ```text
//! cutover ──leash (a pipe)──► watcher ┐
//!    │                                ├ one process group
//!    └─────── spawns ──► sh -c COMMAND ┘──stdout, stderr──► cutover: lines, redacted, bounded
//! ```
//!
//! The command runs in a process group of its own together with a small watcher that waits for the leash to be let go:
//! then it kills the group. Cutover lets go when the command has ended, when its future is dropped, and, because the kernel
//! closes pipes, when it is killed itself. As long as the watcher lives, the group's number can't be given to
//! anybody else, so a signal to the group never hits a stranger. A process that leaves the group (`setsid`) gets away.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::AsyncReadExt as _,
    net::unix::pipe,
    process::{ChildStdin, Command},
};

use super::{git::REPOSITORY_VARIABLES, output::Lines};

/// `$0` is the command. The watcher ignores SIGTERM: it has to stay until the end.
const UNDER_WATCH: &str = r#"
exec 3<&0 0</dev/null
{ trap '' TERM HUP INT; read -r _ <&3; kill -KILL 0; } >/dev/null 2>&1 &
exec 3<&-
exec sh -c "$0""#;

/// From SIGTERM to SIGKILL, for a command that is given up.
const END_WITHIN: Duration = Duration::from_secs(5);

/// How long to wait for the last output of a command that has ended: somebody who got away may hold the pipe.
const LAST_OUTPUT_WITHIN: Duration = Duration::from_secs(2);

/// One of the team's commands.
pub(super) struct TeamCommand<'a> {
    pub(super) line: &'a str,
    pub(super) directory: &'a Path,
    /// Besides the caller's own variables.
    pub(super) variables: Vec<(&'static str, OsString)>,
    /// Zero: for ever.
    pub(super) within: Duration,
    /// Kept until the last process of the group is gone.
    pub(super) in_use: Option<Arc<File>>,
}

/// How a command ended.
#[derive(Debug)]
pub(super) enum Ended {
    By(ExitStatus),
    /// It took too long and was stopped.
    OutOfTime,
}

impl TeamCommand<'_> {
    /// Runs it to its end, handing on what it writes. Dropped, it asks the group to end and soon after kills it.
    pub(super) async fn run(self, lines: &mut Lines) -> io::Result<Ended> {
        let (reader, writer) = io::pipe()?;
        let mut command = Command::new("sh");
        command.arg("-c").arg(UNDER_WATCH).arg(self.line).current_dir(self.directory);
        command.stdin(Stdio::piped()).stdout(writer.try_clone()?).stderr(writer).process_group(0);
        REPOSITORY_VARIABLES.iter().for_each(|name| _ = command.env_remove(name));
        command.envs(self.variables.iter().map(|(name, value)| (OsStr::new(name), value)));
        let mut child = command.spawn()?;
        // The ends of the pipe that the command holds.
        drop(command);
        let group = Group::of(&mut child, self.in_use);
        let mut reader = pipe::Receiver::from_owned_fd(reader.into())?;
        let ended = tokio::select! {
            status = child.wait() => Some(status?),
            () = read(&mut reader, lines) => None,
            () = out_of_time(self.within) => return Ok(Ended::OutOfTime),
        };
        // A command may close its output and go on.
        let status = match ended {
            Some(status) => status,
            None => tokio::select! {
                status = child.wait() => status?,
                () = out_of_time(self.within) => return Ok(Ended::OutOfTime),
            },
        };
        group.let_go();
        let _ = tokio::time::timeout(LAST_OUTPUT_WITHIN, read(&mut reader, lines)).await;
        lines.finish();
        Ok(Ended::By(status))
    }
}

async fn out_of_time(within: Duration) {
    match within.is_zero() {
        true => std::future::pending().await,
        false => tokio::time::sleep(within).await,
    }
}

/// Reads to the end. Cancel safe: what a dropped read has not taken stays in the pipe.
async fn read(reader: &mut pipe::Receiver, lines: &mut Lines) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count) = reader.read(&mut buffer).await {
        if count == 0 {
            return;
        }
        lines.take(&buffer[..count]);
    }
}

/// A running group, held by its leash.
struct Group {
    id: Option<Pid>,
    leash: Option<ChildStdin>,
    in_use: Option<Arc<File>>,
}

impl Group {
    fn of(child: &mut tokio::process::Child, in_use: Option<Arc<File>>) -> Self {
        let id = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Self { id, leash: child.stdin.take(), in_use }
    }

    /// The command has ended; whatever it left running is killed.
    fn let_go(mut self) {
        self.id = None;
        self.leash = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let (Some(id), Some(leash)) = (self.id.take(), self.leash.take()) else { return };
        let _ = kill_process_group(id, Signal::TERM);
        let in_use = self.in_use.take();
        // A thread, since there may be no runtime any more. Should this process end before it, the leash goes as well.
        let ending = move || {
            std::thread::sleep(END_WITHIN);
            drop(leash);
            drop(in_use);
        };
        // Without a thread, the closure and with it the leash is dropped at once.
        let _ = std::thread::Builder::new().name("end-command".into()).spawn(ending);
    }
}

/// What a command is told about the release it runs for.
pub(super) fn told(plan: &cutover_model::run::Plan) -> Vec<(&'static str, OsString)> {
    vec![
        ("CUTOVER_RELEASE", plan.release.to_string().into()),
        ("CUTOVER_ENVIRONMENT", plan.settings.environment.as_str().into()),
        ("CUTOVER_SHA", plan.commit.sha.as_str().into()),
    ]
}

/// How a person would run a command of the team's.
pub(super) fn by_hand(line: &str, directory: &Path) -> String {
    let directory: PathBuf = directory.into();
    format!("cd {} && sh -c {}", shell_words::quote(&directory.to_string_lossy()), shell_words::quote(line))
}
