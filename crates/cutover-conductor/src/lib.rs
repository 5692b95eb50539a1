//! Drives a run: journal, ports, verification, approvals
