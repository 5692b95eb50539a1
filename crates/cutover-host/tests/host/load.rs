//! Clients that keep their connections and send one request after the other, and count every one that fails.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

/// What came of all requests.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) answered: u64,
    pub(crate) failed: Vec<String>,
}

pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    clients: JoinSet<Outcome>,
}

impl Load {
    pub(crate) fn start(address: SocketAddr, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut set = JoinSet::new();
        for _ in 0..clients {
            set.spawn(client(address, Arc::clone(&stop)));
        }
        Self { stop, clients: set }
    }

    pub(crate) async fn stop(self) -> Outcome {
        self.stop.store(true, Ordering::SeqCst);
        self.clients.join_all().await.into_iter().fold(Outcome::default(), |mut all, one| {
            all.answered += one.answered;
            all.failed.extend(one.failed);
            all
        })
    }
}

async fn client(address: SocketAddr, stop: Arc<AtomicBool>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut kept = None;
    while !stop.load(Ordering::SeqCst) {
        match request(address, &mut kept).await {
            Ok(200) => outcome.answered += 1,
            Ok(status) => outcome.failed.push(format!("status {status}")),
            Err(error) => {
                outcome.failed.push(error.to_string());
                kept = None;
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    outcome
}

async fn request(
    address: SocketAddr,
    kept: &mut Option<SendRequest<Empty<Bytes>>>,
) -> Result<u16, Box<dyn std::error::Error + Send + Sync>> {
    // A connection that the server has announced to close is not used again; one that it closes without a word is a failure.
    let mut sender = match kept.take().filter(|sender| !sender.is_closed()) {
        Some(sender) => sender,
        None => {
            let (sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(TcpStream::connect(address).await?))
                    .await?;
            tokio::spawn(connection);
            sender
        }
    };
    sender.ready().await?;
    let answer = sender.send_request(Request::get("/").header("host", "test").body(Empty::new())?).await?;
    let status = answer.status().as_u16();
    let closes = answer.headers().get("connection").is_some_and(|value| value == "close");
    answer.into_body().collect().await?;
    *kept = (!closes).then_some(sender);
    Ok(status)
}
