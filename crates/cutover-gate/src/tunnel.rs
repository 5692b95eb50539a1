//! An upgraded connection (WebSocket and the like): bytes both ways, unseen, until either side ends or its time is over.
//! It stays in flight on its replica, so a drain waits for it.

use std::{future::poll_fn, io, pin::pin, task::Poll};

use bytes::Bytes;
use tokio::{
    io::{AsyncWriteExt, copy_bidirectional_with_sizes},
    net::TcpStream,
};

use crate::{client::Client, replica::InFlight};

/// Bytes held in each direction.
const BUFFER: usize = 8 * 1024;

/// The replica's half of an upgrade, left for the connection to take up once the 101 is out.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) stream: TcpStream,
    /// What the replica sent right after its 101.
    pub(crate) early: Bytes,
    pub(crate) flight: InFlight,
}

/// Copies until both sides ended, either broke, or the sweep gave a verdict. `early`: what the client sent right after
/// its request.
pub(crate) async fn run(client: &Client, mut stream: TcpStream, early: Bytes, tunnel: Tunnel) {
    let Tunnel { stream: mut upstream, early: late, flight } = tunnel;
    client.on(Some(&flight));
    let copy = async {
        upstream.write_all(&early).await?;
        stream.write_all(&late).await?;
        copy_bidirectional_with_sizes(&mut stream, &mut upstream, BUFFER, BUFFER).await?;
        io::Result::Ok(())
    };
    let mut copy = pin!(copy);
    poll_fn(|cx| {
        client.remember(cx.waker());
        if client.verdict().is_some() { Poll::Ready(()) } else { copy.as_mut().poll(cx).map(|_| ()) }
    })
    .await;
}
