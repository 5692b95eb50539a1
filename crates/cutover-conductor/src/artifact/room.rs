//! Directories for work, each known to be in use as long as somebody is at work in it.
//!
//! ```text
//! STATE/ENV/releases/.lock              held for an instant: to enter a room, or to look for abandoned ones
//!                    r41/.in-use        locked while r41 is being built, by us and by every command in it
//!                    r41/release.json   written last: with it, the release is whole; without it, it is nothing
//!                    .checks-r41-…/     likewise
//!                    .trash-…/          on its way out
//! ```
//!
//! A release is built at the path it will run from, since what a build makes often holds its own path (a Python
//! environment, for one); so nothing is renamed into place, and `release.json` alone makes a release.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use super::release::RELEASE_FILE;

/// A directory that is in use until every clone of its lock is gone.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) dir: PathBuf,
    pub(super) in_use: Arc<File>,
}

/// What became of an attempt to enter a room.
#[derive(Debug)]
pub(super) enum Entered {
    /// It is ours, and empty.
    Room(Room),
    /// Somebody else is at work in it.
    Taken,
    /// A whole release stands there.
    Whole,
}

/// How long a command that was told to end may hold on to a room.
const LEAVE_WITHIN: Duration = Duration::from_secs(15);

impl Room {
    /// Enters a new, empty directory `releases/NAME`; what an earlier attempt left there goes. Waits a little for whoever is
    /// at work there: mostly the last commands of such an attempt. Blocks.
    pub(super) fn enter(releases: &Path, name: &str) -> io::Result<Entered> {
        let since = Instant::now();
        loop {
            let guard = guard(releases)?;
            if releases.join(name).join(RELEASE_FILE).exists() {
                return Ok(Entered::Whole);
            }
            if clear(releases, name)? {
                let dir = releases.join(name);
                fs::create_dir(&dir)?;
                let in_use = lock_file(&dir)?;
                in_use.try_lock()?;
                return Ok(Entered::Room(Self { dir, in_use: Arc::new(in_use) }));
            }
            drop(guard);
            if since.elapsed() > LEAVE_WITHIN {
                return Ok(Entered::Taken);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Removes it with all that is in it. Blocks.
    pub(super) fn leave(self, releases: &Path) -> io::Result<()> {
        trash(releases, &self.dir)?;
        drop(self.in_use);
        take_out(releases)
    }
}

/// Removes every release that `keep` does not want and all that was abandoned, but nothing that is in use. Interrupted, it
/// is done again by the next. Blocks.
pub(super) fn sweep(releases: &Path, keep: impl Fn(&str) -> bool) -> io::Result<()> {
    if !releases.exists() {
        return Ok(());
    }
    {
        let _guard = guard(releases)?;
        for entry in fs::read_dir(releases)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let whole = releases.join(&name).join(RELEASE_FILE).exists();
            if name != LOCK && !name.starts_with(TRASH) && !(whole && keep(&name)) {
                clear(releases, &name)?;
            }
        }
    }
    take_out(releases)
}

const LOCK: &str = ".lock";
const TRASH: &str = ".trash-";
const IN_USE: &str = ".in-use";

fn guard(releases: &Path) -> io::Result<File> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(releases)?;
    let lock =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(releases.join(LOCK))?;
    lock.lock()?;
    Ok(lock)
}

fn lock_file(dir: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(dir.join(IN_USE))
}

/// Moves `releases/NAME` to the trash; false where it is in use. Under the guard.
fn clear(releases: &Path, name: &str) -> io::Result<bool> {
    let dir = releases.join(name);
    match dir.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
        Ok(found) if !found.is_dir() => return fs::remove_file(&dir).map(|()| true),
        Ok(_) => {}
    }
    match lock_file(&dir)?.try_lock() {
        Err(TryLockError::WouldBlock) => return Ok(false),
        other => other?,
    }
    trash(releases, &dir).map(|()| true)
}

fn trash(releases: &Path, dir: &Path) -> io::Result<()> {
    // A directory that exists, so that its name is taken; a rename may replace an empty one.
    let place = tempfile::Builder::new().prefix(TRASH).tempdir_in(releases)?.keep();
    fs::rename(dir, place)
}

fn take_out(releases: &Path) -> io::Result<()> {
    for entry in fs::read_dir(releases)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(TRASH) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes a directory, also one with directories that may not be written to (a Go module cache). Two may do so at once.
fn remove(dir: &Path) -> io::Result<()> {
    for _ in 0..3 {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => unlock(dir)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !dir.exists() => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => return done,
        }
    }
    fs::remove_dir_all(dir)
}

fn unlock(dir: &Path) -> io::Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            unlock(&entry.path())?;
        }
    }
    Ok(())
}

/// What a directory takes on disk, in bytes, links not followed.
pub(super) fn size(dir: &Path) -> io::Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let found = entry.path().symlink_metadata()?;
        // st_blocks counts units of 512 bytes, whatever the file system's own are.
        total += found.blocks() * 512;
        if found.is_dir() {
            total += size(&entry.path())?;
        }
    }
    Ok(total)
}
