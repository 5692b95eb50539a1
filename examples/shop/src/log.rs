//! The log: lines on stdout, for whatever runs the process to keep.

use std::{
    fmt::Display,
    io::{Write, stdout},
};

/// Writes one line. `println!` would panic when nobody reads any more, and a lost log must not stop a service.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(stdout(), "{line}");
}
