//! One request on one connection to a replica: sends the head, streams the body, reads the response head, and then is
//! the source of the response body.
//!
//! Nothing here is a task: whoever polls the exchange drives both directions, so no wakeup crosses tasks, and a side
//! that does not take bytes stops the other (at most one piece of the upload and one of the response are held).

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::{Buf, Bytes, BytesMut};
use hyper::{
    HeaderMap,
    body::{Body, Incoming},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::{
    headers::BodyFraming,
    retry::Failure,
    wire::{self, Head, Malformed},
};

/// Interim responses (100, 102, 103) that are read before giving up.
const INTERIM_MAX: u32 = 16;

/// Why an exchange ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The replica's connection ended.
    #[error("the replica closed the connection: {0}")]
    Replica(#[source] io::Error),
    /// The client's body ended early.
    #[error("the client's request broke off: {0}")]
    Client(#[source] hyper::Error),
    /// The client's body is longer than allowed.
    #[error("the request's body is longer than allowed")]
    BodyTooLong,
    /// Not HTTP.
    #[error("the replica's response is not valid: {0}")]
    Malformed(#[from] Malformed),
}

/// The client's body on its way to the replica.
#[derive(Debug)]
pub(crate) struct Upload {
    body: Incoming,
    framing: BodyFraming,
    /// Bytes still allowed.
    pub(crate) allowance: u64,
    /// Whether the body was polled.
    pub(crate) started: bool,
    /// Whether all of it was taken from the client.
    pub(crate) done: bool,
    /// When its last byte was taken; `None` when there is no body.
    pub(crate) finished: Option<Instant>,
}

impl Upload {
    /// `limit` 0 = none.
    pub(crate) fn new(body: Incoming, framing: BodyFraming, limit: u64) -> Self {
        let allowance = if limit == 0 { u64::MAX } else { limit };
        Self { body, framing, allowance, started: false, done: framing == BodyFraming::None, finished: None }
    }

    fn finish(&mut self) {
        self.done = true;
        self.finished = Some(Instant::now());
    }
}

/// A connection to a replica, without a request.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    /// Whether it had a request before.
    pub(crate) reused: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Exchange {
    connection: Connection,
    /// Head or chunk framing that is not yet written, then `piece`, then `tail`.
    lead: Bytes,
    piece: Bytes,
    tail: &'static [u8],
    /// Whether a byte was written.
    sent: bool,
    /// Why the replica takes no more of the request; it may have answered all the same (413, say).
    refusal: Option<io::Error>,
    received: BytesMut,
    interim: u32,
}

impl Exchange {
    /// Begins by writing as much of the head as the socket takes.
    pub(crate) fn begin(connection: Connection, head: &[u8]) -> Self {
        let written = connection.stream.try_write(head).unwrap_or(0);
        Self {
            connection,
            lead: if written == head.len() { Bytes::new() } else { Bytes::copy_from_slice(&head[written..]) },
            piece: Bytes::new(),
            tail: b"",
            sent: written > 0,
            refusal: None,
            received: BytesMut::new(),
            interim: 0,
        }
    }

    /// What the retry rules need to know after `poll_head` failed.
    pub(crate) fn failure(&self, upload: &Upload, broken: &Broken) -> Failure {
        let closed = matches!(broken, Broken::Replica(_)) && self.received.is_empty();
        Failure { sent: self.sent, body_started: upload.started, closed }
    }

    /// Whether the replica takes no more of the request.
    pub(crate) fn is_refused(&self) -> bool {
        self.refusal.is_some()
    }

    pub(crate) fn reused(&self) -> bool {
        self.connection.reused
    }

    /// Whether bytes wait for the replica to take them.
    pub(crate) fn is_blocked(&self) -> bool {
        !(self.lead.is_empty() && self.piece.is_empty() && self.tail.is_empty())
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.is_blocked() {
            let slices = [IoSlice::new(&self.lead), IoSlice::new(&self.piece), IoSlice::new(self.tail)];
            let mut written = ready!(Pin::new(&mut self.connection.stream).poll_write_vectored(cx, &slices))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent = true;
            for part in [&mut self.lead, &mut self.piece] {
                let of_part = written.min(part.len());
                part.advance(of_part);
                written -= of_part;
            }
            self.tail = &self.tail[written..];
        }
        Poll::Ready(Ok(()))
    }

    /// Sends on; ready when all of the request is with the kernel.
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload,
    ) -> Poll<Result<(), Broken>> {
        loop {
            ready!(self.poll_write(cx)).map_err(Broken::Replica)?;
            if upload.done {
                return Poll::Ready(Ok(()));
            }
            upload.started = true;
            let chunked = upload.framing == BodyFraming::Chunked;
            match ready!(Pin::new(&mut upload.body).poll_frame(cx)) {
                Some(frame) => {
                    // Trailers end here, like a response's.
                    let Ok(piece) = frame.map_err(Broken::Client)?.into_data() else { continue };
                    let length = piece.len() as u64;
                    upload.allowance = upload.allowance.checked_sub(length).ok_or(Broken::BodyTooLong)?;
                    if chunked && !piece.is_empty() {
                        self.lead = Bytes::from(format!("{length:x}\r\n"));
                        self.tail = b"\r\n";
                    }
                    self.piece = piece;
                    if !chunked && upload.body.is_end_stream() {
                        upload.finish();
                    }
                }
                None => {
                    upload.finish();
                    self.tail = if chunked { b"0\r\n\r\n" } else { b"" };
                }
            }
        }
    }

    /// Sends on and reads the final response head, whose headers replace the content of `headers`. When the replica
    /// closes before, the head it may have sent (413, say) counts more than the failed write.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload,
        headers: &mut HeaderMap,
        scratch: &mut [u8],
    ) -> Poll<Result<Head, Broken>> {
        if self.refusal.is_none() {
            match self.poll_send(cx, upload) {
                Poll::Ready(Err(Broken::Replica(error))) => self.refusal = Some(error),
                Poll::Ready(Err(broken)) => return Poll::Ready(Err(broken)),
                _ => {}
            }
        }
        loop {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.connection.stream).poll_read(cx, &mut buffer))
                .map_err(Broken::Replica)?;
            if buffer.filled().is_empty() {
                let error = self.refusal.take().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
                return Poll::Ready(Err(Broken::Replica(error)));
            }
            if let Some(head) = self.parse(buffer.filled(), headers)? {
                return Poll::Ready(Ok(head));
            }
        }
    }

    fn parse(&mut self, read: &[u8], headers: &mut HeaderMap) -> Result<Option<Head>, Malformed> {
        // Nearly always one read brings one head: then nothing is put together.
        let mut bytes = if self.received.is_empty() && wire::is_complete(read)? {
            Bytes::copy_from_slice(read)
        } else {
            self.received.extend_from_slice(read);
            if !wire::is_complete(&self.received)? {
                return Ok(None);
            }
            std::mem::take(&mut self.received).freeze()
        };
        loop {
            match wire::read_head(&bytes, headers)? {
                Some(head) if head.status.is_informational() && head.status.as_u16() != 101 => {
                    self.interim += 1;
                    if self.interim > INTERIM_MAX {
                        return Err(Malformed::TooLong);
                    }
                    bytes = head.rest;
                }
                Some(head) => return Ok(Some(head)),
                None => {
                    self.received = BytesMut::from(&bytes[..]);
                    return Ok(None);
                }
            }
        }
    }

    /// Reads the next bytes of the response body; empty at the connection's end.
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<io::Result<Bytes>> {
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(&mut self.connection.stream).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(Bytes::copy_from_slice(buffer.filled())))
    }

    /// The connection, when the response was taken whole; the caller knows whether it may be used again.
    pub(crate) fn into_connection(self) -> Connection {
        Connection { reused: true, ..self.connection }
    }
}
