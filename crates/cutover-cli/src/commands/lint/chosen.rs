//! Which files are meant, and how they are named: by git, where the folder is in a repository.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use crate::failure::{Failure, Kind};

/// Files that a commit does not have as they are now, relative to the migration folder.
pub(super) struct Changed(BTreeSet<PathBuf>);

impl Changed {
    /// Whether a migration's file, named from anywhere, is one of them.
    pub(super) fn contains(&self, dir: &Path, file: &Path) -> bool {
        self.0.contains(file.strip_prefix(dir).unwrap_or(file))
    }
}

/// What was added or changed since a revision, committed or not.
pub(super) fn changed(dir: &Path, since: &str) -> Result<Changed, Failure> {
    let known =
        git(dir, &["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{since}^{{commit}}")]);
    let commit = known.ok_or_else(|| {
        Failure::new(Kind::Usage, format!("git does not know `{}` here", since.escape_debug()))
            .help("name a branch or commit; in CI fetch it first (a shallow clone does not have it)")
    })?;
    let differ = git(dir, &["diff", "--name-only", "--relative", "-z", commit.trim(), "--", "."]);
    let new = git(dir, &["ls-files", "--others", "--exclude-standard", "-z", "--", "."]);
    let (Some(differ), Some(new)) = (differ, new) else {
        return Err(
            Failure::new(Kind::Failed, "git could not say what changed").help("run `git status` here")
        );
    };
    let names = differ.split('\0').chain(new.split('\0')).filter(|name| !name.is_empty());
    Ok(Changed(names.map(PathBuf::from).collect()))
}

/// How files are shown: from the repository's root, as CI services want them; else from where the command runs.
pub(super) struct Shown {
    dir: PathBuf,
    prefix: Option<PathBuf>,
}

impl Shown {
    pub(super) fn of(dir: &Path) -> Self {
        let prefix = git(dir, &["rev-parse", "--show-prefix"])
            .map(|prefix| PathBuf::from(prefix.trim_end_matches('\n')));
        Self { dir: dir.to_owned(), prefix }
    }

    pub(super) fn path(&self, file: &Path) -> PathBuf {
        match (&self.prefix, file.strip_prefix(&self.dir)) {
            (Some(prefix), Ok(inside)) => prefix.join(inside),
            _ => {
                let here = std::env::current_dir().unwrap_or_default();
                file.strip_prefix(here).unwrap_or(file).to_owned()
            }
        }
    }
}

/// What git prints about a folder; `None` where it fails.
fn git(dir: &Path, args: &[&str]) -> Option<String> {
    let done = Command::new("git").arg("-C").arg(dir).args(args).output().ok()?;
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).into_owned())
}
