//! The reverse proxy that routes requests to ready replicas and measures each release.
//!
//! What it guarantees:
//! - A request that begins after [`Gate::install`] returned is routed by that table, on every thread.
//! - A replica that left the table gets no new request; those in flight (to the last byte of the response, upgraded
//!   connections too) finish, or end when [`Gate::cut`] is called. [`Gate::drained`] tells when there are none.
//! - A request is repeated on another replica only when that is safe ([`retry`]).
//! - No body is held in memory: a side that does not take bytes stops the other.
//! - Nothing that a client or replica sends makes the gate panic, and what it costs is bounded by [`GateOptions`].
//!
//! It knows nothing of releases' history: a table says what is to be done now.
//!
//! ```text
//!                    ┌ worker thread (own event loop, own idle connections, own counters) ┐
//! client ──HTTP/1.1──► serve: hyper ──► forward: claim ──► exchange ──HTTP/1.1──► replica
//!                    │    sweep: timeouts   │ table, replicas' loads (atomics)            │
//!                    └──────────────────────┼────────────────────────────────────────────┘
//!   host ──install, drained, cut, measures──► Gate
//! ```

mod answer;
mod attempt;
mod body;
mod client;
mod compact;
mod exchange;
mod forward;
mod gate;
mod headers;
mod options;
mod pattern;
mod pick;
mod prometheus;
mod replica;
mod request;
pub mod retry;
mod routes;
mod serve;
mod shared;
mod table;
mod tally;
mod tunnel;
mod wire;
mod worker;

pub use gate::Gate;
pub use options::GateOptions;
pub use table::{MAX_ROUTES, Page, Pool, RouteTable, Service, StaleGeneration, Unavailable, Upstream};
