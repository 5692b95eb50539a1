//! One client connection from accepting to closing: hyper reads requests and writes responses; around it stand the
//! verdicts of the sweep, upgrades, and a close that loses nothing.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
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
    client::{Client, ClientIo, Phase},
    compact::compact,
    forward, tunnel,
    worker::{Place, Worker},
};

/// What is read and thrown away after our side was closed.
const LINGER_BYTES: usize = 1 << 20;

/// Serves one connection until it ends.
pub(crate) async fn connection(place: Place, client: Rc<Client>, mut stream: TcpStream) {
    let worker = &place.worker;
    let limit = worker.shared.options.request_head_limit.max(1024);
    let mut http = http1::Builder::new();
    http.header_read_timeout(None) // the sweep's work
        .max_header_size(limit)
        .max_buf_size(limit.max(32 * 1024));
    let mut early = Bytes::new();
    loop {
        // hyper's buffers (16 KB) are not made before there is something to read. `readable()` would not do: it is
        // optimistic about a new socket.
        let mut first = [0];
        if early.is_empty() {
            let Some(Ok(1..)) = until_closed(&client, pin!(stream.peek(&mut first))).await else { return };
        }
        client.rest(false);
        // Before the future is first polled: hyper looks for room in its buffer in between.
        let service =
            service_fn(|request| forward::handle(Rc::clone(worker), Rc::clone(&client), compact(request)));
        let io = ClientIo::new(stream, early, Rc::clone(&client), Rc::clone(worker));
        let mut requests = http.serve_connection(io, service);
        let ended = poll_fn(|cx| {
            let rest = client.takes_rest();
            if rest {
                // Between requests this ends them at once; a part of the next one may have been read.
                Pin::new(&mut requests).graceful_shutdown();
            }
            // An error is the client's, or hyper has answered it (400, 431).
            Pin::new(&mut requests).poll(cx).map(|ended| rest && ended.is_ok())
        });
        let Some(rests) = until_closed(&client, ended).await else { return };
        let parts = requests.into_parts();
        // A copy, nearly always of nothing: even an empty rest of hyper's buffer would keep all of it.
        (stream, early) = (parts.io.into_stream(), Bytes::copy_from_slice(&parts.read_buf));
        if client.hung_up() {
            return;
        }
        if !rests {
            return finish(worker, &client, stream, early).await;
        }
        client.rest(true);
    }
}

/// After the last request.
async fn finish(worker: &Worker, client: &Client, stream: TcpStream, early: Bytes) {
    if let Some(tunnel) = client.take_tunnel() {
        client.enter(Phase::Tunnel, worker.now());
        tunnel::run(client, stream, early, tunnel).await;
    } else {
        client.enter(Phase::Linger, worker.now());
        until_closed(client, pin!(linger(stream))).await;
    }
}

/// Runs `future` unless the sweep closes the connection.
fn until_closed<F: Future + Unpin>(
    client: &Client,
    mut future: F,
) -> impl Future<Output = Option<F::Output>> {
    poll_fn(move |cx| {
        client.remember(cx.waker());
        match Pin::new(&mut future).poll(cx) {
            Poll::Pending if client.is_to_close() => Poll::Ready(None),
            polled => polled.map(Some),
        }
    })
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
