//! One client's connection: what it is doing, since when, and what the sweep decided about it.
//!
//! A timer for each request would cost more than the rest of the bookkeeping, so a connection only notes its phase and
//! the time, and each worker's sweep looks at all of its connections now and then. What the sweep finds it writes into
//! [`Client::verdict`] and wakes the connection's task, which acts on it.
//!
//! ```text
//! Fresh ─first byte─► Head ─head complete─► Waiting ─response head─► Body ─last byte─► Idle ─first byte─► Head …
//!                                              └──────────101─────► Tunnel          Linger (closing, reading on)
//! ```

use std::{
    cell::{Cell, RefCell},
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::{headers::Peer, options::GateOptions, replica::InFlight, tunnel::Tunnel, worker::Worker};

/// How long a closing connection is read on, so that what the client still sends does not turn into a reset.
const LINGER: Duration = Duration::from_secs(2);

/// A connection that is silent for so long gives its buffers back.
const REST: Duration = Duration::from_secs(1);

const TIMED_OUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Accepted, no byte yet.
    Fresh,
    /// A request's head is being read.
    Head,
    /// A replica is chosen or has the request; since the upload's last progress.
    Waiting,
    /// The response's body is on its way.
    Body,
    /// Between requests.
    Idle,
    /// Upgraded.
    Tunnel,
    /// Our side is closed.
    Linger,
}

/// What the sweep decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Close without a word.
    Close,
    /// Silent for a while: give back the buffers.
    Rest,
    /// The head did not come in time: 408.
    HeadLate,
    /// The response did not come in time.
    ResponseLate,
    /// The whole request took too long.
    RequestLate,
    /// Its replica's time is over.
    Cut,
}

/// One connection's state, shared by its input and output, its request and the sweep. Never leaves its thread.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) peer: Peer,
    phase: Cell<Phase>,
    since: Cell<Instant>,
    began: Cell<Instant>,
    verdict: Cell<Option<Verdict>>,
    waker: RefCell<Option<Waker>>,
    /// Key of the replica that has its request; 0 = none.
    replica: Cell<u64>,
    tunnel: RefCell<Option<Tunnel>>,
    hung_up: Cell<bool>,
    /// Whether bytes wait for the client to take them.
    blocked: Cell<bool>,
    /// Whether it holds no buffers.
    resting: Cell<bool>,
}

impl Client {
    pub(crate) fn new(peer: SocketAddr, now: Instant) -> Self {
        Self {
            peer: Peer::new(peer.ip()),
            phase: Cell::new(Phase::Fresh),
            since: Cell::new(now),
            began: Cell::new(now),
            verdict: Cell::new(None),
            waker: RefCell::new(None),
            replica: Cell::new(0),
            tunnel: RefCell::new(None),
            hung_up: Cell::new(false),
            blocked: Cell::new(false),
            resting: Cell::new(false),
        }
    }

    pub(crate) fn enter(&self, phase: Phase, now: Instant) {
        self.phase.set(phase);
        self.since.set(now);
    }

    /// A request's head is complete.
    pub(crate) fn begin(&self, now: Instant) {
        self.enter(Phase::Waiting, now);
        self.began.set(now);
        self.verdict.set(None);
    }

    /// The upload moved on.
    pub(crate) fn progress(&self, now: Instant) {
        self.since.set(now);
    }

    pub(crate) fn verdict(&self) -> Option<Verdict> {
        self.verdict.get()
    }

    /// Remembers which replica has the request.
    pub(crate) fn on(&self, flight: Option<&InFlight>) {
        self.replica.set(flight.map_or(0, |flight| flight.replica().key));
    }

    pub(crate) fn upgrade(&self, tunnel: Tunnel) {
        *self.tunnel.borrow_mut() = Some(tunnel);
    }

    pub(crate) fn take_tunnel(&self) -> Option<Tunnel> {
        self.tunnel.borrow_mut().take()
    }

    /// Whether the client closed its side.
    pub(crate) fn hung_up(&self) -> bool {
        self.hung_up.get()
    }

    /// Whether the sweep's wish to close still stands: a request that has begun since overrules it.
    pub(crate) fn is_to_close(&self) -> bool {
        if self.verdict.get() != Some(Verdict::Close) {
            return false;
        }
        let silent = matches!(self.phase.get(), Phase::Fresh | Phase::Idle | Phase::Linger);
        if !silent {
            self.verdict.set(None);
        }
        silent
    }

    /// Whether the sweep wishes, once, that the buffers be given back.
    pub(crate) fn takes_rest(&self) -> bool {
        let wished = self.verdict.get() == Some(Verdict::Rest);
        if wished {
            self.verdict.set(None);
        }
        wished && self.phase.get() == Phase::Idle
    }

    /// Notes that it holds no buffers, or does again.
    pub(crate) fn rest(&self, resting: bool) {
        self.resting.set(resting);
    }

    /// Remembers the connection's task; a task's waker hardly ever changes.
    pub(crate) fn remember(&self, waker: &Waker) {
        let mut own = self.waker.borrow_mut();
        if !own.as_ref().is_some_and(|own| own.will_wake(waker)) {
            *own = Some(waker.clone());
        }
    }

    fn decide(&self, verdict: Verdict) {
        self.verdict.set(Some(verdict));
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Ends what the connection has under way on one replica.
    pub(crate) fn cut(&self, replica: u64) {
        if self.replica.get() == replica {
            self.decide(Verdict::Cut);
        }
    }

    /// Looks for what has expired. `draining`: since when the gate is shutting down.
    pub(crate) fn sweep(&self, now: Instant, options: &GateOptions, draining: Option<Instant>) {
        // `since` may be one sweep old.
        let slack = options.sweep_every();
        let over = |since: Instant, limit: Duration| {
            !limit.is_zero() && now.saturating_duration_since(since) >= limit + slack
        };
        let since = self.since.get();
        let request_late = || over(self.began.get(), options.request_timeout).then_some(Verdict::RequestLate);
        let silent_enough = draining
            .is_some_and(|start| now.saturating_duration_since(since.max(start)) >= options.idle_on_shutdown);
        let verdict = match self.phase.get() {
            Phase::Fresh => (silent_enough || over(since, options.head_timeout)).then_some(Verdict::Close),
            // The end of the last response is still on its way out.
            Phase::Idle if self.blocked.get() => request_late(),
            Phase::Idle if silent_enough || over(since, options.keep_alive) => Some(Verdict::Close),
            Phase::Idle => (!self.resting.get() && over(since, REST)).then_some(Verdict::Rest),
            Phase::Head => over(since, options.head_timeout).then_some(Verdict::HeadLate),
            Phase::Waiting if over(since, options.response_timeout) => Some(Verdict::ResponseLate),
            Phase::Waiting | Phase::Body | Phase::Tunnel => request_late(),
            Phase::Linger => over(since, LINGER).then_some(Verdict::Close),
        };
        if let Some(verdict) = verdict {
            self.decide(verdict);
        }
    }
}

/// The connection's input and output as hyper uses it. Reads go through the worker's one buffer, so that a silent
/// connection holds none.
pub(crate) struct ClientIo {
    stream: TcpStream,
    /// Read before, and still to be seen by hyper.
    early: Bytes,
    client: Rc<Client>,
    worker: Rc<Worker>,
}

impl ClientIo {
    pub(crate) fn new(stream: TcpStream, early: Bytes, client: Rc<Client>, worker: Rc<Worker>) -> Self {
        Self { stream, early, client, worker }
    }

    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }
}

impl Read for ClientIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, early, client, worker } = self.get_mut();
        if client.verdict() == Some(Verdict::HeadLate) {
            // Best effort: the socket's buffer is empty unless the client does not read either.
            let _ = stream.try_write(TIMED_OUT);
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if !early.is_empty() {
            client.enter(Phase::Head, worker.now());
            into.put_slice(&early.split_to(early.len().min(into.remaining())));
            return Poll::Ready(Ok(()));
        }
        let mut scratch = worker.scratch.borrow_mut();
        let length = scratch.len().min(into.remaining());
        let mut buffer = ReadBuf::new(&mut scratch[..length]);
        match Pin::new(stream).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) => {}
            other => return other,
        }
        let read = buffer.filled();
        if read.is_empty() {
            client.hung_up.set(true);
        } else if matches!(client.phase.get(), Phase::Fresh | Phase::Idle) {
            client.enter(Phase::Head, worker.now());
        }
        into.put_slice(read);
        Poll::Ready(Ok(()))
    }
}

impl Write for ClientIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { stream, client, .. } = self.get_mut();
        let written = Pin::new(stream).poll_write(cx, bytes);
        client.blocked.set(written.is_pending());
        written
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket has nothing to flush.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The socket outlives hyper: it rests, becomes a tunnel, or lingers (see `serve`).
        Poll::Ready(Ok(()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, client, .. } = self.get_mut();
        let written = Pin::new(stream).poll_write_vectored(cx, slices);
        client.blocked.set(written.is_pending());
        written
    }
}
