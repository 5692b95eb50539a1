//! A kept release: its files, and what is said of it.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use cutover_model::{
    ReleaseNumber,
    run::{Commit, Identity},
};
use serde::{Deserialize, Serialize};

/// Its presence makes a release whole.
pub(super) const RELEASE_FILE: &str = "release.json";

/// What is known of a kept release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseInfo {
    /// Which.
    pub release: ReleaseNumber,
    /// What it was made from.
    pub commit: Commit,
    /// Who had it made.
    pub by: Identity,
    /// When it was whole, in milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// Bytes on disk.
    pub bytes: u64,
}

/// Reads what is said of the release in a directory; `None` where there is no whole release.
pub(super) fn read(dir: &Path) -> io::Result<Option<ReleaseInfo>> {
    match fs::read(dir.join(RELEASE_FILE)) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Makes the release in a directory whole: all its files are durable before it is said to be.
pub(super) fn finish(dir: &Path, info: &ReleaseInfo) -> io::Result<()> {
    sync_all_under(dir)?;
    let mut file = tempfile::Builder::new().prefix(".release-").tempfile_in(dir)?;
    file.write_all(&serde_json::to_vec_pretty(info)?)?;
    file.as_file().sync_all()?;
    file.persist(dir.join(RELEASE_FILE))?;
    File::open(dir)?.sync_all()?;
    dir.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

/// One call for the whole file system: a build has too many files to sync one by one.
fn sync_all_under(dir: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(File::open(dir)?)?;
    #[cfg(not(target_os = "linux"))]
    rustix::fs::sync();
    Ok(())
}

/// The whole releases in a directory, oldest first. One whose description can't be read is left out: it is not whole.
pub(super) fn list(releases: &Path) -> io::Result<Vec<ReleaseInfo>> {
    let entries = match fs::read_dir(releases) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Ok(Some(info)) = read(&entry.path())
            && info.release.to_string() == name
        {
            found.push(info);
        }
    }
    found.sort_by_key(|info| info.release);
    Ok(found)
}
