//! Those who talk to a gate in the tests: replicas, well-behaved and scripted, and clients.

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use cutover_gate::{Gate, GateOptions, Pool, RouteTable, Service, Unavailable, Upstream};
use cutover_model::ReleaseNumber;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

pub(crate) type Answer = Response<BoxBody<Bytes, Infallible>>;

/// For liveness only: what should happen does, within a time no machine needs.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("it never happened")
}

/// Waits until something becomes true.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    soon(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

pub(crate) fn text(body: impl Into<Bytes>) -> Answer {
    Response::new(Full::new(body.into()).boxed())
}

/// A replica served by hyper; dropped = crashed, its connections cut.
pub(crate) struct Replica {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Replica {
    pub(crate) async fn start<F, A>(handler: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let handler = handler.clone();
                let service = service_fn(move |request| {
                    let answer = handler(request);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                let http = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                open.spawn(http.with_upgrades());
            }
        });
        Self { address, connections, task }
    }

    /// Answers everything with its name.
    pub(crate) async fn named(name: &'static str) -> Self {
        Self::start(move |_| async move { text(name) }).await
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// A replica that does with each connection (numbered from 0) what the script says.
pub(crate) async fn scripted<F, A>(script: F) -> SocketAddr
where
    F: Fn(TcpStream, usize) -> A + Send + 'static,
    A: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(script(stream, number));
        }
    });
    address
}

/// An address where nobody listens.
pub(crate) async fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Reads one request's head.
pub(crate) async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await.unwrap_or(0) == 0 {
            break;
        }
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

pub(crate) fn release(number: u64) -> ReleaseNumber {
    ReleaseNumber::new(number).unwrap()
}

pub(crate) fn upstream(id: &str, address: SocketAddr) -> Upstream {
    Upstream { id: id.into(), address, ready_since: None, slow_start: Duration::ZERO }
}

pub(crate) fn pool(number: u64, weight: f64, upstreams: &[(&str, SocketAddr)]) -> Pool {
    let upstreams = upstreams.iter().map(|(id, address)| upstream(id, *address)).collect();
    Pool { release: release(number), weight, upstreams }
}

pub(crate) fn table(generation: u64, pools: Vec<Pool>) -> RouteTable {
    let service = Service {
        name: "shop".into(),
        host: None,
        path_prefix: "/".into(),
        pools,
        routes: vec!["/orders/{id}".into()],
        unavailable: Unavailable::default(),
    };
    RouteTable { generation, services: vec![service] }
}

pub(crate) fn options() -> GateOptions {
    GateOptions { workers: 2, ..GateOptions::default() }
}

/// A gate on a port of its own, with one release.
pub(crate) fn gate(options: GateOptions, upstreams: &[(&str, SocketAddr)]) -> Gate {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gate = Gate::start(listener, options).unwrap();
    gate.install(table(1, vec![pool(1, 1.0, upstreams)])).unwrap();
    gate
}

/// Sends bytes on a connection of its own and reads until the gate closes it.
pub(crate) async fn raw(gate: &Gate, bytes: impl AsRef<[u8]>) -> String {
    let mut stream = TcpStream::connect(gate.local_addr()).await.unwrap();
    stream.write_all(bytes.as_ref()).await.unwrap();
    let mut answer = Vec::new();
    soon(stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// The number in a response's first line.
pub(crate) fn status(response: &str) -> u16 {
    response
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or_else(|| panic!("no response: {response:?}"))
}

pub(crate) fn body(response: &str) -> &str {
    response.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

pub(crate) fn simple(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
}

/// One GET on a connection of its own: status and body.
pub(crate) async fn get(gate: &Gate, path: &str) -> (u16, String) {
    let response = raw(gate, simple("GET", path)).await;
    (status(&response), body(&response).to_owned())
}

/// A client that keeps its connection, by hyper.
pub(crate) struct Client {
    sender: hyper::client::conn::http1::SendRequest<BoxBody<Bytes, Infallible>>,
    address: SocketAddr,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the gate refused a connection");
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        Self { sender, address }
    }

    /// Sends on the same connection, or on a new one when the gate has said `Connection: close`.
    pub(crate) async fn send(
        &mut self,
        request: Request<BoxBody<Bytes, Infallible>>,
    ) -> hyper::Result<Response<Incoming>> {
        if self.sender.ready().await.is_err() {
            *self = Self::connect(self.address).await;
            self.sender.ready().await?;
        }
        self.sender.send_request(request).await
    }

    pub(crate) async fn get(&mut self, path: &str) -> hyper::Result<(u16, String)> {
        let empty = Full::new(Bytes::new()).boxed();
        let request = Request::get(path).header("host", "shop.example").body(empty).unwrap();
        let response = self.send(request).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8(body.to_vec()).unwrap()))
    }
}

/// Clients that ask until told to stop; gives how many requests each outcome had.
pub(crate) struct Load {
    stop: Arc<std::sync::atomic::AtomicBool>,
    tasks: Vec<JoinHandle<Vec<String>>>,
    done: Arc<AtomicUsize>,
}

impl Load {
    /// `fresh`: a new connection for each request.
    pub(crate) fn start(address: SocketAddr, clients: usize, fresh: bool) -> Self {
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let done = Arc::new(AtomicUsize::new(0));
        let one = |_| {
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                let mut failures = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    if fresh {
                        client = Client::connect(address).await;
                    }
                    match client.get("/orders/1").await {
                        Ok((200, _)) => {}
                        other => failures.push(format!("{other:?}")),
                    }
                    done.fetch_add(1, Ordering::SeqCst);
                }
                failures
            })
        };
        let tasks = (0..clients).map(one).collect();
        Self { stop, tasks, done }
    }

    /// Waits for so many more requests.
    pub(crate) async fn more(&self, requests: usize) {
        let target = self.done.load(Ordering::SeqCst) + requests;
        until(|| self.done.load(Ordering::SeqCst) >= target).await;
    }

    /// All failures.
    pub(crate) async fn finish(self) -> Vec<String> {
        self.stop.store(true, Ordering::SeqCst);
        let mut failures = Vec::new();
        for task in self.tasks {
            failures.extend(soon(task).await.unwrap());
        }
        failures
    }
}
