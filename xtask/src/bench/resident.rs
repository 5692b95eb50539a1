//! What `cutover host` holds in memory, with ten replicas and a thousand connections.

use std::{
    io::{self, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{
    Row,
    load::{self, AnswerHead},
    replica::Behaviour,
    stage::Stage,
};
use crate::failure::Failure;

const CONNECTIONS: usize = 1000;
const RESIDENT_BYTES: f64 = 30e6;
/// Requests on all connections at once, so often.
const ROUNDS: usize = 5;
/// Longer than a connection may be silent before it gives its buffers back.
const REST: Duration = Duration::from_secs(5);

pub(super) fn run() -> Result<Vec<Row>, Failure> {
    let stage = Stage::set()?;
    stage.release("ten", &stage.commit("Ten", Behaviour::default())?)?;
    let mut rows = vec![row("none", stage.host_resident())];
    let told = |source| Failure::File { path: "a thousand connections".into(), source };
    let mut connections = open(stage.address("ten")).map_err(told)?;
    connections
        .iter_mut()
        .try_for_each(|one| ask(one, "/orders").and_then(|()| answered(one)))
        .map_err(told)?;
    thread::sleep(REST);
    rows.push(row("kept after one request each", stage.host_resident()));
    let mut most = None;
    for _ in 0..ROUNDS {
        connections.iter_mut().try_for_each(|one| ask(one, "/slow")).map_err(told)?;
        thread::sleep(Duration::from_millis(300));
        most = most.max(stage.host_resident());
        connections.iter_mut().try_for_each(answered).map_err(told)?;
    }
    rows.push(row("all in use at once", most));
    thread::sleep(REST);
    rows.push(row("kept after that", stage.host_resident()));
    Ok(rows)
}

fn row(connections: &str, bytes: Option<u64>) -> Row {
    Row {
        name: format!("host: resident, 10 replicas, 1,000 connections: {connections}"),
        figure: bytes.map_or("–".into(), |bytes| format!("{:.1} MB", bytes as f64 / 1e6)),
        peer: "limit 30 MB".into(),
        ratio: bytes.map(|bytes| bytes as f64 / RESIDENT_BYTES),
        bound: 1.0,
    }
}

fn open(address: SocketAddr) -> io::Result<Vec<BufReader<TcpStream>>> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    (0..CONNECTIONS).map(|_| load::connect(address)).collect()
}

fn ask(connection: &mut BufReader<TcpStream>, path: &str) -> io::Result<()> {
    connection.get_mut().write_all(format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n").as_bytes())
}

fn answered(connection: &mut BufReader<TcpStream>) -> io::Result<()> {
    let head = AnswerHead::read(connection)?;
    io::copy(&mut connection.take(head.length), &mut io::sink())?;
    if head.status == 200 { Ok(()) } else { Err(io::Error::other(format!("{head:?}"))) }
}
