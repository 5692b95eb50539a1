//! Why a developer command failed, with the next step where there is one.

use std::{io, path::PathBuf, process::ExitStatus};

/// Why a developer command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A program could not be started at all.
    #[error("can't start `{program}`: {source}; is it installed and on PATH?")]
    Start { program: String, source: io::Error },
    /// A program ran and said no.
    #[error("`{command}` ended with {status}")]
    Ended { command: String, status: ExitStatus },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// Real parts are missing where nothing may be skipped.
    #[error("missing: {0}; with CI=true no test may be skipped, so install them or run as root on Debian")]
    PartsMissing(String),
    /// Tests reported themselves skipped where nothing may be skipped.
    #[error("{0} tests were skipped; with CI=true none may be")]
    Skipped(usize),
    /// House rules are broken; they were printed.
    #[error("{0} house rules are broken, see above")]
    Untidy(usize),
    /// Generated pages differ from the code.
    #[error("these generated pages differ from the code: {0}; run `cargo xtask reference` and commit them")]
    Drifted(String),
    /// No benchmark has this name.
    #[error("no benchmark is called `{name}`; there are: {known}")]
    UnknownBench { name: String, known: String },
    /// A benchmark's program printed something this command does not understand.
    #[error("`{bench}` printed no {what}; its output was:\n{output}")]
    Unreadable { bench: &'static str, what: &'static str, output: String },
    /// The benchmarks' service can't serve.
    #[error("this service is started by a host, for a benchmark: {0}")]
    Replica(io::Error),
    /// A figure is outside its bound; the table shows which.
    #[error("{0} figures are outside their bounds, see the table")]
    OutOfBounds(usize),
}
