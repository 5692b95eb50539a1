//! A planned restart or upgrade of the host, without a refused connection or a lost request.
//!
//! ```text
//! new                                          old
//!  │ POST /v1/handover, Upgrade ──────────────► │
//!  │ ◄───────────────────────────────────── 101 │
//!  │ ready for descriptors ───────────────────► │ freezes: nothing is started or stopped any more
//!  │ ◄── lock, API socket, gates' sockets,      │ still answers requests
//!  │     unfinished lines of output             │
//!  │ loads, adopts, probes; opens its gates     │ both accept from the same sockets
//!  │ serving ─────────────────────────────────► │
//!  │ ◄──────────────────────────────────── over │ from here on the new one decides; the old one
//!  │ thaws: starts and stops again              │ finishes its requests
//!  │ ◄────────────────────────────────── (ends) │ exits
//!  │ draining replicas may go                   │
//! ```
//!
//! Until the old host has said `over`, whatever goes wrong leaves it in charge: it thaws. The lock travels with its descriptor,
//! so there is no moment without one. The sockets are the same ones, so what waits in their backlog is accepted by whoever
//! is there.

use std::{
    io::{self, IoSlice, IoSliceMut, Read as _, Write as _},
    mem::MaybeUninit,
    net::TcpListener,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::{Request, StatusCode, header, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use crate::{fleet::Frozen, host::Host, replica::ReplicaId, sockets};

/// The upgrade's name and version.
pub(crate) const PROTOCOL: &str = "cutover-handover-1";

/// For each step of the other side.
const PATIENCE: Duration = Duration::from_secs(60);

/// Fleets that one message has room for, with the lock and the API's socket.
const MOST_FDS: usize = 250;

const READY: u8 = b'r';
const SERVING: u8 = b's';
const OVER: u8 = b'o';

/// Why a host could not take over.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    /// The running host did not answer as one does.
    #[error("the running host at {socket} refused the hand-over: {cause}")]
    Refused {
        /// Its socket.
        socket: String,
        /// What it said.
        cause: String,
    },
    /// The connection broke before the running host had let go; it goes on.
    #[error("the hand-over broke off, so the running host stays in charge: {0}")]
    BrokenOff(#[source] io::Error),
}

/// What is said beside the descriptors.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Letter {
    /// Output lines that have begun, raw: they may hold half a secret, so they travel in memory only.
    unfinished: Vec<(ReplicaId, Vec<u8>)>,
}

/// What a host gets from the one before it.
pub(crate) struct Inheritance {
    pub(crate) lock: OwnedFd,
    pub(crate) api: UnixListener,
    pub(crate) sockets: Vec<TcpListener>,
    pub(crate) unfinished: Vec<(ReplicaId, Vec<u8>)>,
    pub(crate) predecessor: Predecessor,
}

/// The host before, while it still exists.
pub(crate) struct Predecessor {
    stream: UnixStream,
}

impl Predecessor {
    /// Says that this host answers requests. On `Ok`, the other one has let go.
    pub(crate) async fn replace(self) -> Result<Self, TakeoverError> {
        let asked = blocking(move || {
            let mut stream = &self.stream;
            stream.write_all(&[SERVING])?;
            expect(stream, OVER)?;
            stream.set_read_timeout(None)?;
            Ok(self)
        });
        asked.await.map_err(TakeoverError::BrokenOff)
    }

    /// Returns when it has finished its requests and ended.
    pub(crate) async fn ended(self) {
        let _ = blocking(move || (&self.stream).read(&mut [0])).await;
    }
}

/// Asks the host at `socket` to hand over. `None` where nobody listens there.
pub(crate) async fn take(socket: &Path) -> Result<Option<Inheritance>, TakeoverError> {
    let refused = |cause: String| TakeoverError::Refused { socket: socket.display().to_string(), cause };
    let stream = match sockets::connect(socket) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(refused(error.to_string())),
    };
    let stream = tokio::time::timeout(PATIENCE, upgrade(stream)).await;
    let stream = stream.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}"))).map_err(refused)?;
    blocking(move || receive(stream)).await.map(Some).map_err(TakeoverError::BrokenOff)
}

/// The client's side of the upgrade; the raw socket that remains.
async fn upgrade(stream: UnixStream) -> Result<UnixStream, String> {
    let said = |error: hyper::Error| error.to_string();
    stream.set_nonblocking(true).map_err(|error| error.to_string())?;
    let stream = tokio::net::UnixStream::from_std(stream).map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(said)?;
    tokio::spawn(connection.with_upgrades());
    let request = Request::post("/v1/handover")
        .header(header::HOST, "host")
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, PROTOCOL)
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(said)?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(format!("it answered {}", answer.status()));
    }
    raw(hyper::upgrade::on(answer).await.map_err(said)?).map_err(|error| error.to_string())
}

fn raw(upgraded: Upgraded) -> io::Result<UnixStream> {
    let parts = upgraded
        .downcast::<TokioIo<tokio::net::UnixStream>>()
        .map_err(|_| io::Error::other("the connection is not a Unix socket"))?;
    let stream = parts.io.into_inner().into_std()?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// The descriptors come with the first bytes, so nothing may have been read ahead: the other side sends them only when
/// asked on the raw socket.
fn receive(mut stream: UnixStream) -> io::Result<Inheritance> {
    stream.write_all(&[READY])?;
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut length = [0; 4];
    let received =
        recvmsg(&stream, &mut [IoSliceMut::new(&mut length)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut fds: Vec<OwnedFd> = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    stream.read_exact(&mut length[received.bytes..])?;
    let length = u64::from(u32::from_be_bytes(length));
    let mut letter = Vec::new();
    if (&stream).take(length).read_to_end(&mut letter)? as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let letter: Letter = serde_json::from_slice(&letter)?;
    let mut fds = fds.into_iter();
    let (Some(lock), Some(api)) = (fds.next(), fds.next()) else {
        return Err(io::Error::other("it sent no descriptors"));
    };
    Ok(Inheritance {
        lock,
        api: api.into(),
        sockets: fds.map(TcpListener::from).collect(),
        unfinished: letter.unfinished,
        predecessor: Predecessor { stream },
    })
}

/// The old host's side, from the upgrade to its end.
pub(crate) async fn give(host: &Arc<Host>, upgraded: Upgraded) {
    let stream = match raw(upgraded) {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(%error, "a hand-over did not begin"),
    };
    let Some(frozen) = host.freeze().await else {
        tracing::warn!(
            "a hand-over was refused: a replica is still being started, or another hand-over is under way"
        );
        return;
    };
    match offer(host, stream, frozen).await {
        Ok(stream) => host.succeeded_by(stream),
        Err(error) => {
            tracing::warn!(%error, "the new host did not take over; going on");
            host.thaw().await;
        }
    }
}

async fn offer(host: &Host, stream: UnixStream, frozen: Vec<Frozen>) -> io::Result<UnixStream> {
    let fds = host.descriptors()?;
    let unfinished = frozen.into_iter().flat_map(|frozen| frozen.unfinished);
    let letter = Letter { unfinished: unfinished.filter(|(_, line)| !line.is_empty()).collect() };
    let letter = serde_json::to_vec(&letter)?;
    blocking(move || {
        expect(&stream, READY)?;
        send(&stream, &fds, &letter)?;
        expect(&stream, SERVING)?;
        (&stream).write_all(&[OVER])?;
        Ok(stream)
    })
    .await
}

fn send(mut stream: &UnixStream, fds: &[OwnedFd], letter: &[u8]) -> io::Result<()> {
    let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::other(format!("more than {MOST_FDS} sockets can't be handed over")));
    }
    let length = u32::try_from(letter.len()).map_err(io::Error::other)?.to_be_bytes();
    let sent = sendmsg(stream, &[IoSlice::new(&length)], &mut ancillary, SendFlags::NOSIGNAL)?;
    stream.write_all(&length[sent..])?;
    stream.write_all(letter)
}

fn expect(mut stream: &UnixStream, wanted: u8) -> io::Result<()> {
    let mut said = [0];
    stream.read_exact(&mut said)?;
    if said[0] == wanted { Ok(()) } else { Err(io::Error::other("the other host said something unknown")) }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other).flatten()
}
