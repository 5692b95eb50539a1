//! The way of a replica's output to its host, which survives either end of the host.
//!
//! ```text
//! replica ──stdout, stderr──► named FIFO ──► host: whole lines, redacted, timed ──► r41-3f9a.log, r41-3f9a.log.1
//!         (opened for reading and writing)
//! ```
//!
//! The replica holds the FIFO open in both directions, so a host that is killed takes nothing with it: the replica gets no
//! SIGPIPE, what it writes stays in the pipe (1 MiB where the system allows), and the next host opens the FIFO by its name
//! and reads on. While no host reads, a replica that has filled the pipe waits in its write. It loses nothing, and it gets no
//! traffic in that time anyway.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{CWD, Mode, mkfifoat},
    pipe::fcntl_setpipe_size,
};
use tokio::net::unix::pipe;

use crate::output::Log;

const PIPE_SIZE: usize = 1024 * 1024;
const READ_SIZE: usize = 64 * 1024;

/// The way of one attempt's output from the replica to the host.
pub(crate) struct Channel {
    path: PathBuf,
    reader: pipe::Receiver,
}

impl Channel {
    /// A new FIFO, and the end of it that the replica gets, twice.
    pub(crate) fn create(path: &Path) -> io::Result<(Self, [File; 2])> {
        let _ = fs::remove_file(path);
        mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR)?;
        let channel = Self::open(path)?;
        let out = OpenOptions::new().read(true).write(true).open(path)?;
        // The limits of /proc/sys/fs/pipe-* may forbid it; a smaller pipe only fills sooner.
        let _ = fcntl_setpipe_size(&out, PIPE_SIZE);
        let err = out.try_clone()?;
        Ok((channel, [out, err]))
    }

    /// The FIFO of an attempt that runs.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let reader = pipe::OpenOptions::new().open_receiver(path)?;
        Ok(Self { path: path.to_owned(), reader })
    }

    /// Reads into the log until nobody holds the FIFO open for writing, then removes it. Cancel safe: a read that was
    /// cut off has taken nothing, and a line's beginning stays in the log's memory.
    pub(crate) async fn pump(self, log: Arc<Log>) {
        let mut buffer = Vec::new();
        loop {
            let readable = self.reader.readable().await;
            let _turn = log.hold().await;
            // Between reads a replica costs no buffer.
            buffer.resize(READ_SIZE, 0);
            match readable.and_then(|()| self.reader.try_read(&mut buffer)) {
                Ok(0) => break,
                Ok(count) => {
                    log.take(&buffer[..count]);
                    buffer = Vec::new();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => buffer = Vec::new(),
                Err(error) => {
                    log.note(&format!("output can't be read: {error}"));
                    break;
                }
            }
        }
        log.flush();
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::output::tail;

    #[tokio::test]
    async fn what_was_written_while_nobody_read_is_there_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r1-1.1.fifo");
        let file = dir.path().join("r1-1.log");
        let log = Arc::new(Log::new(file.clone()));
        let (first, [mut out, err]) = Channel::create(&path).unwrap();
        drop(first);
        out.write_all(b"said to nobody\n").unwrap();
        let second = Channel::open(&path).unwrap();
        out.write_all(b"no end").unwrap();
        drop((out, err));
        second.pump(Arc::clone(&log)).await;
        let shown = tail(&file, 10_000).unwrap();
        assert!(shown.contains("said to nobody\n") && shown.ends_with("no end\n"), "{shown}");
        assert!(!path.exists());
    }
}
