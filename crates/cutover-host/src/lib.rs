//! One machine's engine: converges replicas to a desired state and holds the gate.
//!
//! The host is to one machine what the API server with its controllers is to a cluster. It holds a desired state for each fleet
//! (which releases, how many replicas, what weight), written before it is acted upon, and converges to it. It knows no
//! plans and no history: conductors are its clients, and either side may die at any moment without the other.
//!
//! ```text
//!                 ┌──────────────────────── host ────────────────────────┐
//! conductor ─────►│ api ──► fleet ──► converge (pure) ──► attempts ──────┼──► processes
//!   (Unix socket) │           │                              ▲ probes ───┼──►   (replicas)
//!                 │           └──► front: gate ◄─────────────────────────┼─── clients
//!                 └───────────────────────────────────────────────────────┘
//! ```
//!
//! What it guarantees:
//! - A desired state that was answered with success survives a crash of the host or the machine, and one that is not
//!   above the one held is refused.
//! - A replica gets requests only between a successful readiness probe and its drain; it is stopped only when its requests
//!   are done or their time is over.
//! - Replicas outlive the host. The next one adopts them: same processes, no restart. None runs unknown.
//! - No signal reaches a process that is not a replica's (`process`).
//! - Nothing that a replica was given by reference appears in what the host keeps or answers (`output`).
//!
//! Linux only: pidfds, `/proc`, FIFOs opened both ways.

mod api;
mod attempt;
mod check;
mod converge;
mod durable;
mod fifo;
mod fleet;
mod front;
mod handover;
mod host;
mod metrics;
mod options;
mod output;
mod probe;
mod process;
mod replica;
mod sockets;
mod state;
mod variables;

pub use handover::TakeoverError;
pub use host::run;
pub use options::{HostError, HostOptions};
pub use state::StateError;
pub use variables::INHERITED;
