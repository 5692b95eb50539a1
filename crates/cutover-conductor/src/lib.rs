//! Drives a run: journal, ports, verification, approvals

pub mod verify;
