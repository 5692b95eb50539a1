//! House rules that compilers and clippy don't check, as a test.
//!
//! Each rule looks at the project's files as text and returns what it found; it has unit tests that show it can fail.
//! The rules are one list, [`RULES`].

mod docs;
mod mission;
mod names;
mod reasons;
mod sizes;
mod source;

use std::{fmt, fs, process::Command};

use crate::{failure::Failure, process};

type Check = fn(&Tree) -> Vec<Finding>;

/// Every rule: what it demands, and its check.
const RULES: &[(&str, Check)] = &[
    ("a function fits a screen: 70 lines at most", sizes::long_functions),
    ("a file is one idea: 500 lines at most", sizes::long_files),
    ("names say what a thing is", names::empty_names),
    ("the project names no machine it was made on and no registry's host", names::places),
    ("a module begins with //! and says what it guarantees", docs::module_docs),
    ("each design page is linked from docs/README.md", docs::design_pages_linked),
    ("a lint exception says its reason", reasons::lint_exceptions),
    ("a dependency says what it is for, once, in the root manifest", reasons::dependencies),
    ("each row of the mission names a test that exists", mission::rows),
];

/// One text file of the project.
pub(crate) struct File {
    /// From the root, with `/`.
    path: String,
    text: String,
    /// For Rust files: the text with comments and literals blanked; else empty.
    code: String,
}

impl File {
    fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        let (path, text) = (path.into(), text.into());
        let code = if path.ends_with(".rs") { source::code_only(&text) } else { String::new() };
        Self { path, text, code }
    }

    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// A test's own file: under `tests/`, or a module that only tests include.
    fn is_test(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        self.path.split('/').any(|part| part == "tests") || name == "tests.rs" || name.ends_with("_tests.rs")
    }
}

/// The project's text files.
pub(crate) struct Tree {
    files: Vec<File>,
}

impl Tree {
    /// What git tracks, and what it would track if it were added now.
    fn read() -> Result<Self, Failure> {
        let list = process::output(Command::new("git").current_dir(crate::root()).args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
        ]))?;
        // A file that is tracked but deleted is no longer part of the project; one that is not UTF-8 is not text.
        let read = |path: &str| Some(File::new(path, fs::read_to_string(crate::root().join(path)).ok()?));
        Ok(Self { files: list.lines().filter_map(read).collect() })
    }

    fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.is_rust())
    }

    fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    #[cfg(test)]
    fn of(files: &[(&str, &str)]) -> Self {
        Self { files: files.iter().map(|(path, text)| File::new(*path, *text)).collect() }
    }
}

/// One place that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    path: String,
    /// From 1; 0: the file as a whole.
    line: usize,
    message: String,
}

impl Finding {
    fn new(file: &File, line: usize, message: impl Into<String>) -> Self {
        Self { path: file.path.clone(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.message),
            line => write!(f, "{}:{line}: {}", self.path, self.message),
        }
    }
}

/// Checks every rule and prints what breaks one.
///
/// # Errors
/// [`Failure::Untidy`] with how many places there are.
pub(crate) fn run() -> Result<(), Failure> {
    let tree = Tree::read()?;
    let mut broken = 0;
    for (rule, check) in RULES {
        let found = check(&tree);
        if !found.is_empty() {
            println!("{rule}");
        }
        for finding in &found {
            println!("  {finding}");
        }
        broken += found.len();
    }
    for (path, lines) in sizes::growing_files(&tree) {
        println!("note: {path} has {lines} lines; most files are under {}", sizes::MOST_FILE_LINES);
    }
    if broken > 0 {
        return Err(Failure::Untidy(broken));
    }
    println!("tidy: {} files follow {} rules", tree.files.len(), RULES.len());
    Ok(())
}
