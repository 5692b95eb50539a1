//! The route table: what the gate is told. Plain data, complete every time, with a rising generation.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use cutover_model::ReleaseNumber;

/// Everything the gate routes by. A table replaces the one before it as a whole.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RouteTable {
    /// Rises with every table; an older or repeated one is refused.
    pub generation: u64,
    /// Requests that match none get 404. The most exact match wins: with a host before without, then the longest prefix.
    pub services: Vec<Service>,
}

/// One service's share of the requests and the replicas that answer them.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Names the service in metrics.
    pub name: String,
    /// Only requests for this host (without port, any case); `None` = any.
    pub host: Option<String>,
    /// Only paths that begin with these whole segments; `/` = all. The path is passed on unchanged.
    pub path_prefix: String,
    /// The releases that serve it.
    pub pools: Vec<Pool>,
    /// Route patterns to measure apart: `/orders/{id}`, `/files/*` (the rest of the path). At most [`MAX_ROUTES`] are
    /// used; all other requests count as `other`, so a client cannot make up routes.
    pub routes: Vec<String>,
    /// The answer while no replica is ready.
    pub unavailable: Unavailable,
}

/// Route patterns of one service that are measured.
pub const MAX_ROUTES: usize = 256;

/// One release's replicas.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// Whose counts the requests go to.
    pub release: ReleaseNumber,
    /// Share of the service's requests relative to the other pools that have an upstream. 0 (or less, or not a
    /// number) = none, not even as a second attempt.
    pub weight: f64,
    /// The ready replicas; an empty pool has no share.
    pub upstreams: Vec<Upstream>,
}

/// One ready replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Names the replica for [`in_flight`](crate::Gate::in_flight), [`drained`](crate::Gate::drained) and
    /// [`cut`](crate::Gate::cut). Not used again for another replica.
    pub id: String,
    /// Where it listens, plain HTTP/1.1.
    pub address: SocketAddr,
    /// When it became ready, for `slow_start`; `None` = long ago.
    pub ready_since: Option<Instant>,
    /// Over this time after `ready_since` its share among the pool's replicas rises linearly to a full one. Zero = at
    /// once. When all replicas of a pool are new they share alike, relative to the oldest.
    pub slow_start: Duration,
}

/// What a client gets with 503 while no replica is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable {
    /// `Retry-After`, in whole seconds, at least 1.
    pub retry_after: Duration,
    /// The team's page; `None` = one generic line of text.
    pub page: Option<Page>,
}

impl Default for Unavailable {
    fn default() -> Self {
        Self { retry_after: Duration::from_secs(5), page: None }
    }
}

/// A body with its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// `Content-Type`; `text/plain` when it is not a valid header value.
    pub content_type: String,
    /// The bytes, sent as they are.
    pub body: Bytes,
}

/// The table was not newer than the one in force, which stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "route table {offered} refused: the gate already has table {installed}, which stays in force; read the gate's \
     generation and install a higher one"
)]
pub struct StaleGeneration {
    /// The refused table's generation.
    pub offered: u64,
    /// The generation in force.
    pub installed: u64,
}
