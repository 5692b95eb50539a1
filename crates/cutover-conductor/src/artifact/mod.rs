//! The team's own commands, and the artifacts that come of them: the real [`Commands`].
//!
//! ```text
//! git commit ──check out──► .checks-r41-…/tree ──► checks, all at the same time       thrown away after
//!            └─check out──► r41/tree ──► build ──► synced ──► r41/release.json       an artifact, from here on
//! ```
//!
//! What is built is the commit and nothing else: not the user's working tree, not its index, and not the tree that the checks
//! wrote to. A build that was killed leaves a directory without `release.json`, which is no artifact; the next
//! attempt clears it away. See `docs/design/artifacts.md`.

mod git;
mod output;
mod release;
mod room;
mod secret;
mod shell;
mod source;

use std::{
    ffi::OsString,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use cutover_model::{
    EnvironmentName, ReleaseNumber,
    redact::Redactor,
    run::{Note, Plan},
};
use futures_util::{StreamExt as _, stream};

pub use git::{commit, identity, is_dirty};
pub use output::Watcher;
pub use release::ReleaseInfo;

use crate::ports::{Commands, PortError};
use git::broken;
use output::Lines;
use room::{Entered, Room};
use shell::{Ended, TeamCommand, by_hand, told};

/// Lines of a failed command's output that its error shows.
const LAST_LINES: usize = 20;

/// Logs of commands are kept for so many releases before the newest.
const LOGS_OF: u64 = 20;

/// Where checks run and artifacts are made and kept, for one service.
#[derive(Clone)]
pub struct Workshop {
    root: PathBuf,
    state: PathBuf,
    watcher: Option<Watcher>,
}

impl fmt::Debug for Workshop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workshop")
            .field("root", &self.root)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Workshop {
    /// `root` is the folder with `cutover.toml`, in a git repository; `state` holds what is made. Both absolute.
    pub fn new(root: &Path, state: &Path) -> Self {
        Self { root: root.into(), state: state.into(), watcher: None }
    }

    /// Shows what commands write, line by line and redacted, while they run.
    #[must_use]
    pub fn watched_by(mut self, watcher: Watcher) -> Self {
        self.watcher = Some(watcher);
        self
    }

    /// The environment's kept releases, oldest first. Blocks on the disk.
    ///
    /// # Errors
    /// Where the state directory can't be read.
    pub fn releases(&self, environment: &EnvironmentName) -> io::Result<Vec<ReleaseInfo>> {
        release::list(&self.releases_dir(environment))
    }

    /// Where an environment's releases stand.
    fn releases_dir(&self, environment: &EnvironmentName) -> PathBuf {
        self.state.join(environment.as_str()).join("releases")
    }

    fn logs_dir(&self, environment: &EnvironmentName) -> PathBuf {
        self.state.join(environment.as_str()).join("logs")
    }

    /// Runs a command, its output in `LOGS/r41-NAME.log`.
    async fn run(&self, plan: &Plan, name: &str, command: TeamCommand<'_>) -> Result<(), Failed> {
        let line = command.line.to_owned();
        let redactor = self.redactor(plan);
        let file: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let log = self.logs_dir(&plan.settings.environment).join(format!("{}-{file}.log", plan.release));
        let failed = |how: String, last: String, log: &Path| Failed {
            how: format!("{name} {how}"),
            last,
            by_hand: redactor.redact(&by_hand(&line, &self.root)),
            log: log.to_owned(),
        };
        let begun = Lines::begin(name.into(), &log, redactor.clone(), self.watcher.clone());
        let mut lines = begun.map_err(|error| failed(format!("has no log: {error}"), String::new(), &log))?;
        let within = command.within;
        let how = match command.run(&mut lines).await {
            Ok(Ended::By(status)) if status.success() => return Ok(()),
            Ok(Ended::By(status)) => format!("failed ({status})"),
            Ok(Ended::OutOfTime) => format!("took longer than {within:?} and was stopped"),
            Err(error) => format!("can't be run: {error}"),
        };
        lines.finish();
        Err(failed(how, lines.last(LAST_LINES), lines.path()))
    }

    fn redactor(&self, plan: &Plan) -> Redactor {
        secret::redactor(&plan.settings, &self.root)
    }

    /// A room with the commit in it; the folder of the service in it is `tree`. `None` where a whole release stands there.
    async fn furnish(&self, plan: &Plan, name: String) -> Result<Option<Room>, PortError> {
        let releases = self.releases_dir(&plan.settings.environment);
        let entered = {
            let name = name.clone();
            blocking(&releases, move |releases| {
                room::sweep(releases, |_| true)?;
                Room::enter(releases, &name)
            })
        };
        let room = match entered.await? {
            Entered::Room(room) => room,
            Entered::Whole => return Ok(None),
            Entered::Taken => {
                return Err(PortError::Refused {
                    message: format!("another process is at work in {}", releases.join(name).display()),
                    help: "wait for it to end, then run the same command again".into(),
                });
            }
        };
        let source = room.dir.join(SOURCE);
        let prefix = source::check_out(&self.root, &plan.commit.sha, &source, &room.in_use).await?;
        std::os::unix::fs::symlink(Path::new(SOURCE).join(prefix), room.dir.join(TREE))
            .map_err(|error| source::unusable(&room.dir, &error))?;
        Ok(Some(room))
    }

    async fn build_in(&self, plan: &Plan, room: &Room) -> Result<(), PortError> {
        let Some(build) = &plan.settings.artifact.build else { return Ok(()) };
        let command = TeamCommand {
            line: build,
            directory: &room.dir.join(TREE),
            variables: told(plan),
            within: plan.settings.artifact.build_within.get(),
            in_use: Some(Arc::clone(&room.in_use)),
        };
        self.run(plan, "build", command).await.map_err(|failed| failed.alone("nothing was changed"))
    }

    /// The artifact that is kept already, if it is of this plan.
    fn kept(&self, plan: &Plan) -> Result<Option<ReleaseInfo>, PortError> {
        let dir = self.releases_dir(&plan.settings.environment).join(plan.release.to_string());
        let Some(info) = release::read(&dir).map_err(|error| source::unusable(&dir, &error))? else {
            return Ok(None);
        };
        if info.commit.sha == plan.commit.sha {
            return Ok(Some(info));
        }
        Err(PortError::Refused {
            message: format!(
                "{} is kept already, and was made from {} instead of {}",
                plan.release,
                info.commit.sha.short(),
                plan.commit.sha.short()
            ),
            help: format!(
                "if nothing runs from {}, move it away, then run the same command again",
                dir.display()
            ),
        })
    }
}

/// The commit's files, whole.
const SOURCE: &str = "source";

/// The folder of the service in them, as a link.
const TREE: &str = "tree";

#[async_trait]
impl Commands for Workshop {
    async fn checks(&self, plan: &Plan) -> Result<Note, PortError> {
        let room = self.furnish(plan, format!(".checks-{}", plan.release)).await?;
        let room = room.ok_or_else(|| broken("a release stands where checks run", "remove it"))?;
        let tree = room.dir.join(TREE);
        // Two even on one core: a check often waits for something else.
        let at_once = std::thread::available_parallelism().map_or(2, usize::from).max(2);
        let checks = plan.settings.checks.iter().map(|(name, line)| {
            let command = TeamCommand {
                line,
                directory: &tree,
                variables: told(plan),
                within: Duration::ZERO,
                in_use: Some(Arc::clone(&room.in_use)),
            };
            async move { self.run(plan, &format!("check {name}"), command).await.err() }
        });
        // Boxed, since the compiler can't see that a stream of borrowing futures may move between threads.
        let checks: Vec<_> = checks.map(futures_util::FutureExt::boxed).collect();
        let mut failures: Vec<_> =
            stream::iter(checks).buffer_unordered(at_once).filter_map(async |failed| failed).collect().await;
        let releases = self.releases_dir(&plan.settings.environment);
        // What can't be removed now is swept later.
        blocking(&releases, move |releases| room.leave(releases)).await.ok();
        failures.sort_by(|a, b| a.how.cmp(&b.how));
        match failures.is_empty() {
            true => Ok(Note::None),
            false => Err(all_of(&failures)),
        }
    }

    async fn build(&self, plan: &Plan) -> Result<Note, PortError> {
        if let Some(kept) = self.kept(plan)? {
            return Ok(Note::Built { bytes: kept.bytes });
        }
        let Some(room) = self.furnish(plan, plan.release.to_string()).await? else {
            // Another process has built it in between.
            return Ok(self.kept(plan)?.map_or(Note::None, |kept| Note::Built { bytes: kept.bytes }));
        };
        self.build_in(plan, &room).await?;
        let (release, commit, by) = (plan.release, plan.commit.clone(), plan.by.clone());
        let bytes = blocking(&room.dir, move |dir| {
            source::forget_repository(&dir.join(SOURCE))?;
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let bytes = room::size(dir)?;
            release::finish(dir, &ReleaseInfo { release, commit, by, at_ms: now.as_millis() as i64, bytes })?;
            Ok(bytes)
        });
        Ok(Note::Built { bytes: bytes.await? })
    }

    async fn smoke(&self, plan: &Plan) -> Result<Note, PortError> {
        let Some(smoke) = &plan.settings.smoke else { return Ok(Note::None) };
        let tree = self.tree(plan, plan.release);
        let mut variables = told(plan);
        variables.push(("CUTOVER_URL", url(plan.settings.place.listen)));
        let command =
            TeamCommand { line: smoke, directory: &tree, variables, within: Duration::ZERO, in_use: None };
        let ran = self.run(plan, "smoke", command).await;
        ran.map(|()| Note::None).map_err(|failed| failed.alone("all replicas of the release were serving"))
    }

    fn tree(&self, plan: &Plan, release: ReleaseNumber) -> PathBuf {
        self.releases_dir(&plan.settings.environment).join(release.to_string()).join(TREE)
    }

    async fn prune(&self, plan: &Plan, keep: &[ReleaseNumber]) -> Result<(), PortError> {
        let keep = keep.to_vec();
        // A newer one was built by a driver that took over from the caller, who does not know yet.
        let wanted = move |name: &str| {
            let newer = |release| keep.iter().max().is_some_and(|newest| release > *newest);
            name.parse().is_ok_and(|release| keep.contains(&release) || newer(release))
        };
        let logs = self.logs_dir(&plan.settings.environment);
        let newest = plan.release.get();
        blocking(&self.releases_dir(&plan.settings.environment), move |releases| {
            room::sweep(releases, wanted)?;
            forget_logs(&logs, newest.saturating_sub(LOGS_OF))
        })
        .await
    }
}

/// Removes the logs of releases up to `last`.
fn forget_logs(logs: &Path, last: u64) -> io::Result<()> {
    let entries = match std::fs::read_dir(logs) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let release = name.split_once('-').and_then(|(release, _)| release.parse::<ReleaseNumber>().ok());
        if release.is_some_and(|release| release.get() <= last) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Work on a directory that blocks, away from the runtime's threads.
async fn blocking<T: Send + 'static>(
    dir: &Path,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T, PortError> {
    let owned = dir.to_owned();
    let done = tokio::task::spawn_blocking(move || work(&owned)).await;
    done.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(|error| source::unusable(dir, &error))
}

/// The gate's address as this machine reaches it.
fn url(mut listen: std::net::SocketAddr) -> OsString {
    if listen.ip().is_unspecified() {
        let loopback: std::net::IpAddr = match listen.is_ipv4() {
            true => std::net::Ipv4Addr::LOCALHOST.into(),
            false => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        listen.set_ip(loopback);
    }
    format!("http://{listen}").into()
}

/// A command that did not succeed.
struct Failed {
    how: String,
    last: String,
    by_hand: String,
    log: PathBuf,
}

impl Failed {
    fn shown(&self) -> String {
        format!("{}{}", self.how, self.last)
    }

    fn alone(&self, left: &str) -> PortError {
        broken(
            format!("{}\n({left})", self.shown()),
            format!("all it wrote is in {}; by hand: {}", self.log.display(), self.by_hand),
        )
    }
}

fn all_of(failures: &[Failed]) -> PortError {
    let shown: Vec<_> = failures.iter().map(Failed::shown).collect();
    let logs = failures.first().and_then(|failed| failed.log.parent()).unwrap_or(Path::new(""));
    let by_hand: Vec<_> = failures.iter().map(|failed| failed.by_hand.as_str()).collect();
    broken(
        format!("{}\n(nothing was built, and nothing was changed)", shown.join("\n")),
        format!("all they wrote is in {}; by hand: {}", logs.display(), by_hand.join("; ")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_is_reached_where_it_listens() {
        for (listen, shown) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("0.0.0.0:80", "http://127.0.0.1:80"),
            ("[::]:80", "http://[::1]:80"),
            ("10.0.0.7:80", "http://10.0.0.7:80"),
        ] {
            assert_eq!(url(listen.parse().unwrap()), shown);
        }
    }
}
