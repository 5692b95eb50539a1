//! Customers: they ask the gate all the time, on connections that stay open, and keep count of what went wrong.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::wire;

const CUSTOMERS: usize = 4;
/// Between two requests of one customer.
const PAUSE: Duration = Duration::from_millis(6);

/// What the customers saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) requests: u64,
    /// Failures that a bad release makes on purpose.
    pub(crate) release: u64,
    /// Every other one, with what it looked like: the way there is to blame.
    pub(crate) way: Vec<String>,
}

/// Customers who come until told to stop.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    customers: Vec<JoinHandle<Seen>>,
}

impl Load {
    pub(crate) fn begin(gate: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let customers = (0..CUSTOMERS).map(|_| {
            thread::spawn({
                let stop = stop.clone();
                move || shop_until(&stop, gate)
            })
        });
        Self { customers: customers.collect(), stop }
    }

    pub(crate) fn end(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        for customer in self.customers {
            let seen = customer.join().unwrap();
            all.requests += seen.requests;
            all.release += seen.release;
            all.way.extend(seen.way);
        }
        all
    }
}

fn shop_until(stop: &AtomicBool, gate: SocketAddr) -> Seen {
    let order = r#"{"product_id":2,"quantity":1}"#;
    let head = format!("host: {gate}\r\n");
    let requests = [
        format!("GET /products HTTP/1.1\r\n{head}\r\n"),
        format!("GET /products/1 HTTP/1.1\r\n{head}\r\n"),
        format!(
            "POST /orders HTTP/1.1\r\n{head}content-type: application/json\r\ncontent-length: {}\r\n\r\n{order}",
            order.len()
        ),
    ];
    let mut seen = Seen::default();
    let mut connection = None;
    for request in requests.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        seen.requests += 1;
        match exchange(&mut connection, gate, request) {
            Ok(answer) if answer.starts_with("HTTP/1.1 2") => {}
            Ok(answer) if answer.contains("fails on purpose") => seen.release += 1,
            Ok(answer) => seen.way.push(answer),
            Err(error) => {
                connection = None;
                seen.way.push(format!("{error} on {request}"));
            }
        }
        thread::sleep(PAUSE);
    }
    seen
}

/// One request and its answer, on the open connection or a new one.
fn exchange(connection: &mut Option<TcpStream>, gate: SocketAddr, request: &str) -> io::Result<String> {
    let mut stream = match connection.take() {
        Some(stream) => stream,
        None => wire::connect(gate)?,
    };
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    let end = loop {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            let got = String::from_utf8_lossy(&bytes).into_owned();
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the answer ended after {got:?}"),
            ));
        }
        bytes.extend_from_slice(&buffer[..read]);
        if let Some(end) = end_of_answer(&bytes) {
            break end;
        }
    };
    let answer = String::from_utf8_lossy(&bytes[..end]).into_owned();
    if !answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n") {
        *connection = Some(stream);
    }
    Ok(answer)
}

/// Where an answer with a length ends; `None` while it is not all there.
fn end_of_answer(bytes: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let (head, _) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"))?;
    let end = head.len() + 4 + length.trim().parse::<usize>().ok()?;
    (bytes.len() >= end).then_some(end)
}
