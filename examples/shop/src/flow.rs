//! Requests that take their time: a slow answer, a long upload, a conversation. They show what a drain leaves whole.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::Body,
    extract::{
        Query, State, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket, close_code},
    },
    http::StatusCode,
    response::Response,
};
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::web::Shop;

/// Lines in a slow answer.
const LINES: u64 = 10;
/// The longest slow answer: ten minutes.
const SLOWEST_MS: u64 = 600_000;

#[derive(Deserialize)]
pub(crate) struct Slow {
    /// How long the whole answer takes.
    ms: u64,
}

/// Begins at once and sends `line 1` to `line 10` over the time asked for.
pub(crate) async fn slow(Query(slow): Query<Slow>) -> Body {
    let pause = Duration::from_millis(slow.ms.min(SLOWEST_MS) / LINES);
    Body::from_stream(stream::iter(1..=LINES).then(move |line| async move {
        tokio::time::sleep(pause).await;
        Ok::<_, std::convert::Infallible>(format!("line {line}\n"))
    }))
}

/// Counts the body's bytes as they come and keeps none.
pub(crate) async fn upload(body: Body) -> Result<Json<Value>, StatusCode> {
    let mut bytes = 0;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        bytes += chunk.map_err(|_| StatusCode::BAD_REQUEST)?.len();
    }
    Ok(Json(json!({ "bytes": bytes })))
}

/// Says back what it hears, until the other side closes or the process stops.
pub(crate) async fn echo(State(shop): State<Arc<Shop>>, upgrade: WebSocketUpgrade) -> Response {
    let stopping = shop.sockets.subscribe();
    upgrade.on_upgrade(|socket| converse(socket, stopping))
}

async fn converse(mut socket: WebSocket, mut stopping: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            heard = socket.recv() => match heard {
                Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                    if socket.send(message).await.is_err() {
                        return;
                    }
                }
                // Pings are answered and closes completed by the library.
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
            () = stopped(&mut stopping) => return goodbye(socket).await,
        }
    }
}

async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the shop itself is gone, which is a stop too.
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// Says that the service goes away; clients reconnect, to another replica.
async fn goodbye(mut socket: WebSocket) {
    let frame = CloseFrame { code: close_code::AWAY, reason: "restarting".into() };
    // A client that is gone already needs no goodbye.
    let _ = socket.send(Message::Close(Some(frame))).await;
}
