//! The host's API: HTTP/1.1 with JSON over a Unix socket that only the host's own user can reach.
//!
//! | request | answer |
//! |---|---|
//! | `PUT /v1/fleets/{service}.{environment}` | takes a `Desired`; when it answers, the gate routes by it: `Observed` |
//! | `GET /v1/fleets/{name}?after=VERSION&wait_seconds=N` | `Observed`, once its version is above; after N seconds as it is |
//! | `GET /v1/fleets/{name}/measures` | `Measures` |
//! | `GET /v1/fleets/{name}/replicas/{id}/output?bytes=N` | the last whole lines, redacted, as text |
//! | `GET /v1/host` | `HostStatus` |
//! | `POST /v1/handover` | an upgrade to the hand-over between two hosts |
//! | `GET /metrics` | Prometheus text |
//!
//! Everything that is not a success is a `HostRefusal`. Connections, heads, bodies and waits are bounded.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use cutover_model::fleet::{Desired, FleetName, HostRefusal, HostStatus, Observed};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body as _, Incoming},
    header::{self, HeaderValue},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{Semaphore, oneshot, watch},
};

use crate::{
    fleet::{FleetHandle, Message, Refused},
    front, handover,
    host::Host,
    metrics, output,
    replica::ReplicaId,
};

const LONGEST_BODY: usize = 1024 * 1024;
const LONGEST_WAIT: u64 = 60;
const MOST_OUTPUT: u64 = 2 * output::FILE_LIMIT;
const MOST_CONNECTIONS: usize = 64;
const BODY_WITHIN: Duration = Duration::from_secs(10);
const HEAD_WITHIN: Duration = Duration::from_secs(10);

type Answer = Response<Full<Bytes>>;

/// An answer that is no success.
struct Refusal {
    status: StatusCode,
    body: Box<HostRefusal>,
}

/// Accepts until told to stop, then finishes what is open.
pub(crate) async fn serve(host: Arc<Host>, listener: UnixListener, mut stop: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (host, stop) = (Arc::clone(&host), stop.clone());
                tokio::spawn(async move {
                    connection(host, stream, stop).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the API can't accept a connection; trying again");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    let all = u32::try_from(MOST_CONNECTIONS).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(Duration::from_secs(5), room.acquire_many(all)).await;
}

async fn connection(host: Arc<Host>, stream: UnixStream, mut stop: watch::Receiver<bool>) {
    let stopping = stop.clone();
    let service = service_fn(move |request| {
        let (host, stop) = (Arc::clone(&host), stopping.clone());
        async move { Ok::<_, Infallible>(answer(&host, request, stop).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        _ = async { stop.wait_for(|stop| *stop).await.is_ok() } => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the API ended");
    }
}

async fn answer(host: &Arc<Host>, request: Request<Incoming>, stop: watch::Receiver<bool>) -> Answer {
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let answered = match (request.method(), parts.as_slice()) {
        (&Method::GET, ["metrics"]) => Ok(text(metrics::page(&host.metrics()))),
        (&Method::GET, ["v1", "host"]) => Ok(json(StatusCode::OK, &host.status())),
        (&Method::POST, ["v1", "handover"]) => hand_over(host, request),
        (&Method::PUT, ["v1", "fleets", name]) => put(host, name, request).await,
        (&Method::GET, ["v1", "fleets", name]) => observe(host, name, &request, stop).await,
        (&Method::GET, ["v1", "fleets", name, "measures"]) => {
            fleet(host, name).map(|(_, fleet)| json(StatusCode::OK, &fleet.front.measures()))
        }
        (&Method::GET, ["v1", "fleets", name, "replicas", id, "output"]) => {
            read(host, name, id, &request).await
        }
        _ => Err(refusal(
            StatusCode::NOT_FOUND,
            format!("the host's API has no {} {path}", request.method()),
            "the client may be of another version: compare `cutover --version` with GET /v1/host",
        )),
    };
    answered.unwrap_or_else(|refusal| json(refusal.status, &refusal.body))
}

async fn put(host: &Arc<Host>, name: &str, request: Request<Incoming>) -> Result<Answer, Refusal> {
    let name = parse_name(name)?;
    let body = body(request.into_body()).await?;
    let desired: Desired = serde_json::from_slice(&body).map_err(|error| {
        refusal(
            StatusCode::BAD_REQUEST,
            format!("the body is not a desired state: {error}"),
            "send one as `Desired`",
        )
    })?;
    let fleet = host.fleet_for(&name, &desired).await.map_err(refused)?;
    let (answer, answered) = oneshot::channel();
    let sent = fleet.inbox.send(Message::Put(Box::new(desired), answer)).await;
    let observed = match sent {
        Ok(()) => answered.await.unwrap_or(Err(Refused::HandingOver)),
        Err(_) => Err(Refused::HandingOver),
    };
    Ok(json(StatusCode::OK, &counted(&fleet, observed.map_err(refused)?)))
}

async fn observe(
    host: &Host,
    name: &str,
    request: &Request<Incoming>,
    mut stop: watch::Receiver<bool>,
) -> Result<Answer, Refusal> {
    let (_, fleet) = fleet(host, name)?;
    let mut observed = fleet.observed.clone();
    if let Some(after) = number(request, "after")? {
        let wait = Duration::from_secs(number(request, "wait_seconds")?.unwrap_or(0).min(LONGEST_WAIT));
        tokio::select! {
            _ = observed.wait_for(|observed| observed.version > after) => {}
            () = tokio::time::sleep(wait) => {}
            // A host that ends can't keep anybody waiting; who asks again reaches its successor.
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }
    let now = observed.borrow().clone();
    Ok(json(StatusCode::OK, &counted(&fleet, now)))
}

async fn read(host: &Host, name: &str, id: &str, request: &Request<Incoming>) -> Result<Answer, Refusal> {
    let (name, fleet) = fleet(host, name)?;
    let unknown = || {
        refusal(
            StatusCode::NOT_FOUND,
            format!("{name} has no output of a replica {id}"),
            "`cutover status` names the replicas; of those that are gone the last 20 are kept",
        )
    };
    let id: ReplicaId = id.parse().map_err(|_| unknown())?;
    let bytes = number(request, "bytes")?.unwrap_or(64 * 1024).min(MOST_OUTPUT);
    let path = fleet.files.log(&id);
    let said = tokio::task::spawn_blocking(move || {
        if path.exists() || output::older(&path).exists() {
            output::tail(&path, bytes).map(Some)
        } else {
            Ok(None)
        }
    });
    match said.await.map_err(std::io::Error::other).flatten() {
        Ok(Some(said)) => Ok(text(said)),
        Ok(None) => Err(unknown()),
        Err(error) => Err(refusal(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the output of {id} can't be read: {error}"),
            "look at the host's state directory",
        )),
    }
}

/// Answers with an upgrade; the rest is said on the raw socket, which can carry descriptors.
fn hand_over(host: &Arc<Host>, mut request: Request<Incoming>) -> Result<Answer, Refusal> {
    let wanted = request.headers().get(header::UPGRADE).is_some_and(|upgrade| upgrade == handover::PROTOCOL);
    if !wanted {
        return Err(refusal(
            StatusCode::UPGRADE_REQUIRED,
            format!("a hand-over needs `Upgrade: {}`", handover::PROTOCOL),
            "start the new host with `cutover host --takeover`",
        ));
    }
    let upgrade = hyper::upgrade::on(&mut request);
    let host = Arc::clone(host);
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => handover::give(&host, upgraded).await,
            Err(error) => tracing::warn!(%error, "a hand-over did not begin"),
        }
    });
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    answer.headers_mut().insert(header::UPGRADE, HeaderValue::from_static(handover::PROTOCOL));
    Ok(answer)
}

async fn body(body: Incoming) -> Result<Bytes, Refusal> {
    let too_large = || {
        let help = "name fewer releases; a desired state of a thousand replicas takes a few kilobytes";
        refusal(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is longer than {LONGEST_BODY} bytes"), help)
    };
    if body.size_hint().lower() > LONGEST_BODY as u64 {
        return Err(too_large());
    }
    match tokio::time::timeout(BODY_WITHIN, Limited::new(body, LONGEST_BODY).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(refusal(
            StatusCode::BAD_REQUEST,
            format!("the body broke off: {error}"),
            "send it again, whole",
        )),
        Err(_) => Err(refusal(
            StatusCode::REQUEST_TIMEOUT,
            format!("the body took longer than {BODY_WITHIN:?}"),
            "send it again, whole",
        )),
    }
}

fn parse_name(name: &str) -> Result<FleetName, Refusal> {
    name.parse().map_err(|error| {
        refusal(StatusCode::BAD_REQUEST, format!("{error}"), "a fleet is named {service}.{environment}")
    })
}

fn fleet(host: &Host, name: &str) -> Result<(FleetName, FleetHandle), Refusal> {
    let name = parse_name(name)?;
    let fleet = host.fleet(&name).ok_or_else(|| {
        refusal(
            StatusCode::NOT_FOUND,
            format!("this host has no fleet {name}"),
            "it gets one with the first `cutover release` that targets this host",
        )
    })?;
    Ok((name, fleet))
}

/// In-flight requests change too often to be watched for; they are counted when somebody looks.
fn counted(fleet: &FleetHandle, mut observed: Observed) -> Observed {
    for replica in observed.releases.iter_mut().flat_map(|release| &mut release.replicas) {
        replica.in_flight = fleet.front.in_flight(&front::upstream(&replica.id, replica.restarts + 1));
    }
    observed
}

fn number(request: &Request<Incoming>, name: &str) -> Result<Option<u64>, Refusal> {
    let query = request.uri().query().unwrap_or_default();
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    value.map(str::parse).transpose().map_err(|_| {
        refusal(StatusCode::BAD_REQUEST, format!("`{name}` is not a whole number"), "write it as digits")
    })
}

fn refused(refused: Refused) -> Refusal {
    let error = refused.to_string();
    let (status, help) = match &refused {
        Refused::Stale { .. } => (
            StatusCode::CONFLICT,
            "another run has written since: look at `cutover status`, and resume or start again from there",
        ),
        Refused::Unable { .. } => (
            StatusCode::UNPROCESSABLE_ENTITY,
            "nothing was changed; correct what is named, in cutover.toml or where the host runs, and release again",
        ),
        Refused::Unwritten { .. } => (
            StatusCode::INSUFFICIENT_STORAGE,
            "nothing was changed; make room or correct the permissions of the host's state directory, and try again",
        ),
        Refused::HandingOver => {
            (StatusCode::SERVICE_UNAVAILABLE, "nothing was changed; try again in a second")
        }
    };
    let mut body = HostRefusal { error, help: help.into(), ..HostRefusal::default() };
    match refused {
        Refused::Stale { held } => body.held = Some(held),
        Refused::Unable { reasons } => body.reasons = reasons,
        Refused::Unwritten { .. } | Refused::HandingOver => {}
    }
    Refusal { status, body: Box::new(body) }
}

fn refusal(status: StatusCode, error: String, help: &str) -> Refusal {
    let body = HostRefusal { error, help: help.into(), ..HostRefusal::default() };
    Refusal { status, body: Box::new(body) }
}

fn json<T: Serialize>(status: StatusCode, value: &T) -> Answer {
    let (status, body) = match serde_json::to_vec(value) {
        Ok(body) => (status, body),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("{{\"error\":\"{error}\",\"help\":\"\"}}").into())
        }
    };
    with_type(status, body, "application/json")
}

fn text(body: String) -> Answer {
    with_type(StatusCode::OK, body.into_bytes(), "text/plain; charset=utf-8")
}

fn with_type(status: StatusCode, body: Vec<u8>, content_type: &'static str) -> Answer {
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

impl Host {
    fn status(&self) -> HostStatus {
        HostStatus {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            state_dir: self.state_dir().to_owned(),
            fleets: self.names(),
        }
    }

    fn metrics(&self) -> Vec<(FleetName, String, Observed)> {
        let fleets = self.fleets();
        fleets
            .into_iter()
            .map(|(name, fleet)| (name, fleet.front.prometheus(), fleet.observed.borrow().clone()))
            .collect()
    }
}
