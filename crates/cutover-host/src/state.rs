//! What a host must not forget, and where it stands.
//!
//! ```text
//! STATE/lock                                  held (flock) by the one host of this directory
//! STATE/host.sock                             its API
//! STATE/fleets/shop.production/desired.json   written before it is acted upon
//!                             /replicas/r41-3f9a1c07b2.json   written before its process is started
//!                             /output/r41-3f9a1c07b2.log, .log.1, .1.fifo
//! ```
//!
//! A file that can't be read stops the host with its name: starting without it would mean to forget replicas that run.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use cutover_model::{
    ReleaseNumber,
    fleet::{Desired, FleetName, RunSpec},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::sync::{mpsc, oneshot};

use crate::{durable, process::Identity, replica::ReplicaId};

/// Logs of replicas that are gone, kept for reading.
const LOGS_KEPT: usize = 20;

/// What is known of a replica without looking at it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: ReplicaId,
    pub(crate) release: ReleaseNumber,
    /// Counts the processes that it had, from 1.
    pub(crate) attempt: u32,
    pub(crate) port: u16,
    /// It was surplus already.
    pub(crate) leaving: bool,
    /// As its process was started.
    pub(crate) run: RunSpec,
    /// `None`: its process is about to be started, or was and the host died before it could say so.
    pub(crate) identity: Option<Identity>,
    /// In which boot this was written. A replica does not outlive the machine.
    pub(crate) boot_id: String,
}

/// Why the state could not be read.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The disk or its permissions.
    #[error("the host's state {path} can't be read: {cause}")]
    Unreadable {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Its content is not what a host writes.
    #[error(
        "the host's state {path} is damaged ({cause}), so the host does not know what it shall run. Nothing was changed, and \
         replicas that run go on. Restore the file from a backup; or remove it and send the desired state again, by \
         releasing or rolling back"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        cause: serde_json::Error,
    },
}

/// The files of one fleet.
#[derive(Debug, Clone)]
pub(crate) struct FleetFiles {
    directory: PathBuf,
}

impl FleetFiles {
    pub(crate) fn new(state_dir: &Path, name: &FleetName) -> Self {
        Self { directory: state_dir.join("fleets").join(name.to_string()) }
    }

    /// The fleets that a state directory holds, in order.
    pub(crate) fn list(state_dir: &Path) -> Result<Vec<FleetName>, StateError> {
        let path = state_dir.join("fleets");
        let mut names = Vec::new();
        for entry in entries(&path)? {
            // A directory without a desired state is one whose first write was cut: nothing was promised yet.
            let name = entry.file_name().and_then(|name| name.to_str()?.parse::<FleetName>().ok());
            names.extend(name.filter(|_| entry.join("desired.json").exists()));
        }
        names.sort();
        Ok(names)
    }

    pub(crate) fn create(&self) -> io::Result<()> {
        durable::private_directory(&self.directory.join("replicas"))?;
        durable::private_directory(&self.directory.join("output"))
    }

    pub(crate) fn desired(&self) -> PathBuf {
        self.directory.join("desired.json")
    }

    pub(crate) fn record(&self, id: &ReplicaId) -> PathBuf {
        self.directory.join("replicas").join(format!("{id}.json"))
    }

    pub(crate) fn log(&self, id: &ReplicaId) -> PathBuf {
        self.directory.join("output").join(format!("{id}.log"))
    }

    pub(crate) fn fifo(&self, id: &ReplicaId, attempt: u32) -> PathBuf {
        self.directory.join("output").join(format!("{id}.{attempt}.fifo"))
    }

    pub(crate) fn load_desired(&self) -> Result<Desired, StateError> {
        load(&self.desired())
    }

    pub(crate) fn load_records(&self) -> Result<Vec<Record>, StateError> {
        let paths = entries(&self.directory.join("replicas"))?;
        paths
            .iter()
            .filter(|path| path.extension().is_some_and(|ext| ext == "json"))
            .map(|path| load(path))
            .collect()
    }

    /// Removes what replicas that are gone left behind, except the newest logs.
    pub(crate) fn prune(&self, current: &[ReplicaId]) -> Result<(), StateError> {
        let of_current = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.split('.').next().and_then(|id| id.parse().ok()).is_some_and(|id| current.contains(&id))
        };
        let gone = entries(&self.directory.join("output"))?.into_iter().filter(|path| !of_current(path));
        let (mut logs, fifos): (Vec<_>, Vec<_>) =
            gone.partition(|path| path.extension().is_none_or(|ext| ext != "fifo"));
        logs.sort_by_key(|path| {
            std::cmp::Reverse(path.metadata().and_then(|metadata| metadata.modified()).ok())
        });
        for path in fifos.iter().chain(logs.iter().skip(2 * LOGS_KEPT)) {
            let _ = fs::remove_file(path);
        }
        Ok(())
    }
}

fn entries(path: &Path) -> Result<Vec<PathBuf>, StateError> {
    let unreadable = |cause| StateError::Unreadable { path: path.to_owned(), cause };
    match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
            .map_err(unreadable),
    }
}

fn load<T: DeserializeOwned>(path: &Path) -> Result<T, StateError> {
    let bytes = fs::read(path).map_err(|cause| StateError::Unreadable { path: path.to_owned(), cause })?;
    serde_json::from_slice(&bytes).map_err(|cause| StateError::Damaged { path: path.to_owned(), cause })
}

/// Writes a fleet's files one after the other, in the order asked, without holding up who asks.
#[derive(Debug, Clone)]
pub(crate) struct Recorder {
    jobs: mpsc::UnboundedSender<Job>,
}

/// `content` is `None` to remove the file.
#[derive(Debug)]
struct Job {
    path: PathBuf,
    content: Option<Vec<u8>>,
    done: oneshot::Sender<io::Result<()>>,
}

impl Recorder {
    pub(crate) fn start() -> Self {
        // Without a bound of its own: each replica has at most a handful of writes under way, and replicas are bounded.
        let (jobs, mut waiting) = mpsc::unbounded_channel::<Job>();
        tokio::spawn(async move {
            while let Some(Job { path, content, done }) = waiting.recv().await {
                let written = tokio::task::spawn_blocking(move || match content {
                    Some(content) => durable::write(&path, &content),
                    None => durable::remove(&path),
                });
                let _ = done.send(written.await.unwrap_or_else(|error| Err(io::Error::other(error))));
            }
        });
        Self { jobs }
    }

    /// The answer comes when the content is durable. Asked for in the order of the calls, whether it is awaited or not.
    pub(crate) fn write<T: Serialize>(
        &self,
        path: PathBuf,
        value: &T,
    ) -> impl Future<Output = io::Result<()>> + use<T> {
        let content = serde_json::to_vec_pretty(value).map_err(io::Error::other);
        let sent = content.map(|content| self.send(path, Some(content)));
        async move { sent?.await.unwrap_or_else(|_| Err(io::Error::other("the host is ending"))) }
    }

    /// The answer comes when the file is gone.
    pub(crate) fn remove(&self, path: PathBuf) -> impl Future<Output = io::Result<()>> + use<> {
        let sent = self.send(path, None);
        async move { sent.await.unwrap_or_else(|_| Err(io::Error::other("the host is ending"))) }
    }

    /// Returns when everything asked for before is done.
    pub(crate) async fn flushed(&self, files: &FleetFiles) {
        let _ = self.remove(files.directory.join("replicas").join("none.json")).await;
    }

    fn send(&self, path: PathBuf, content: Option<Vec<u8>>) -> oneshot::Receiver<io::Result<()>> {
        let (done, answer) = oneshot::channel();
        let _ = self.jobs.send(Job { path, content, done });
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_named_and_never_an_empty_start() {
        let dir = tempfile::tempdir().unwrap();
        let name: FleetName = "shop.production".parse().unwrap();
        let files = FleetFiles::new(dir.path(), &name);
        assert!(FleetFiles::list(dir.path()).unwrap().is_empty());
        files.create().unwrap();
        assert!(FleetFiles::list(dir.path()).unwrap().is_empty(), "nothing was desired yet");
        for content in ["", "{", "{\"generation\":{\"fence\":1", "null"] {
            fs::write(files.desired(), content).unwrap();
            assert_eq!(FleetFiles::list(dir.path()).unwrap(), std::slice::from_ref(&name));
            let error = files.load_desired().unwrap_err().to_string();
            assert!(error.contains("shop.production/desired.json is damaged"), "{error}");
            assert!(error.contains("replicas that run go on"), "{error}");
        }
        let id: ReplicaId = "r1-1".parse().unwrap();
        fs::write(files.record(&id), "[").unwrap();
        assert!(files.load_records().unwrap_err().to_string().contains("replicas/r1-1.json"));
    }

    #[test]
    fn only_what_is_gone_is_pruned() {
        let dir = tempfile::tempdir().unwrap();
        let files = FleetFiles::new(dir.path(), &"a.b".parse().unwrap());
        files.create().unwrap();
        let id = |n: usize| -> ReplicaId { format!("r1-{n}").parse().unwrap() };
        for n in 0..100 {
            fs::write(files.log(&id(n)), "").unwrap();
            fs::write(files.fifo(&id(n), 1), "").unwrap();
        }
        files.prune(&[id(7), id(8)]).unwrap();
        assert!([files.log(&id(7)), files.fifo(&id(8), 1)].iter().all(|path| path.exists()));
        assert_eq!(entries(&files.directory.join("output")).unwrap().len(), 4 + 2 * LOGS_KEPT);
    }
}
