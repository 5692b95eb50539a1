//! One request's way through the gate: claim a replica, try it, try another where that is safe, hand back its response
//! or the gate's own answer.

use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    rc::Rc,
    sync::atomic::Ordering::Relaxed,
    task::Poll,
    time::{Duration, Instant},
};

use hyper::{
    HeaderMap, Method, Request, Response, Uri, Version,
    body::{Body, Incoming},
    header::{self, HeaderValue},
    http::request::Parts,
};
use tokio::net::TcpStream;

use crate::{
    answer::Refusal,
    body::{OutBody, Streaming, Turn},
    client::{Client, Phase, Verdict},
    exchange::{Broken, Connection, Exchange, Upload},
    headers::{self, About, BodyFraming},
    replica::{InFlight, Replica},
    retry::{self, Failure},
    shared::Stage,
    tunnel::Tunnel,
    wire::{Decoder, Head},
    worker::{Mark, Worker},
};

/// Answers one request; never fails, so that hyper always has a response to write.
pub(crate) async fn handle(
    worker: Rc<Worker>,
    client: Rc<Client>,
    request: Request<Incoming>,
) -> Result<Response<OutBody>, Infallible> {
    let began = Instant::now();
    worker.set_now(began);
    client.begin(began);
    let turn = Turn::new(Rc::clone(&client), Rc::clone(&worker));
    let mut response = match forward(&worker, &client, request, began).await {
        Ok(answered) => answered.respond(&worker, &client, turn),
        Err(refusal) => {
            worker.shared.refused[refusal.number()].fetch_add(1, Relaxed);
            refusal.answer(turn)
        }
    };
    client.enter(Phase::Body, worker.now());
    if worker.shared.stage() != Stage::Serving && !response.headers().contains_key(header::UPGRADE) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// A request being forwarded.
struct Passage<'a> {
    worker: &'a Rc<Worker>,
    client: &'a Rc<Client>,
    parts: Parts,
    upload: Upload,
    framing: BodyFraming,
    upgrade: bool,
    began: Instant,
}

/// A replica that was chosen and counts the request as in flight.
struct Claim {
    mark: Mark,
    flight: InFlight,
}

/// A replica's response head and all that is needed to go on with its body.
struct Answered {
    claim: Claim,
    exchange: Exchange,
    head: Head,
    headers: HeaderMap,
    upload: Upload,
}

/// How an attempt ended without a response head.
enum Fault {
    /// The replica's fault: another attempt may be made.
    Replica { failure: Failure, reused: bool },
    /// No use in another attempt.
    Final { refusal: Refusal, blame: bool },
}

async fn forward(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    request: Request<Incoming>,
    began: Instant,
) -> Result<Answered, Refusal> {
    let (parts, body) = request.into_parts();
    if parts.method == Method::CONNECT {
        return Err(Refusal::NotAllowed);
    }
    one_host(&parts)?;
    let framing = framing_of(&parts.headers, &body);
    let limit = worker.shared.options.request_body_limit;
    if limit > 0 && matches!(framing, BodyFraming::Length(length) if length > limit) {
        return Err(Refusal::TooLong);
    }
    let upgrade = parts.version == Version::HTTP_11
        && matches!(framing, BodyFraming::None)
        && parts.headers.contains_key(header::UPGRADE)
        && headers::connection_has(&parts.headers, "upgrade");
    let upload = Upload::new(body, framing, limit);
    Passage { worker, client, parts, upload, framing, upgrade, began }.run().await
}

impl Passage<'_> {
    async fn run(mut self) -> Result<Answered, Refusal> {
        let mut tried = Vec::new();
        let mut fresh = false;
        let mut last: Option<Refusal> = None;
        let mut again: Option<Claim> = None;
        loop {
            let claim = match again.take() {
                Some(claim) => claim,
                None => self.claim(&tried).map_err(|none| last.take().unwrap_or(none))?,
            };
            self.client.on(Some(&claim.flight));
            let undecided = Undecided { mark: &claim.mark, decided: false };
            let outcome = self.attempt(&claim.flight, fresh).await;
            undecided.decide();
            let (failure, reused) = match outcome {
                Ok((exchange, head)) => return Ok(self.answered(claim, exchange, head)),
                Err(Fault::Replica { failure, reused }) => (failure, reused),
                Err(Fault::Final { refusal, blame }) => {
                    if blame {
                        claim.mark.cell().failed();
                    } else {
                        claim.mark.cell().aborted();
                    };
                    return Err(refusal);
                }
            };
            let safe = retry::is_safe(&self.parts.method, failure);
            if reused && safe {
                // A kept connection may be closed at any time by a replica in good health: a new one tells.
                fresh = true;
                again = Some(claim);
                continue;
            }
            claim.mark.cell().failed();
            tried.push(claim.flight.replica().key);
            if !safe || tried.len() > self.worker.shared.options.retries as usize {
                return Err(Refusal::BadGateway);
            }
            self.worker.shared.retries.fetch_add(1, Relaxed);
            last = Some(Refusal::BadGateway);
        }
    }

    /// Chooses a replica by the table in force.
    fn claim(&self, tried: &[u64]) -> Result<Claim, Refusal> {
        let host = host_of(&self.parts.uri, &self.parts.headers);
        let path = self.parts.uri.path();
        let now = self.worker.now();
        let millis = self.worker.shared.millis(now);
        loop {
            let routes = self.worker.routes();
            let service = routes.service_of(host, path).ok_or(Refusal::NoService)?;
            let own = routes.service(service);
            let picked = own.pick(tried, now, millis).map(|(pool, replica)| (pool, InFlight::begin(replica)));
            let (pool, flight) = match picked {
                Some((pool, flight)) => (pool, Some(flight)),
                None => (0, None),
            };
            // A table installed meanwhile may leave the replica out; then its drain must not miss this request.
            if self.worker.shared.generation() != routes.generation {
                continue;
            }
            let route = own.patterns.route_of(path);
            let mark = Mark { routes, service, pool, route, worker: self.worker.index };
            return match flight {
                Some(flight) => Ok(Claim { mark, flight }),
                None => Err(Refusal::Unavailable(mark)),
            };
        }
    }

    async fn attempt(&mut self, flight: &InFlight, fresh: bool) -> Result<(Exchange, Head), Fault> {
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
            Verdict::Cut | Verdict::Close | Verdict::HeadLate => {
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
            fresh_id: self.worker.fresh_id(),
        };
        headers::write_request(out, method, uri, headers, &about);
    }

    fn answered(self, claim: Claim, exchange: Exchange, head: Head) -> Answered {
        let now = Instant::now();
        let from = self.upload.finished.unwrap_or(self.began);
        claim.mark.cell().answered(head.status.as_u16(), now.saturating_duration_since(from));
        Answered { claim, exchange, head, headers: self.parts.headers, upload: self.upload }
    }
}

/// Counts the attempt as given up by the client, unless it is decided.
struct Undecided<'a> {
    mark: &'a Mark,
    decided: bool,
}

impl Undecided<'_> {
    fn decide(mut self) {
        self.decided = true;
    }
}

impl Drop for Undecided<'_> {
    fn drop(&mut self) {
        if !self.decided {
            self.mark.cell().aborted();
        }
    }
}

impl Answered {
    fn respond(self, worker: &Rc<Worker>, client: &Rc<Client>, turn: Turn) -> Response<OutBody> {
        let Self { claim, exchange, mut head, mut headers, upload } = self;
        let status = head.status;
        let sent = upload.done && !exchange.is_blocked();
        let body = if status.as_u16() == 101 {
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            let stream = exchange.into_connection().stream;
            client.upgrade(Tunnel { stream, early: std::mem::take(&mut head.rest), flight: claim.flight });
            OutBody::whole(bytes::Bytes::new(), None, turn)
        } else if sent && head.body.remaining() == Some(head.rest.len() as u64) {
            // Nearly always the response is all there.
            if head.keep_alive {
                worker.park(claim.flight.replica(), exchange.into_connection());
            }
            OutBody::whole(head.rest, Some(claim.flight), turn)
        } else {
            let streaming = Streaming {
                upload_failed: exchange.is_refused(),
                exchange: Some(exchange),
                upload,
                decoder: head.body,
                input: head.rest,
                keep_alive: head.keep_alive,
                flight: Some(claim.flight),
                client: Rc::clone(client),
                worker: Rc::clone(worker),
                mark: claim.mark,
                counted_bad: status.is_server_error(),
            };
            OutBody::streaming(Box::new(streaming), turn)
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}

/// The request's host: of the target when it is absolute (RFC 9112, section 3.2.2), else of `Host`; may be empty.
fn host_of<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> &'a str {
    if let Some(authority) = uri.authority() {
        let authority = authority.as_str();
        return authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    }
    headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("")
}

/// RFC 9112, section 3.2: a 1.1 request has exactly one `Host`, no request has two or a malformed one.
fn one_host(parts: &Parts) -> Result<(), Refusal> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let first = hosts.next();
    let plain = |byte: &u8| byte.is_ascii_graphic() && !b"/\\?#@\"<>".contains(byte);
    let valid = first.is_none_or(|host| host.as_bytes().iter().all(plain));
    let missing = first.is_none() && parts.version == Version::HTTP_11;
    if missing || !valid || hosts.next().is_some() { Err(Refusal::BadRequest) } else { Ok(()) }
}

fn framing_of(headers: &HeaderMap, body: &Incoming) -> BodyFraming {
    match body.size_hint().exact() {
        Some(0) if !headers.contains_key(header::CONTENT_LENGTH) => BodyFraming::None,
        Some(length) => BodyFraming::Length(length),
        None => BodyFraming::Chunked,
    }
}
