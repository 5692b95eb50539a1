//! What a replica writes to its standard output and error, kept for operators: bounded, with the time, without secrets.
//!
//! Whole lines are redacted, so that a secret is masked wherever the reads were cut; a line that is too long to be held
//! is cut so that no half of a secret stays at its end. The files are two a replica: a full one replaces the older.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use cutover_model::redact::{MASK, Redactor};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

/// A longer line is cut here; the rest of it is dropped.
pub(crate) const LONGEST_LINE: usize = 16 * 1024;

/// Each of a replica's two files holds about as much.
pub(crate) const FILE_LIMIT: u64 = 1024 * 1024;

/// Fewer bytes of a secret's end than this give nothing away and agree by chance.
const SHORTEST_HALF: usize = 4;

/// Cut off the end of a line that was too long, over the longest secret: a secret's first half would stand there unmasked.
const BLIND_END: usize = 256;

/// One replica's log, over all its attempts.
pub(crate) struct Log {
    path: PathBuf,
    inner: Mutex<Inner>,
    /// Held for each read of the FIFO; who else holds it stops the reading.
    turn: Arc<Turn<()>>,
}

#[derive(Default)]
struct Inner {
    redactor: Redactor,
    line: Vec<u8>,
    /// Secrets whose second half the next line may begin with.
    torn: Vec<SecretString>,
    /// What follows up to the line's end is dropped.
    dropping: bool,
    file: Option<File>,
    written: u64,
}

impl Log {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, inner: Mutex::default(), turn: Arc::default() }
    }

    /// Stops reading until the answer is dropped. What was read before is in the log, or unfinished.
    pub(crate) async fn hold(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.turn).lock_owned().await
    }

    /// From now on, these secrets are masked.
    pub(crate) fn set_redactor(&self, redactor: Redactor) {
        self.lock().redactor = redactor;
    }

    /// Masks what the replica's log masks.
    pub(crate) fn redact(&self, text: &str) -> String {
        self.lock().redactor.redact(text)
    }

    /// The line that has begun and not ended, raw; for the host that takes over and reads its end.
    pub(crate) fn unfinished(&self) -> Vec<u8> {
        self.lock().line.clone()
    }

    /// Goes on with a line that another host has begun to read.
    pub(crate) fn resume(&self, beginning: Vec<u8>) {
        self.lock().line = beginning;
    }

    /// The first line that comes may be the end of one whose beginning a killed host took with it, and with it the first
    /// half of one of these secrets.
    pub(crate) fn resume_torn(&self, secrets: Vec<SecretString>) {
        self.lock().torn = secrets;
    }

    /// Writes a line of the host's own.
    pub(crate) fn note(&self, text: &str) {
        let mut inner = self.lock();
        inner.write(&self.path, &format!("cutover: {text}"));
    }

    /// Takes what was read, and writes each line as it ends.
    pub(crate) fn take(&self, bytes: &[u8]) {
        let mut inner = self.lock();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let ends = piece.last() == Some(&b'\n');
            let room = inner.longest_raw().saturating_sub(inner.line.len());
            if !inner.dropping {
                inner.line.extend_from_slice(&piece[..piece.len().min(room)]);
                if piece.len() > room {
                    inner.end_line(&self.path, false);
                    inner.dropping = true;
                }
            }
            if ends {
                if !inner.dropping {
                    inner.end_line(&self.path, true);
                }
                inner.dropping = false;
            }
        }
    }

    /// Writes a line that has begun, though it has not ended.
    pub(crate) fn flush(&self) {
        let mut inner = self.lock();
        if !inner.line.is_empty() {
            inner.end_line(&self.path, true);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn longest_raw(&self) -> usize {
        LONGEST_LINE + self.redactor.longest() + BLIND_END
    }

    /// Writes the line that was gathered. One that has not ended may have been cut within a secret, so its own end is
    /// left out as well.
    fn end_line(&mut self, path: &Path, whole: bool) {
        let raw = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&raw);
        let text = text.trim_end_matches(['\n', '\r']);
        let half = std::mem::take(&mut self.torn)
            .iter()
            .map(|secret| half_in_front(text, secret))
            .max()
            .unwrap_or(0);
        let mut shown = if half > 0 { MASK.to_owned() } else { String::new() };
        shown.push_str(&self.redactor.redact(&text[half..]));
        let blind = if whole { 0 } else { self.redactor.longest() + BLIND_END };
        let keep = shown.floor_char_boundary(shown.len().saturating_sub(blind).min(LONGEST_LINE));
        if !whole || keep < shown.len() {
            shown.truncate(keep);
            shown.push_str(" … [cut: the line is too long]");
        }
        self.write(path, &shown);
    }

    /// A log that can't be written (a full disk) must not stop the replica: the line is dropped.
    fn write(&mut self, path: &Path, line: &str) {
        let entry = format!("{:.3} {line}\n", jiff::Timestamp::now());
        if self.written + entry.len() as u64 > FILE_LIMIT {
            self.file = None;
            let _ = fs::rename(path, older(path));
        }
        if self.file.is_none() {
            let opened = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
            let Ok(file) = opened else { return };
            self.written = file.metadata().map_or(0, |metadata| metadata.len());
            self.file = Some(file);
        }
        if let Some(file) = &mut self.file
            && file.write_all(entry.as_bytes()).is_ok()
        {
            self.written += entry.len() as u64;
        }
    }
}

/// How many bytes at the beginning of a text are the end of a secret; 0 where less than [`SHORTEST_HALF`] agree.
fn half_in_front(text: &str, secret: &SecretString) -> usize {
    let secret = secret.expose_secret();
    // A password is a secret by itself, also without the rest of its URL.
    let password = secret.rfind('@').map_or(secret, |at| &secret[..at]);
    let longest = |secret: &str| {
        let ends = secret.char_indices().map(|(at, _)| &secret[at..]);
        ends.take_while(|end| end.len() >= SHORTEST_HALF)
            .find(|end| text.starts_with(end))
            .map_or(0, str::len)
    };
    longest(secret).max(longest(password))
}

/// Says in the log that an attempt begins; [`last_output`] looks no further back.
pub(crate) const BEGIN: &str = "cutover: started";

/// The last lines of the newest attempt, for a message: at most five of them, and about a kilobyte.
pub(crate) fn last_output(path: &Path) -> Option<String> {
    let text = tail(path, 4096).ok()?;
    let lines: Vec<&str> =
        text.lines().map(|line| line.split_once(' ').map_or(line, |(_, said)| said)).collect();
    let begin = lines.iter().rposition(|line| line.starts_with(BEGIN)).map_or(0, |at| at + 1);
    let lines = &lines[begin..];
    let mut last = lines[lines.len().saturating_sub(5)..].join("\n");
    if last.len() > 1024 {
        last = last.split_off(last.ceil_char_boundary(last.len() - 1024));
    }
    (!last.trim().is_empty()).then_some(last)
}

/// The file that a full log was moved to.
pub(crate) fn older(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".1");
    path.with_file_name(name)
}

/// The last whole lines of a log, at most `limit` bytes, oldest first. Empty where there is no log.
pub(crate) fn tail(path: &Path, limit: u64) -> io::Result<String> {
    let mut text = VecDeque::new();
    let mut room = limit;
    for path in [path.to_owned(), older(path)] {
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(room)))?;
        let mut part = Vec::new();
        file.take(room).read_to_end(&mut part)?;
        let whole = if length > room {
            part.iter().position(|b| *b == b'\n').map_or(part.len(), |at| at + 1)
        } else {
            0
        };
        room -= part.len() as u64;
        text.push_front(String::from_utf8_lossy(&part[whole..]).into_owned());
        if room == 0 {
            break;
        }
    }
    Ok(text.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "postgres://shop:hunter-22-hunter@db/shop";

    fn log(dir: &Path) -> Log {
        let log = Log::new(dir.join("r1-1.log"));
        log.set_redactor(Redactor::new(&[SecretString::from(SECRET)]));
        log
    }

    fn content(log: &Log) -> String {
        tail(&log.path, u64::MAX >> 1).unwrap()
    }

    #[test]
    fn a_secret_is_masked_wherever_the_reads_are_cut() {
        let line = format!("connecting to {SECRET} now\n");
        for cut in 0..line.len() {
            let dir = tempfile::tempdir().unwrap();
            let log = log(dir.path());
            log.take(&line.as_bytes()[..cut]);
            log.take(&line.as_bytes()[cut..]);
            assert!(content(&log).ends_with("connecting to [redacted] now\n"), "{}", content(&log));
        }
    }

    #[test]
    fn a_secret_is_masked_wherever_a_long_line_is_cut() {
        for before in LONGEST_LINE - SECRET.len() - 2..LONGEST_LINE + SECRET.len() + BLIND_END + 2 {
            let dir = tempfile::tempdir().unwrap();
            let log = log(dir.path());
            log.take(format!("{}{SECRET} and more", "x".repeat(before)).as_bytes());
            log.take(b" of the same line\nnext\n");
            let shown = content(&log);
            assert!(!shown.contains("hunter") && !shown.contains("shop"), "{before}");
            assert!(shown.lines().last().unwrap().ends_with(" next"));
            assert_eq!(shown.lines().count(), 2);
            assert!(shown.len() < LONGEST_LINE + 200);
        }
    }

    #[test]
    fn the_files_are_bounded_and_the_tail_is_whole_lines() {
        let dir = tempfile::tempdir().unwrap();
        let log = log(dir.path());
        for number in 0..60_000 {
            log.take(format!("line {number} {}\n", "x".repeat(40)).as_bytes());
        }
        let sizes = [log.path.clone(), older(&log.path)].map(|path| fs::metadata(path).unwrap().len());
        assert!(sizes.iter().all(|size| *size <= FILE_LIMIT), "{sizes:?}");
        let last = tail(&log.path, 200).unwrap();
        assert!(last.len() <= 200 && last.contains("line 59999 "));
        assert!(last.lines().all(|line| line.contains("Z line ")), "{last}");
        let both = tail(&log.path, 2 * FILE_LIMIT).unwrap();
        assert!(both.len() as u64 > FILE_LIMIT, "the older file is part of it");
    }

    #[test]
    fn a_line_goes_on_under_another_host() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (log(dir.path()), log(dir.path()));
        old.take(&SECRET.as_bytes()[..15]);
        new.resume(old.unfinished());
        new.take(&SECRET.as_bytes()[15..]);
        new.take(b"\n");
        assert!(content(&new).ends_with("[redacted]\n"));
    }

    #[test]
    fn half_a_secret_behind_a_killed_host_is_masked() {
        let end = SECRET.find("-hunter").unwrap();
        for (text, shown) in [
            (format!("{} and more\n", &SECRET[20..]), "[redacted] and more"),
            (format!("{}\n", &SECRET[20..end + 7]), "[redacted]"),
            ("nothing of it\n".to_owned(), "nothing of it"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let log = log(dir.path());
            log.resume_torn(vec![SecretString::from(SECRET)]);
            log.take(text.as_bytes());
            log.take(&text.as_bytes()[..1]);
            let said = content(&log);
            assert!(said.ends_with(&format!("Z {shown}\n")), "{said}");
        }
    }
}
