//! A commit's files, exactly, in a directory of their own.
//!
//! Git checks the commit out as it would for a person, so attributes, line ends and filters (LFS) apply; but with an index
//! and a working tree of ours, and without hooks or a sparse view. The user's working tree, index and `.git` are not
//! written to, so it doesn't matter what else is going on there, and nothing is left behind by a kill.
//!
//! While commands run, the tree has a small `.git` of its own, whose HEAD is the commit and which borrows the user's
//! objects. So `git describe` and `git diff --exit-code` speak of what is being released; without it they would find the user's
//! repository around the state directory. An artifact is kept without it.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use cutover_model::GitSha;

use super::git::{Git, Repository, broken};
use crate::ports::PortError;

/// Makes the files of a commit in `into`, which must not exist. Returns the place in it of the folder `root`.
/// `in_use` is held until nothing writes there any more.
pub(super) async fn check_out(
    root: &Path,
    sha: &GitSha,
    into: &Path,
    in_use: &File,
) -> Result<PathBuf, PortError> {
    let repository = Repository::around(root).await?;
    if !holds(&repository.git_dir, root, sha.as_str()).await {
        return Err(PortError::Refused {
            message: format!("the repository of {} has no commit {}", root.display(), sha.short()),
            help: "`git fetch` it; the run then goes on with `--resume`".into(),
        });
    }
    let index = into.with_extension("index");
    let to = Destination { into, index: &index, in_use };
    fill(&repository.git_dir, sha.as_str(), to).await?;
    submodules(&repository.common_dir, &repository.top, sha.as_str(), to).await?;
    borrow(&repository, sha, into, &index).await?;
    let folder = into.join(&repository.prefix);
    if !folder.is_dir() {
        return Err(PortError::Refused {
            message: format!("the commit {} has no folder {}", sha.short(), repository.prefix.display()),
            help: "commit the service's folder first".into(),
        });
    }
    Ok(repository.prefix)
}

/// Takes the repository out of a tree that is going to be kept.
pub(super) fn forget_repository(tree: &Path) -> io::Result<()> {
    fs::remove_dir_all(tree.join(".git"))
}

async fn holds(git_dir: &Path, directory: &Path, sha: &str) -> bool {
    let index = Path::new("/dev/null");
    let git = Git::in_directory(directory).with_repository(git_dir, index);
    git.run(&["cat-file", "-e", &format!("{sha}^{{commit}}")]).await.is_ok()
}

/// Where a commit's files go.
#[derive(Clone, Copy)]
struct Destination<'a> {
    into: &'a Path,
    index: &'a Path,
    in_use: &'a File,
}

async fn fill(git_dir: &Path, sha: &str, to: Destination<'_>) -> Result<(), PortError> {
    fs::create_dir_all(to.into).map_err(|error| unusable(to.into, &error))?;
    let git = Git::in_directory(to.into).with_repository(git_dir, to.index).holding(to.in_use);
    git.run(&["read-tree", "--reset", "-u", "--no-recurse-submodules", sha]).await.map(drop)
}

/// Fills in submodules from what this clone has of them; nothing is fetched.
async fn submodules(modules_of: &Path, top: &Path, sha: &str, to: Destination<'_>) -> Result<(), PortError> {
    let git = Git::in_directory(to.into).with_repository(modules_of, to.index);
    let listed = git.run(&["ls-tree", "-r", "-z", sha]).await?;
    for entry in listed.split('\0').filter(|entry| entry.starts_with("160000 ")) {
        let Some((pinned, path)) = entry.split_once('\t') else { continue };
        let Some(pinned) = pinned.rsplit(' ').next() else { continue };
        let Some(git_dir) = git_dir_of_submodule(&git, modules_of, top, sha, path).await else {
            return Err(not_here(path, pinned));
        };
        if !holds(&git_dir, to.into, pinned).await {
            return Err(not_here(path, pinned));
        }
        let (place, index) = (to.into.join(path), to.index.with_extension("submodule"));
        let to = Destination { into: &place, index: &index, ..to };
        fill(&git_dir, pinned, to).await?;
        Box::pin(submodules(&git_dir, &top.join(path), pinned, to)).await?;
        let _ = fs::remove_file(index);
    }
    Ok(())
}

/// In the superproject's `.git/modules`, by its name there, else where its own working tree says.
async fn git_dir_of_submodule(
    git: &Git<'_>,
    modules_of: &Path,
    top: &Path,
    sha: &str,
    path: &str,
) -> Option<PathBuf> {
    let blob = format!("{sha}:.gitmodules");
    let listed =
        git.run(&["config", "--blob", &blob, "--get-regexp", r"^submodule\..*\.path$"]).await.ok()?;
    let name = listed.lines().find_map(|line| {
        let (key, at) = line.split_once(' ')?;
        (at == path).then(|| key.strip_prefix("submodule.")?.strip_suffix(".path")).flatten()
    })?;
    let managed = modules_of.join("modules").join(name);
    if managed.is_dir() {
        return Some(managed);
    }
    let own = top.join(path);
    let found =
        Git::in_directory(&own).run(&["rev-parse", "--show-toplevel", "--absolute-git-dir"]).await.ok()?;
    let (its_top, git_dir) = found.split_once('\n')?;
    (Path::new(its_top) == own).then(|| git_dir.into())
}

fn not_here(path: &str, pinned: &str) -> PortError {
    PortError::Refused {
        message: format!("the submodule {path} at {pinned} is not in this clone"),
        help: "`git submodule update --init --recursive`, then run the same command again".into(),
    }
}

/// Gives the tree a repository that borrows the user's objects: HEAD at the commit, and the references there are now.
async fn borrow(repository: &Repository, sha: &GitSha, into: &Path, index: &Path) -> Result<(), PortError> {
    let git = Git::in_directory(into);
    let format = format!("--object-format={}", repository.object_format);
    git.run(&["init", "--quiet", "--template=", &format]).await?;
    let references = Git::in_directory(into).with_repository(&repository.git_dir, index);
    let references = references.run(&["for-each-ref", "--format=%(objectname) %(refname)"]).await?;
    let own = into.join(".git");
    let write = || -> io::Result<()> {
        let objects = own.join("objects/info");
        fs::create_dir_all(&objects)?;
        fs::write(
            objects.join("alternates"),
            format!("{}\n", repository.common_dir.join("objects").display()),
        )?;
        if repository.common_dir.join("shallow").exists() {
            fs::copy(repository.common_dir.join("shallow"), own.join("shallow"))?;
        }
        fs::write(own.join("packed-refs"), format!("{references}\n"))?;
        fs::write(own.join("HEAD"), format!("{sha}\n"))?;
        fs::rename(index, own.join("index"))
    };
    write().map_err(|error| unusable(&own, &error))
}

pub(super) fn unusable(path: &Path, error: &io::Error) -> PortError {
    broken(
        format!("{} can't be used: {error}", path.display()),
        "make room, or make it writable, then run the same command again",
    )
}
