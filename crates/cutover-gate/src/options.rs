//! What a gate is started with. The numbers are limits on what a client or replica may cost, so none is unbounded by
//! default except those that would cut off legitimate long responses.

use std::time::Duration;

/// How a [`Gate`](crate::Gate) runs. Timeouts are checked by a coarse sweep (every eighth of the shortest one, 10 to
/// 500 ms), so they may fire two sweeps late, never early. `Duration::ZERO` means no limit.
#[derive(Debug, Clone)]
pub struct GateOptions {
    /// Threads, each with its own event loop and its own idle connections. At least 1; 0 is taken as 1.
    pub workers: usize,
    /// Longest request head (request line and headers) in bytes, answered with 431 beyond. At least 1024.
    pub request_head_limit: usize,
    /// Longest request body in bytes, answered with 413 beyond. 0 = no limit.
    pub request_body_limit: u64,
    /// From a request's first byte (or from accepting the connection) to the end of its head; answered with 408.
    pub head_timeout: Duration,
    /// How long a client's connection may stay silent between requests.
    pub keep_alive: Duration,
    /// For a replica to accept a connection. Must not be zero: zero is taken as one second.
    pub connect_timeout: Duration,
    /// Without progress of the upload, for a replica to begin its response; answered with 504.
    /// When it is the client that stalls its upload, with 408.
    pub response_timeout: Duration,
    /// For the whole request, until the last byte of the response or the end of an upgraded connection.
    pub request_timeout: Duration,
    /// Open client connections; more wait in the listener's backlog. 0 is taken as 1. Workers that accept at the same
    /// moment may exceed it by one each.
    pub max_connections: usize,
    /// How long an unused connection to a replica is kept. Keep it below the replica's own limit (Node's is 5 s).
    pub upstream_keep_alive: Duration,
    /// Unused connections kept to each replica by each worker.
    pub max_idle_upstream: usize,
    /// Further attempts after a failed one, where repeating is safe. See [`crate::retry`].
    pub retries: u32,
    /// For how long a replica that refused a connection is passed over while its pool has others.
    pub refused_pause: Duration,
    /// Whether `X-Forwarded-*`, `Forwarded` and `X-Request-Id` of a request are believed and extended. Only right
    /// behind another proxy that sets them; otherwise they are replaced.
    pub trust_forwarded: bool,
    /// While shutting down, how long a silent client connection stays open for a request that may be on its way.
    pub idle_on_shutdown: Duration,
}

impl Default for GateOptions {
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4)),
            request_head_limit: 32 * 1024,
            request_body_limit: 0,
            head_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_secs(60),
            request_timeout: Duration::ZERO,
            max_connections: 10_000,
            upstream_keep_alive: Duration::from_secs(4),
            max_idle_upstream: 64,
            retries: 2,
            refused_pause: Duration::from_millis(250),
            trust_forwarded: false,
            idle_on_shutdown: Duration::from_secs(2),
        }
    }
}

impl GateOptions {
    /// How often a worker looks for expired timeouts.
    pub(crate) fn sweep_every(&self) -> Duration {
        let limits = [
            self.head_timeout,
            self.keep_alive,
            self.response_timeout,
            self.request_timeout,
            self.upstream_keep_alive,
            self.idle_on_shutdown,
        ];
        let shortest =
            limits.into_iter().filter(|limit| !limit.is_zero()).min().unwrap_or(Duration::from_secs(4));
        (shortest / 8).clamp(Duration::from_millis(10), Duration::from_millis(500))
    }
}
