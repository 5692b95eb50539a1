//! The host's API as functions: HTTP/1.1 with JSON over its Unix socket.
//!
//! Each call is a connection of its own, so a client outlives any number of hosts: after a restart or a hand-over the next call
//! reaches the new one. Every call ends within 30 seconds, a wait within its own time more.

use std::{
    future::Future,
    io,
    os::{fd::AsRawFd as _, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use cutover_model::{
    fleet::{Desired, FleetName, Generation, HostRefusal, HostStatus, Observed},
    measure::Measures,
};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustix::fs::{Mode, OFlags};
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

/// For one call, without what it waits for by itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest path of a Unix socket that the kernel takes, in bytes.
const LONGEST_PATH: usize = 107;

const LONGEST_ANSWER: usize = 16 * 1024 * 1024;

/// Why a call had no success.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Nobody listens on the socket. What runs goes on running.
    #[error("no host answers at {socket}: {cause}; start one with `cutover host`")]
    Unreachable {
        /// Where it should listen.
        socket: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The connection broke, or the answer took too long: what was asked may have been done. Ask again; every call may
    /// be repeated.
    #[error("the host at {socket} did not answer: {cause}; what was asked may have been done, ask again")]
    NoAnswer {
        /// Where it listens.
        socket: PathBuf,
        /// Why.
        cause: String,
    },
    /// The desired state was not above the one that the host holds: another driver has written since.
    #[error("the host holds a newer desired state ({}.{}): {}", held.fence, held.write, refusal.error)]
    Stale {
        /// What it holds.
        held: Generation,
        /// In the host's words.
        refusal: HostRefusal,
    },
    /// The desired state can't be honoured; nothing was changed.
    #[error("{}; {}", .0.error, .0.help)]
    Unable(HostRefusal),
    /// The host has no such fleet or replica.
    #[error("{}; {}", .0.error, .0.help)]
    Unknown(HostRefusal),
    /// Anything else that the host refuses, such as a write while it hands over.
    #[error("{}; {}", refusal.error, refusal.help)]
    Refused {
        /// The HTTP status.
        status: u16,
        /// In the host's words.
        refusal: HostRefusal,
    },
}

/// A host by its socket.
#[derive(Debug, Clone)]
pub struct HostClient {
    socket: PathBuf,
}

impl HostClient {
    /// The host whose API listens on `socket`. Nothing is connected yet.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// Where its API listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Which host answers.
    ///
    /// # Errors
    /// [`HostError`], as for every call.
    pub async fn status(&self) -> Result<HostStatus, HostError> {
        self.get("/v1/host".into(), PATIENCE).await
    }

    /// Gives a fleet its desired state, creating the fleet where it is new. On `Ok` the state is durable and the gate
    /// routes by it. The same state again is fine.
    ///
    /// # Errors
    /// [`HostError::Stale`] where the host holds one that is not below; [`HostError::Unable`] with every reason.
    pub async fn put(&self, fleet: &FleetName, desired: &Desired) -> Result<Observed, HostError> {
        let body = serde_json::to_vec(desired).map_err(|error| self.no_answer(&error))?;
        let answer = self.call(Method::PUT, format!("/v1/fleets/{fleet}"), body, PATIENCE).await?;
        self.parse(&answer)
    }

    /// The fleet as it is now.
    ///
    /// # Errors
    /// [`HostError::Unknown`] where the host has no such fleet.
    pub async fn observe(&self, fleet: &FleetName) -> Result<Observed, HostError> {
        self.get(format!("/v1/fleets/{fleet}"), PATIENCE).await
    }

    /// The fleet once its version is above `after`, or as it is after `wait` (at most 60 seconds, in whole seconds). It may
    /// come back sooner with nothing new when the host ends. Cancel safe.
    ///
    /// # Errors
    /// [`HostError::Unknown`] where the host has no such fleet.
    pub async fn observe_after(
        &self,
        fleet: &FleetName,
        after: u64,
        wait: Duration,
    ) -> Result<Observed, HostError> {
        let seconds = wait.as_secs().min(60);
        let path = format!("/v1/fleets/{fleet}?after={after}&wait_seconds={seconds}");
        self.get(path, PATIENCE + Duration::from_secs(seconds)).await
    }

    /// What the fleet's gate has counted since it was started.
    ///
    /// # Errors
    /// [`HostError::Unknown`] where the host has no such fleet.
    pub async fn measures(&self, fleet: &FleetName) -> Result<Measures, HostError> {
        self.get(format!("/v1/fleets/{fleet}/measures"), PATIENCE).await
    }

    /// The last whole lines that a replica wrote, at most `bytes`, each with its time, without secrets.
    ///
    /// # Errors
    /// [`HostError::Unknown`] where the host has no output of it.
    pub async fn output(&self, fleet: &FleetName, replica: &str, bytes: u64) -> Result<String, HostError> {
        let path = format!("/v1/fleets/{fleet}/replicas/{replica}/output?bytes={bytes}");
        let answer = self.call(Method::GET, path, Vec::new(), PATIENCE).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// All that the host and its gates count, as Prometheus text.
    ///
    /// # Errors
    /// [`HostError`], as for every call.
    pub async fn metrics(&self) -> Result<String, HostError> {
        let answer = self.call(Method::GET, "/metrics".into(), Vec::new(), PATIENCE).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    async fn get<T: DeserializeOwned>(&self, path: String, patience: Duration) -> Result<T, HostError> {
        let answer = self.call(Method::GET, path, Vec::new(), patience).await?;
        self.parse(&answer)
    }

    async fn call(
        &self,
        method: Method,
        path: String,
        body: Vec<u8>,
        patience: Duration,
    ) -> Result<Bytes, HostError> {
        let stream = connect(&self.socket)
            .await
            .map_err(|cause| HostError::Unreachable { socket: self.socket.clone(), cause })?;
        let exchange = self.exchange(stream, method, path, body);
        match tokio::time::timeout(patience, exchange).await {
            Ok(answer) => self.accept(answer?),
            Err(_) => Err(self.no_answer(&format!("nothing within {patience:?}"))),
        }
    }

    async fn exchange(
        &self,
        stream: UnixStream,
        method: Method,
        path: String,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Bytes), HostError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "host")
            .header(header::CONNECTION, "close")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| self.no_answer(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.no_answer(&error))?;
        let answer = async {
            let answer = sender.send_request(request).await.map_err(|error| self.no_answer(&error))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
            let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
                Some(_) => self.no_answer(&format!("the answer is longer than {LONGEST_ANSWER} bytes")),
                None => self.no_answer(&error),
            })?;
            Ok((status, body.to_bytes()))
        };
        alongside(connection, answer).await
    }

    fn accept(&self, (status, body): (StatusCode, Bytes)) -> Result<Bytes, HostError> {
        if status.is_success() {
            return Ok(body);
        }
        let refusal: HostRefusal = serde_json::from_slice(&body).unwrap_or_else(|_| HostRefusal {
            error: format!("the host at {} answered {status}", self.socket.display()),
            help: "it may be of another version: compare `cutover --version` with that of the host".into(),
            ..HostRefusal::default()
        });
        Err(match (status, refusal.held) {
            (StatusCode::CONFLICT, Some(held)) => HostError::Stale { held, refusal },
            (StatusCode::UNPROCESSABLE_ENTITY, _) => HostError::Unable(refusal),
            (StatusCode::NOT_FOUND, _) => HostError::Unknown(refusal),
            _ => HostError::Refused { status: status.as_u16(), refusal },
        })
    }

    fn parse<T: DeserializeOwned>(&self, answer: &Bytes) -> Result<T, HostError> {
        serde_json::from_slice(answer)
            .map_err(|error| self.no_answer(&format!("the answer can't be read: {error}")))
    }

    fn no_answer(&self, cause: &impl ToString) -> HostError {
        HostError::NoAnswer { socket: self.socket.clone(), cause: cause.to_string() }
    }
}

/// Drives a connection for as long as `answer` needs it.
async fn alongside<T>(connection: impl Future, answer: impl Future<Output = T>) -> T {
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answer = answer.as_mut() => return answer,
        _ = connection => {}
    }
    // The connection has ended; whatever there is of an answer is there already.
    answer.await
}

/// Connects, also to a path that is too long for a socket's address: through its directory's descriptor.
async fn connect(path: &Path) -> io::Result<UnixStream> {
    if path.as_os_str().as_bytes().len() <= LONGEST_PATH {
        return UnixStream::connect(path).await;
    }
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::other("this is not a socket's path"));
    };
    let opened =
        rustix::fs::open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    UnixStream::connect(Path::new("/proc/self/fd").join(opened.as_raw_fd().to_string()).join(name)).await
}
