//! The body of a response on its way to the client: the gate's own answer, or a replica's as it comes.
//!
//! A request is in flight on its replica until this body is dropped: when its last piece was handed on, or when the
//! client or the replica gave up.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::{
    client::{Client, Phase},
    exchange::{Exchange, Upload},
    replica::InFlight,
    wire::Decoder,
    worker::{Mark, Worker},
};

/// See the module.
pub(crate) struct OutBody {
    source: Source,
    // Dropped after the source.
    _turn: Turn,
}

enum Source {
    Whole { bytes: Bytes, _flight: Option<InFlight> },
    Streaming(Box<Streaming>),
}

/// The client's turn: until dropped, its connection is not idle.
pub(crate) struct Turn {
    client: Rc<Client>,
    worker: Rc<Worker>,
}

impl Turn {
    pub(crate) fn new(client: Rc<Client>, worker: Rc<Worker>) -> Self {
        Self { client, worker }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.client.on(None);
        self.client.enter(Phase::Idle, self.worker.now());
    }
}

/// A replica's body as it comes, with what is left of the upload.
pub(crate) struct Streaming {
    pub(crate) exchange: Option<Exchange>,
    pub(crate) upload: Upload,
    pub(crate) upload_failed: bool,
    pub(crate) decoder: Decoder,
    pub(crate) input: Bytes,
    pub(crate) keep_alive: bool,
    pub(crate) flight: Option<InFlight>,
    pub(crate) client: Rc<Client>,
    pub(crate) worker: Rc<Worker>,
    pub(crate) mark: Mark,
    /// Whether the response already counts as an error.
    pub(crate) counted_bad: bool,
}

impl OutBody {
    pub(crate) fn whole(bytes: Bytes, flight: Option<InFlight>, turn: Turn) -> Self {
        Self { source: Source::Whole { bytes, _flight: flight }, _turn: turn }
    }

    pub(crate) fn streaming(streaming: Box<Streaming>, turn: Turn) -> Self {
        Self { source: Source::Streaming(streaming), _turn: turn }
    }
}

impl Body for OutBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.get_mut().source {
            Source::Whole { bytes, .. } if bytes.is_empty() => Poll::Ready(None),
            Source::Whole { bytes, .. } => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Source::Streaming(streaming) => streaming.poll_next(cx).map(|piece| piece.transpose()),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Whole { bytes, .. } => bytes.is_empty(),
            Source::Streaming(streaming) => streaming.decoder.is_done(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let known = match &self.source {
            Source::Whole { bytes, .. } => Some(bytes.len() as u64),
            Source::Streaming(streaming) => streaming.decoder.remaining(),
        };
        known.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Streaming {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Frame<Bytes>>>> {
        loop {
            if self.client.verdict().is_some() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            if let Some(piece) =
                self.decoder.take(&mut self.input).map_err(|error| self.broken(io::Error::other(error)))?
            {
                // Already at the end of the framing? Then the last piece goes out with the end.
                self.decoder.look_ahead(&mut self.input).map_err(io::Error::other)?;
                self.park_when_done();
                return Poll::Ready(Ok(Some(Frame::data(piece))));
            }
            self.park_when_done();
            let Some(exchange) = &mut self.exchange else { return Poll::Ready(Ok(None)) };
            if !self.upload_failed
                && let Poll::Ready(Err(_)) = exchange.poll_send(cx, &mut self.upload)
            {
                // The replica may have answered without wanting the rest.
                self.upload_failed = true;
            }
            let read = ready!(exchange.poll_piece(cx, &mut self.worker.scratch.borrow_mut()));
            self.input = read.map_err(|error| self.broken(error))?;
            if self.input.is_empty() {
                if self.decoder == Decoder::UntilClose {
                    self.decoder = Decoder::Length(0);
                    continue;
                }
                return Poll::Ready(Err(self.broken(io::ErrorKind::UnexpectedEof.into())));
            }
        }
    }

    /// The replica ended its response too early.
    fn broken(&self, error: io::Error) -> io::Error {
        if !self.counted_bad {
            self.mark.cell().truncated();
        }
        error
    }

    fn park_when_done(&mut self) {
        if !self.decoder.is_done() {
            return;
        }
        let (Some(exchange), Some(flight)) = (self.exchange.take(), self.flight.as_ref()) else { return };
        let sent = self.upload.done && !self.upload_failed && !exchange.is_blocked();
        if sent && self.keep_alive && self.input.is_empty() {
            self.worker.park(flight.replica(), exchange.into_connection());
        }
    }
}
