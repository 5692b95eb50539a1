//! What a command writes: line by line to whoever watches, whole to a bounded file, its end in memory; without secrets.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use cutover_model::redact::Redactor;

/// Gets each line as it is written: the name of the command (`check lint`, `build`, `smoke`) and the line. Must not block.
pub type Watcher = Arc<dyn Fn(&str, &str) + Send + Sync>;

/// A longer line is cut here, in bytes; the rest of it is dropped.
const LONGEST_LINE: usize = 16 * 1024;

/// The file holds about as much, in bytes; what follows is only counted.
const FILE_LIMIT: u64 = 16 * 1024 * 1024;

/// So much of the end is kept for an error message, in bytes.
const TAIL: usize = 64 * 1024;

/// Cut off the end of a line that was too long, over the longest secret: a secret's first half would stand there unmasked.
const BLIND_END: usize = 256;

/// Takes bytes and makes lines of them.
pub(super) struct Lines {
    name: String,
    redactor: Redactor,
    watcher: Option<Watcher>,
    path: PathBuf,
    file: Option<File>,
    written: u64,
    /// The line that has begun.
    line: Vec<u8>,
    /// What follows up to the line's end is dropped.
    dropping: bool,
    tail: VecDeque<String>,
    tail_bytes: usize,
}

impl Lines {
    /// Begins a new log file in place of an earlier one of that name.
    pub(super) fn begin(
        name: String,
        path: &Path,
        redactor: Redactor,
        watcher: Option<Watcher>,
    ) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        Ok(Self {
            name,
            redactor,
            watcher,
            path: path.to_owned(),
            file: Some(file),
            written: 0,
            line: Vec::new(),
            dropping: false,
            tail: VecDeque::new(),
            tail_bytes: 0,
        })
    }

    /// Takes what was read, and hands on each line as it ends.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let longest = LONGEST_LINE + self.redactor.longest() + BLIND_END;
            let room = longest.saturating_sub(self.line.len());
            if !self.dropping {
                self.line.extend_from_slice(&piece[..piece.len().min(room)]);
                if piece.len() > room {
                    self.end_line(false);
                    self.dropping = true;
                }
            }
            if piece.ends_with(b"\n") {
                if !self.dropping {
                    self.end_line(true);
                }
                self.dropping = false;
            }
        }
    }

    /// Hands on a line that has begun and will not end.
    pub(super) fn finish(&mut self) {
        if !self.line.is_empty() {
            self.end_line(true);
        }
    }

    /// The last lines, at most so many and so many bytes, each after two spaces.
    pub(super) fn last(&self, most: usize) -> String {
        let skipped = self.tail.len().saturating_sub(most);
        self.tail.iter().skip(skipped).map(|line| format!("\n  {line}")).collect()
    }

    /// Where the output stands.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn end_line(&mut self, whole: bool) {
        let raw = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&raw);
        let mut shown = self.redactor.redact(text.trim_end_matches(['\n', '\r']));
        // One that was cut may have been cut within a secret, so its own end is left out as well.
        let blind = if whole { 0 } else { self.redactor.longest() + BLIND_END };
        let keep = shown.floor_char_boundary(shown.len().saturating_sub(blind).min(LONGEST_LINE));
        if !whole || keep < shown.len() {
            shown.truncate(keep);
            shown.push_str(" … [cut: the line is too long]");
        }
        self.write(&shown);
        if let Some(watcher) = &self.watcher {
            watcher(&self.name, &shown);
        }
        self.tail_bytes += shown.len();
        self.tail.push_back(shown);
        while self.tail_bytes > TAIL {
            let Some(oldest) = self.tail.pop_front() else { break };
            self.tail_bytes -= oldest.len();
        }
    }

    /// A log that can't be written stops nothing: the command's outcome is what counts.
    fn write(&mut self, line: &str) {
        let Some(file) = &mut self.file else { return };
        self.written += line.len() as u64 + 1;
        let full = self.written > FILE_LIMIT;
        let text = if full { "… [cut: the output is too long]" } else { line };
        if writeln!(file, "{text}").is_err() || full {
            self.file = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use secrecy::SecretString;

    use super::*;

    fn shown(secret: &str, pieces: &[&[u8]]) -> (Vec<String>, String) {
        let dir = tempfile::tempdir().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let watcher: Watcher = {
            let seen = Arc::clone(&seen);
            Arc::new(move |name, line| {
                assert_eq!(name, "build");
                seen.lock().unwrap().push(line.to_owned());
            })
        };
        let redactor = Redactor::new(&[SecretString::from(secret)]);
        let path = dir.path().join("logs/build.log");
        let mut lines = Lines::begin("build".into(), &path, redactor, Some(watcher)).unwrap();
        pieces.iter().for_each(|piece| lines.take(piece));
        lines.finish();
        let seen = seen.lock().unwrap().clone();
        (seen, fs::read_to_string(path).unwrap())
    }

    #[test]
    fn lines_are_whole_and_without_secrets_however_they_arrive() {
        let (seen, file) = shown("hunter2!", &[b"one\ntw", b"o hun", b"ter2! \xff\n\nlast"]);
        assert_eq!(seen, ["one", "two [redacted] \u{fffd}", "", "last"]);
        assert_eq!(file, "one\ntwo [redacted] \u{fffd}\n\nlast\n");
    }

    #[test]
    fn a_secret_at_the_cut_of_a_long_line_does_not_show() {
        let secret = "s3cr3t-s3cr3t";
        for before in LONGEST_LINE - 20..LONGEST_LINE + 300 {
            let line = format!("{}{secret}{}\nnext\n", "x".repeat(before), "y".repeat(900));
            let (seen, file) = shown(secret, &[line.as_bytes()]);
            assert!(!seen[0].contains("s3c") && !file.contains("s3c"), "at {before}");
            assert!(seen[0].ends_with("too long]"));
            assert_eq!(seen[1], "next");
        }
    }

    #[test]
    fn memory_and_file_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut lines = Lines::begin("build".into(), &path, Redactor::default(), None).unwrap();
        let line = format!("{}\n", "z".repeat(1023));
        for _ in 0..20 * 1024 {
            lines.take(line.as_bytes());
        }
        assert!(fs::metadata(&path).unwrap().len() <= FILE_LIMIT + 100);
        assert!(lines.last(usize::MAX).len() <= TAIL + 64 * 3 + 1024);
        assert_eq!(lines.last(2).lines().count(), 3);
    }
}
