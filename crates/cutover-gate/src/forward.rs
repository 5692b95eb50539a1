//! One request's way through the gate: claim a replica, try it, try another where that is safe, hand back its response
//! or the gate's own answer.

use std::{convert::Infallible, rc::Rc, sync::atomic::Ordering::Relaxed, time::Instant};

use bytes::Bytes;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderValue},
    http::request::Parts,
};

use crate::{
    answer::Refusal,
    attempt::Fault,
    body::{OutBody, Streaming, Turn},
    client::{Client, Phase},
    exchange::{Exchange, Upload},
    headers::BodyFraming,
    replica::InFlight,
    request::{framing_of, host_of, one_host, wants_upgrade},
    retry,
    shared::Stage,
    tunnel::Tunnel,
    wire::Head,
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
    let mut response = match Passage::new(&worker, &client, request, began) {
        Ok(mut passage) => match passage.run().await {
            Ok(answered) => passage.respond(answered, turn),
            Err(refusal) => refused(&worker, &refusal, turn),
        },
        Err(refusal) => refused(&worker, &refusal, turn),
    };
    client.enter(Phase::Body, worker.now());
    if worker.shared.stage() != Stage::Serving && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

fn refused(worker: &Worker, refusal: &Refusal, turn: Turn) -> Response<OutBody> {
    worker.shared.refused[refusal.number()].fetch_add(1, Relaxed);
    refusal.answer(turn)
}

/// A request being forwarded.
pub(crate) struct Passage<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    pub(crate) client: &'a Rc<Client>,
    /// The headers become the response's once there is one, which saves making a map.
    pub(crate) parts: Parts,
    pub(crate) upload: Upload,
    pub(crate) framing: BodyFraming,
    pub(crate) upgrade: bool,
    /// What `X-Request-Id` says if the client's is not kept; the same in all attempts.
    pub(crate) id: u128,
    /// When the present attempt began.
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
}

impl<'a> Passage<'a> {
    fn new(
        worker: &'a Rc<Worker>,
        client: &'a Rc<Client>,
        request: Request<Incoming>,
        began: Instant,
    ) -> Result<Self, Refusal> {
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
        let upgrade = wants_upgrade(&parts, framing);
        let upload = Upload::new(body, framing, limit);
        Ok(Self { worker, client, parts, upload, framing, upgrade, id: worker.fresh_id(), began })
    }

    async fn run(&mut self) -> Result<Answered, Refusal> {
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
                Ok((exchange, head)) => {
                    self.count(&claim, &head);
                    return Ok(Answered { claim, exchange, head });
                }
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
            self.began = Instant::now();
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
            if routes.generation == 0 {
                return Err(Refusal::Unavailable(None));
            }
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
                None => Err(Refusal::Unavailable(Some(mark))),
            };
        }
    }

    fn count(&self, claim: &Claim, head: &Head) {
        let from = self.upload.finished.unwrap_or(self.began);
        claim.mark.cell().answered(head.status.as_u16(), Instant::now().saturating_duration_since(from));
    }

    fn respond(self, answered: Answered, turn: Turn) -> Response<OutBody> {
        let Self { worker, client, upload, parts: Parts { mut headers, .. }, .. } = self;
        let Answered { claim, exchange, mut head } = answered;
        let status = head.status;
        let sent = upload.done && !exchange.is_blocked();
        let body = if status == StatusCode::SWITCHING_PROTOCOLS {
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            let stream = exchange.into_connection().stream;
            client.upgrade(Tunnel { stream, early: std::mem::take(&mut head.rest), flight: claim.flight });
            OutBody::whole(Bytes::new(), None, turn)
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
