//! Git as a program: one way to call it, and what its refusals mean.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    path::{Path, PathBuf},
    process::Stdio,
};

use cutover_model::{
    GitSha,
    run::{Commit, Identity},
};
use tokio::process::Command;

use crate::ports::PortError;

/// Variables by which git finds a repository. Cutover may run in a git hook, where they speak of that hook's repository.
pub(super) const REPOSITORY_VARIABLES: [&str; 9] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_CEILING_DIRECTORIES",
];

/// Settings of the user's that must not reach into a checkout of ours: hooks, a sparse view, a daemon, submodules' places.
const PLAIN: [&str; 12] = [
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.sparseCheckout=false",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.splitIndex=false",
    "-c",
    "submodule.recurse=false",
    "-c",
    "init.defaultBranch=main",
];

/// A call of git in a directory.
pub(super) struct Git<'a> {
    directory: &'a Path,
    variables: Vec<(&'static str, &'a OsStr)>,
    in_use: Option<&'a File>,
}

impl<'a> Git<'a> {
    pub(super) fn in_directory(directory: &'a Path) -> Self {
        Self { directory, variables: Vec::new(), in_use: None }
    }

    /// Keeps that lock until git has ended, even should it outlive Cutover.
    pub(super) fn holding(mut self, in_use: &'a File) -> Self {
        self.in_use = Some(in_use);
        self
    }

    /// Uses that repository and index, with the directory as its working tree.
    pub(super) fn with_repository(mut self, repository: &'a Path, index: &'a Path) -> Self {
        self.variables = vec![
            ("GIT_DIR", repository.as_os_str()),
            ("GIT_WORK_TREE", self.directory.as_os_str()),
            ("GIT_INDEX_FILE", index.as_os_str()),
        ];
        self
    }

    /// What it wrote to its standard output, without the last newline.
    pub(super) async fn run(&self, arguments: &[&str]) -> Result<String, PortError> {
        let mut command = Command::new("git");
        command.args(["--no-optional-locks", "--no-replace-objects"]).args(PLAIN).args(arguments);
        // The lock's file is empty, so as standard input it says no more than /dev/null.
        let held = self.in_use.and_then(|file| file.try_clone().ok());
        command
            .stdin(held.map_or_else(Stdio::null, Stdio::from))
            .current_dir(self.directory)
            .kill_on_drop(true);
        REPOSITORY_VARIABLES.iter().for_each(|name| _ = command.env_remove(name));
        command.env("LC_ALL", "C").env("GIT_TERMINAL_PROMPT", "0").envs(self.variables.iter().copied());
        let output = command.output().await.map_err(|error| not_started(&error, self.directory))?;
        if output.status.success() {
            let text = String::from_utf8_lossy(&output.stdout);
            return Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned());
        }
        Err(refused(self.directory, arguments, &String::from_utf8_lossy(&output.stderr)))
    }
}

fn not_started(error: &io::Error, directory: &Path) -> PortError {
    if error.kind() == io::ErrorKind::NotFound && directory.is_dir() {
        return broken("git is not installed, or not on PATH", "install git");
    }
    broken(format!("git can't be started in {}: {error}", directory.display()), "make the folder readable")
}

fn refused(directory: &Path, arguments: &[&str], said: &str) -> PortError {
    let directory = directory.display();
    if said.contains("not a git repository") {
        return PortError::Refused {
            message: format!("{directory} is not in a git repository, and a release is made from a commit"),
            help: "`git init`, `git add` and `git commit`, then again".into(),
        };
    }
    let said = cutover_model::redact::Redactor::default().redact(said.trim());
    let help = match said.contains("dubious ownership") {
        true => "run Cutover as the repository's owner, or tell git that you trust it as it says",
        false => "mend what git says, then run the same command again",
    };
    broken(format!("`git {}` failed in {directory}: {said}", arguments.first().unwrap_or(&"")), help)
}

pub(super) fn broken(message: impl Into<String>, help: impl Into<String>) -> PortError {
    PortError::Broken { message: message.into(), help: help.into() }
}

/// The commit that a revision (`HEAD`, a branch, a tag, a short id) of the repository around `root` stands for.
///
/// # Errors
/// [`PortError::Refused`] where there is no repository or no such commit; [`PortError::Broken`] where git can't be used.
pub async fn commit(root: &Path, revision: &str) -> Result<Commit, PortError> {
    let git = Git::in_directory(root);
    git.run(&["rev-parse", "--git-dir"]).await?;
    let peeled = format!("{revision}^{{commit}}");
    let found = git.run(&["rev-parse", "--verify", "--quiet", "--end-of-options", &peeled]).await;
    let Some(sha) = found.ok().and_then(|text| text.parse::<GitSha>().ok()) else {
        return Err(PortError::Refused {
            message: format!("the repository of {} has no commit `{revision}`", root.display()),
            help: match revision {
                "HEAD" => "commit something first".into(),
                _ => "`git log --oneline` lists what is there; `git fetch` brings what is elsewhere".into(),
            },
        });
    };
    let subject = git.run(&["log", "-1", "--format=%s", sha.as_str()]).await?;
    Ok(Commit { sha, subject })
}

/// True where the repository around `root` has changes that are in no commit, ignored files aside.
///
/// # Errors
/// As [`commit`].
pub async fn is_dirty(root: &Path) -> Result<bool, PortError> {
    let changed = Git::in_directory(root).run(&["status", "--porcelain", "--untracked-files=normal"]).await?;
    Ok(!changed.is_empty())
}

/// Who is at work: `CUTOVER_USER`, else the e-mail address that git knows here, else the system's user at this machine.
pub fn identity(root: &Path) -> Identity {
    let given = || std::env::var("CUTOVER_USER").ok().filter(|name| !name.trim().is_empty());
    let by_git = || {
        let mut git = std::process::Command::new("git");
        REPOSITORY_VARIABLES.iter().for_each(|name| _ = git.env_remove(name));
        let output = git.args(["config", "user.email"]).current_dir(root).output().ok()?;
        let email = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        (!email.is_empty()).then_some(email)
    };
    let by_system = || {
        let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
        let user = user.unwrap_or_else(|| format!("user {}", rustix::process::getuid().as_raw()));
        format!("{user}@{}", rustix::system::uname().nodename().to_string_lossy())
    };
    Identity(given().or_else(by_git).unwrap_or_else(by_system))
}

/// The repository around a folder.
pub(super) struct Repository {
    /// What `GIT_DIR` has to be.
    pub(super) git_dir: PathBuf,
    /// Where its objects and references are, also when `git_dir` is that of a linked working tree.
    pub(super) common_dir: PathBuf,
    /// Its working tree.
    pub(super) top: PathBuf,
    /// The folder's place in it; empty where the folder is the working tree itself.
    pub(super) prefix: PathBuf,
    /// `sha1` or `sha256`.
    pub(super) object_format: String,
}

impl Repository {
    pub(super) async fn around(root: &Path) -> Result<Self, PortError> {
        let git = Git::in_directory(root);
        let ask = async |what: &'static str| git.run(&["rev-parse", "--path-format=absolute", what]).await;
        Ok(Self {
            git_dir: ask("--absolute-git-dir").await?.into(),
            common_dir: ask("--git-common-dir").await?.into(),
            top: ask("--show-toplevel").await?.into(),
            prefix: ask("--show-prefix").await?.into(),
            object_format: ask("--show-object-format").await?.lines().last().unwrap_or("sha1").to_owned(),
        })
    }
}
