//! One attempt on one replica: a connection, the request's head, and the wait for the response's.

use std::{
    future::poll_fn,
    io,
    rc::Rc,
    task::Poll,
    time::{Duration, Instant},
};

use hyper::{Method, http::request::Parts};
use tokio::net::TcpStream;

use crate::{
    answer::Refusal,
    client::Verdict,
    exchange::{Broken, Connection, Exchange},
    forward::Passage,
    headers::{self, About},
    replica::{InFlight, Replica},
    request::host_of,
    retry::{self, Failure},
    wire::{Decoder, Head},
};

/// How an attempt ended without a response head.
pub(crate) enum Fault {
    /// The replica's fault: another attempt may be made.
    Replica {
        failure: Failure,
        /// The connection had served before, so it may be to blame and not the replica.
        reused: bool,
    },
    /// No use in another attempt. `blame`: the replica's release answers for it.
    Final { refusal: Refusal, blame: bool },
}

impl Passage<'_> {
    /// `fresh`: not on a kept connection. When dropped, the connection is closed.
    pub(crate) async fn attempt(
        &mut self,
        flight: &InFlight,
        fresh: bool,
    ) -> Result<(Exchange, Head), Fault> {
        let replica = flight.replica();
        let certain = !retry::is_idempotent(&self.parts.method);
        let kept = if fresh { None } else { self.worker.take_kept(replica, certain) };
        let connection = match kept {
            Some(connection) => connection,
            None => self.connect(replica).await?,
        };
        let mut exchange = {
            let mut head = self.worker.head.borrow_mut();
            head.clear();
            self.write_head(&mut head);
            Exchange::begin(connection, &head)
        };
        let client = Rc::clone(self.client);
        let head = poll_fn(|cx| {
            if let Some(verdict) = client.verdict() {
                return Poll::Ready(Err(Err(verdict)));
            }
            let before = self.upload.allowance;
            let mut scratch = self.worker.scratch.borrow_mut();
            let head = exchange.poll_head(cx, &mut self.upload, &mut self.parts.headers, &mut scratch);
            if self.upload.allowance != before {
                client.progress(self.worker.now());
            }
            head.map_err(Ok)
        })
        .await;
        match head {
            Ok(mut head) => {
                if head.status.as_u16() == 101 && !self.upgrade {
                    return Err(Fault::Final { refusal: Refusal::BadGateway, blame: true });
                }
                if self.parts.method == Method::HEAD {
                    head.body = Decoder::Length(0);
                }
                Ok((exchange, head))
            }
            Err(Ok(broken)) => Err(self.fault(&exchange, &broken)),
            Err(Err(verdict)) => Err(self.ended_by(verdict, &exchange)),
        }
    }

    fn fault(&self, exchange: &Exchange, broken: &Broken) -> Fault {
        match broken {
            Broken::Client(_) => Fault::Final { refusal: Refusal::BadRequest, blame: false },
            Broken::BodyTooLong => Fault::Final { refusal: Refusal::TooLong, blame: false },
            Broken::Malformed(error) => {
                tracing::warn!(%error, "a replica's response was refused");
                Fault::Final { refusal: Refusal::BadGateway, blame: true }
            }
            Broken::Replica(_) => {
                Fault::Replica { failure: exchange.failure(&self.upload, broken), reused: exchange.reused() }
            }
        }
    }

    fn ended_by(&self, verdict: Verdict, exchange: &Exchange) -> Fault {
        match verdict {
            Verdict::ResponseLate if !self.upload.done && !exchange.is_blocked() => {
                Fault::Final { refusal: Refusal::UploadLate, blame: false }
            }
            Verdict::ResponseLate | Verdict::RequestLate => {
                Fault::Final { refusal: Refusal::TooSlow, blame: true }
            }
            Verdict::Cut | Verdict::Close | Verdict::Rest | Verdict::HeadLate => {
                Fault::Final { refusal: Refusal::TooSlow, blame: false }
            }
        }
    }

    async fn connect(&self, replica: &Replica) -> Result<Connection, Fault> {
        let options = &self.worker.shared.options;
        let limit =
            if options.connect_timeout.is_zero() { Duration::from_secs(1) } else { options.connect_timeout };
        let connected = tokio::time::timeout(limit, TcpStream::connect(replica.address)).await;
        match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                Ok(Connection { stream, reused: false })
            }
            Err(error) if is_our_own(&error) => {
                tracing::warn!(%error, "the gate cannot open a connection; raise its limit of open files");
                Err(Fault::Final { refusal: Refusal::BadGateway, blame: false })
            }
            Err(error) => {
                tracing::debug!(replica = replica.id, %error, "cannot connect");
                let pause = options.refused_pause.as_millis() as u64;
                replica.pause_until(self.worker.shared.millis(Instant::now()) + pause);
                let failure = Failure { sent: false, body_started: self.upload.started, closed: true };
                Err(Fault::Replica { failure, reused: false })
            }
        }
    }

    fn write_head(&self, out: &mut Vec<u8>) {
        let Parts { method, uri, headers, .. } = &self.parts;
        let about = About {
            host: host_of(uri, headers),
            peer: &self.client.peer,
            framing: self.framing,
            upgrade: self.upgrade,
            trusted: self.worker.shared.options.trust_forwarded,
            fresh_id: self.id,
        };
        headers::write_request(out, method, uri, headers, &about);
    }
}

/// Whether this process or machine lacks something, which says nothing of the replica.
fn is_our_own(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let lacking = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL];
    Errno::from_io_error(error).is_some_and(|error| lacking.contains(&error))
}
