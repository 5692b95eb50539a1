//! People using the service while it is released: a steady stream of requests over kept connections, every answer accounted
//! for.
//!
//! A request that got no answer is Cutover's fault, with one exception that is counted by itself: those that were in
//! flight on the very connection that died when the demo killed the host. They are sent again, as browsers and HTTP
//! libraries do, and have to succeed then.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use http_body_util::{BodyExt, Empty};
use hyper::{Method, Request, body::Bytes, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::watch, task::JoinSet};

/// Kept connections.
const CONNECTIONS: u32 = 16;

/// How long an answer may take before the request counts as failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came of one request.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) began: Instant,
    pub(super) took: Duration,
    /// The release that answered.
    pub(super) release: Option<String>,
    pub(super) how: How,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum How {
    Well,
    /// The release failed on purpose.
    ReleaseFault,
    /// It was cut when the demo killed the host, and succeeded when it was sent again.
    CutByKill,
    /// Anything else.
    CutoverFault(String),
}

/// The stream of requests.
pub(super) struct Load {
    seen: Arc<Seen>,
    stop: watch::Sender<bool>,
    workers: JoinSet<()>,
}

#[derive(Default)]
struct Seen {
    answers: Mutex<Vec<Answer>>,
    /// When the host was killed, as often as it was.
    kills: Mutex<Vec<Instant>>,
}

impl Load {
    /// Begins to send `rate` requests a second.
    pub(super) fn begin(address: SocketAddr, rate: u32) -> Self {
        let (stop, stopped) = watch::channel(false);
        let seen = Arc::new(Seen::default());
        let pause = Duration::from_secs(1) * CONNECTIONS / rate;
        let mut workers = JoinSet::new();
        for number in 0..CONNECTIONS {
            let worker = Worker { address, seen: seen.clone(), connection: None };
            workers.spawn(worker.run(pause, pause * number / CONNECTIONS, stopped.clone()));
        }
        Self { seen, stop, workers }
    }

    /// Says that the host is killed now.
    pub(super) fn killed(&self) {
        lock(&self.seen.kills).push(Instant::now());
    }

    /// Requests so far.
    pub(super) fn count(&self) -> usize {
        lock(&self.seen.answers).len()
    }

    /// Stops, waits for what is in flight, and tells all.
    pub(super) async fn end(mut self) -> Vec<Answer> {
        self.stop.send_replace(true);
        while self.workers.join_next().await.is_some() {}
        std::mem::take(&mut lock(&self.seen.answers))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Worker {
    address: SocketAddr,
    seen: Arc<Seen>,
    connection: Option<SendRequest<Empty<Bytes>>>,
}

impl Worker {
    async fn run(mut self, pause: Duration, offset: Duration, mut stopped: watch::Receiver<bool>) {
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + offset, pause);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut number: u64 = 0;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stopped.changed() => return,
            }
            number += 1;
            let answer = self.request(number).await;
            lock(&self.seen.answers).push(answer);
        }
    }

    async fn request(&mut self, number: u64) -> Answer {
        let began = Instant::now();
        let (mut release, mut how) = self.once(number).await;
        if matches!(how, How::CutoverFault(_)) && self.was_killed_since(began) {
            (release, how) = self.once(number).await;
            if how == How::Well {
                how = How::CutByKill;
            }
        }
        Answer { began, took: began.elapsed(), release, how }
    }

    /// Whether the host was killed while this request was on its way.
    fn was_killed_since(&self, began: Instant) -> bool {
        lock(&self.seen.kills).iter().any(|killed| *killed >= began)
    }

    async fn once(&mut self, number: u64) -> (Option<String>, How) {
        match tokio::time::timeout(PATIENCE, self.exchange(number)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                self.connection = None;
                (None, How::CutoverFault(error))
            }
            Err(_) => {
                self.connection = None;
                (None, How::CutoverFault(format!("no answer within {PATIENCE:?}")))
            }
        }
    }

    async fn exchange(&mut self, number: u64) -> Result<(Option<String>, How), String> {
        let (method, path) = match number % 5 {
            0 => (Method::POST, "/orders".to_owned()),
            _ => (Method::GET, format!("/orders/{}", number % 100 + 1)),
        };
        let request = Request::builder().method(method).uri(path).header("host", "demo");
        let request = request.body(Empty::new()).map_err(|error| error.to_string())?;
        let sender = self.connected().await?;
        let response = sender.send_request(request).await.map_err(|error| format!("no answer: {error}"))?;
        let status = response.status();
        let header =
            |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (release, on_purpose) = (header("x-release"), header("x-fault").is_some());
        response.into_body().collect().await.map_err(|error| format!("a cut answer: {error}"))?;
        let how = match (status.is_server_error(), on_purpose) {
            (false, _) => How::Well,
            (true, true) => How::ReleaseFault,
            (true, false) => How::CutoverFault(format!("status {status}")),
        };
        Ok((release, how))
    }

    /// The kept connection, or a new one where the other side has closed it between two requests.
    async fn connected(&mut self) -> Result<&mut SendRequest<Empty<Bytes>>, String> {
        let open = match &mut self.connection {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !open {
            let stream =
                TcpStream::connect(self.address).await.map_err(|error| format!("refused: {error}"))?;
            stream.set_nodelay(true).map_err(|error| error.to_string())?;
            let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
            let (sender, connection) = handshake.map_err(|error| error.to_string())?;
            tokio::spawn(async move { connection.await.ok() });
            self.connection = Some(sender);
        }
        Ok(self.connection.as_mut().expect("just connected"))
    }
}
