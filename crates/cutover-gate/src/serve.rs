//! One client connection from accepting to closing: hyper reads requests and writes responses; around it stand the
//! verdicts of the sweep, upgrades, and a close that loses nothing.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::Poll,
};

use bytes::Bytes;
use hyper::{server::conn::http1, service::service_fn};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    client::{Client, ClientIo, Phase, Verdict},
    forward, tunnel,
    worker::{Place, Worker},
};

/// What is read and thrown away after our side was closed.
const LINGER_BYTES: usize = 1 << 20;

/// Serves one connection until it ends.
pub(crate) async fn connection(place: Place, client: Rc<Client>, stream: TcpStream) {
    let worker = &place.worker;
    let Some(early) = until_closed(&client, requests(worker, &client, stream)).await else { return };
    let Some(stream) = client.take_socket() else { return };
    if let Some(tunnel) = client.take_tunnel() {
        client.enter(Phase::Tunnel, worker.now());
        tunnel::run(&client, stream, early, tunnel).await;
    } else if !client.hung_up() {
        client.enter(Phase::Linger, worker.now());
        until_closed(&client, linger(stream)).await;
    }
}

/// Runs `future` unless the sweep closes the connection.
async fn until_closed<T>(client: &Client, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        client.remember(cx.waker());
        if client.verdict() == Some(Verdict::Close) {
            return Poll::Ready(None);
        }
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

/// All requests of a connection; gives what was read beyond the last, which an upgrade needs.
async fn requests(worker: &Rc<Worker>, client: &Rc<Client>, stream: TcpStream) -> Bytes {
    let io = ClientIo::new(stream, Rc::clone(client), Rc::clone(worker));
    let service = service_fn(|request| forward::handle(Rc::clone(worker), Rc::clone(client), request));
    let limit = worker.shared.options.request_head_limit.max(1024);
    let connection = http1::Builder::new()
        .header_read_timeout(None) // the sweep's work
        .max_header_size(limit)
        .max_buf_size(limit.max(32 * 1024))
        .serve_connection(io, service);
    // An error is the client's, or has been answered by hyper (400, 431).
    connection.without_shutdown().await.map(|parts| parts.read_buf).unwrap_or_default()
}

/// Closes our side and reads on until the client closes too: closing at once could turn bytes that are still on their
/// way into a reset, and a reset can take the last response with it.
async fn linger(mut stream: TcpStream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut thrown = [0; 1024];
    let mut total = 0;
    while let Ok(read @ 1..) = stream.read(&mut thrown).await {
        total += read;
        if total > LINGER_BYTES {
            return;
        }
    }
}
