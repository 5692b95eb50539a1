//! The journal's files.
//!
//! ```text
//! STATE/journal.db       the events, in SQLite (with -wal and -shm beside it while it is in use)
//! STATE/journal.tip      the newest event that was written, said a second time: what SQLite cuts off the end of a
//!                        damaged log without a word is missed by this
//! STATE/ENV.lock         locked by the driver of ENV
//! ```

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use cutover_model::EnvironmentName;
use sha2::{Digest, Sha256};

use super::chain::{Link, Tip};

/// Where a journal lives.
#[derive(Debug, Clone)]
pub(super) struct Place {
    dir: PathBuf,
}

impl Place {
    /// The journal of a state directory. An absolute path, so that SQLite can't take it for a URI.
    pub(super) fn new(dir: &Path) -> io::Result<Self> {
        Ok(Self { dir: std::path::absolute(dir)? })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn database(&self) -> PathBuf {
        self.dir.join("journal.db")
    }

    /// The log that SQLite replays when the journal is opened, and the index it makes of it.
    pub(super) fn beside(&self) -> [PathBuf; 2] {
        ["journal.db-wal", "journal.db-shm"].map(|name| self.dir.join(name))
    }

    /// A mended journal that waits to take the place of the damaged one.
    pub(super) fn mended(&self) -> PathBuf {
        self.dir.join("journal.mended.db")
    }

    fn tip_file(&self) -> PathBuf {
        self.dir.join("journal.tip")
    }

    /// Creates the directory and the files, for this user only, where they are missing; durable on return.
    pub(super) fn create(&self) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        private(&self.tip_file())?;
        // Created, but never opened and closed where it exists: that would drop the locks SQLite holds on it in this process.
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.database()) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        self.sync()?;
        self.dir.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
    }

    /// Makes the names in the directory durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    /// Which file the name stands for now; `None` where there is none.
    pub(super) fn inode(&self) -> io::Result<Option<(u64, u64)>> {
        match fs::metadata(self.database()) {
            Ok(found) => Ok(Some((found.dev(), found.ino()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// True where the database holds nothing at all. (SQLite then throws away a log that may be there.)
    pub(super) fn is_bare(&self) -> io::Result<bool> {
        match fs::metadata(self.database()) {
            Ok(found) => Ok(found.len() == 0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// The lock file of an environment's driver. It is never removed: a lock on a removed file locks nobody out.
    pub(super) fn driver_lock(&self, environment: &EnvironmentName) -> io::Result<File> {
        private(&self.dir.join(format!("{environment}.lock")))
    }

    /// Whether somebody holds that lock now. Creates nothing.
    pub(super) fn is_driven(&self, environment: &EnvironmentName) -> io::Result<bool> {
        match File::open(self.dir.join(format!("{environment}.lock"))) {
            Ok(file) => match file.try_lock_shared() {
                Ok(()) => Ok(false),
                Err(TryLockError::WouldBlock) => Ok(true),
                Err(TryLockError::Error(error)) => Err(error),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The file whose lock keeps writers (shared) and mending (exclusive) apart.
    pub(super) fn use_lock(&self) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(self.tip_file())
    }

    /// The newest event that some writer saw committed; `None` where that isn't known. Must be read before the
    /// transaction it is compared with begins, for only then it can't be ahead of a sound journal.
    pub(super) fn witnessed(&self) -> io::Result<Option<Tip>> {
        let mut text = Vec::new();
        match File::open(self.tip_file()) {
            Ok(file) => file.take(200).read_to_end(&mut text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(String::from_utf8(text).ok().and_then(|text| parse(&text)))
    }

    /// Says a second time how far the journal goes. Not synced, since it may be behind and must only never be ahead;
    /// written in place and of one length, so that a full disk does not stop it.
    pub(super) fn witness(&self, tip: Tip) -> io::Result<()> {
        self.use_lock()?.write_all_at(print(tip).as_bytes(), 0)
    }
}

/// Opens or creates a file that only this user can read.
fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// `seq link check`, in 103 bytes. The check tells a torn or damaged line from one that was written.
fn print(tip: Tip) -> String {
    let line = format!("{:020} {}", tip.seq, tip.link.hex());
    let check = check(&line);
    format!("{line} {check}\n")
}

fn parse(text: &str) -> Option<Tip> {
    let (line, found) = text.trim_end_matches('\n').rsplit_once(' ')?;
    let (seq, link) = line.split_once(' ')?;
    (check(line) == found).then_some(())?;
    Some(Tip { seq: seq.parse().ok()?, link: Link::from_hex(link)? })
}

fn check(line: &str) -> String {
    Sha256::digest(line).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tip_is_read_back_or_not_believed() {
        let tip = Tip { seq: 41, link: Link([7; 32]) };
        let text = print(tip);
        assert!(parse(&text) == Some(tip));
        for at in 0..text.len() - 1 {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            assert!(String::from_utf8(bytes).ok().and_then(|text| parse(&text)).is_none(), "byte {at}");
            assert!(parse(&text[..at]).is_none(), "cut at {at}");
        }
    }
}
