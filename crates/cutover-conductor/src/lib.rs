//! Drives a run: journal, ports, verification, approvals.
//!
//! ```text
//! Plan ──► drive ──► ports: target, metrics, migrations, commands
//!            │ ▲                    │
//!            ▼ │                    ▼
//!          journal              verify: is the release bad?
//! ```

pub mod artifact;
pub mod drive;
pub mod history;
pub mod journal;
pub mod planning;
pub mod ports;
pub mod verify;
