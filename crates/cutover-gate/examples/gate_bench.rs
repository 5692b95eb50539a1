//! A gate to measure, and a replica that costs next to nothing.
//!
//! `gate_bench upstream [ADDRESS]` answers every request with 200 and a short body.
//! `gate_bench gate WORKERS [ADDRESS] UPSTREAM…` forwards to the upstreams with metrics on.
//!
//! Both print the address they listen on as the first line, run until their input closes, and then print the CPU time
//! they used, in microseconds.

use std::{
    env,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use cutover_gate::{Gate, GateOptions, Pool, RouteTable, Service, Unavailable, Upstream};
use cutover_model::ReleaseNumber;

fn main() -> io::Result<()> {
    let mut arguments: Vec<String> = env::args().skip(1).collect();
    let mode = if arguments.is_empty() { String::new() } else { arguments.remove(0) };
    match mode.as_str() {
        "upstream" => upstream(address(arguments.first())),
        "gate" if arguments.len() >= 2 => {
            let workers = arguments[0].parse().map_err(io::Error::other)?;
            let addresses = arguments[1..].iter().map(|text| address(Some(text))).collect::<Vec<_>>();
            gate(workers, addresses[0], &addresses[1..])
        }
        _ => Err(io::Error::other("usage: gate_bench upstream [ADDRESS] | gate WORKERS ADDRESS UPSTREAM…")),
    }
}

fn address(text: Option<&String>) -> SocketAddr {
    text.and_then(|text| text.parse().ok()).unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)))
}

fn until_input_closes(listening: SocketAddr) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{listening}")?;
    out.flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    writeln!(out, "{}", cpu_micros()?)
}

/// User and system time of this process (proc(5): fields 14 and 15 of stat, in hundredths of a second).
fn cpu_micros() -> io::Result<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(ticks * 10_000)
}

fn gate(workers: usize, listen: SocketAddr, upstreams: &[SocketAddr]) -> io::Result<()> {
    let gate = Gate::start(TcpListener::bind(listen)?, GateOptions { workers, ..GateOptions::default() })?;
    let upstreams = upstreams.iter().enumerate().map(|(number, address)| Upstream {
        id: format!("replica-{number}"),
        address: *address,
        ready_since: None,
        slow_start: Duration::ZERO,
    });
    let pool = Pool { release: ReleaseNumber::FIRST, weight: 1.0, upstreams: upstreams.collect() };
    let service = Service {
        name: "bench".into(),
        host: None,
        path_prefix: "/".into(),
        pools: vec![pool],
        routes: vec!["/".into(), "/orders".into(), "/orders/{id}".into()],
        unavailable: Unavailable::default(),
    };
    gate.install(RouteTable { generation: 1, services: vec![service] }).map_err(io::Error::other)?;
    until_input_closes(gate.local_addr())
}

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ndate: Fri, 20 Nov 2026 10:00:00 GMT\r\ncontent-length: 13\r\n\r\nHello, world\n";

fn upstream(listen: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(listen)?;
    let listening = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A thread each: no event loop of ours to measure by mistake.
            std::thread::Builder::new().stack_size(64 * 1024).spawn(move || answer(stream)).ok();
        }
    });
    until_input_closes(listening)
}

/// Answers requests without a body, one after the other.
fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; 4096];
    let mut length = 0;
    loop {
        let read = stream.read(&mut buffer[length..])?;
        if read == 0 {
            return Ok(());
        }
        length += read;
        if buffer[..length].ends_with(b"\r\n\r\n") {
            stream.write_all(ANSWER)?;
            length = 0;
        }
    }
}
