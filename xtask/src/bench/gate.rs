//! What a request costs that passes the gate, against nginx on the same upstream in the same run.
//!
//! ```text
//! wrk (1 thread, 64 connections) ──► gate, 1 worker, metrics on ──► upstream
//!                                └─► nginx, 1 worker, keep-alive ─┘
//! ```
//! The two take turns, so that a machine that grows busy hurts both; the median of the turns is shown. CPU time is what
//! the kernel counted for the whole process.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{Row, ended, median, wrk};
use crate::{failure::Failure, parts, process};

const TURNS: usize = 5;
const LOAD: wrk::Load = wrk::Load { connections: 64, seconds: 4 };
const CPU_BOUND: f64 = 1.2;
const P99_BOUND: f64 = 1.1;

pub(super) fn run() -> Result<Vec<Row>, Failure> {
    if !parts::is_installed("wrk") {
        return Ok(vec![unmeasured("gate: CPU per request", CPU_BOUND), unmeasured("gate: p99", P99_BOUND)]);
    }
    let example = build()?;
    let upstream = Server::example(&example, &["upstream"])?;
    let gate = Server::example(&example, &["gate", "1", "127.0.0.1:0", &upstream.address.to_string()])?;
    let nginx = if parts::is_installed("nginx") { Some(Server::nginx(upstream.address)?) } else { None };

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        ours.push(gate.measure()?);
        if let Some(nginx) = &nginx {
            theirs.push(nginx.measure()?);
        }
    }
    Ok(vec![
        row("gate: CPU per request", "µs", CPU_BOUND, &ours, &theirs, |turn| turn.cpu_micros),
        row("gate: p99", "ms", P99_BOUND, &ours, &theirs, |turn| turn.p99_millis),
    ])
}

/// What one turn showed.
struct Turn {
    cpu_micros: f64,
    p99_millis: f64,
}

fn row(name: &str, unit: &str, bound: f64, ours: &[Turn], theirs: &[Turn], figure: fn(&Turn) -> f64) -> Row {
    let ours = median(ours.iter().map(figure).collect()).unwrap_or(f64::NAN);
    let theirs = median(theirs.iter().map(figure).collect());
    Row {
        name: name.into(),
        figure: format!("{ours:.2} {unit}"),
        peer: theirs.map_or("nginx is not installed".into(), |theirs| format!("nginx {theirs:.2} {unit}")),
        ratio: theirs.map(|theirs| ours / theirs),
        bound,
    }
}

fn unmeasured(name: &str, bound: f64) -> Row {
    Row { name: name.into(), figure: "–".into(), peer: "wrk is not installed".into(), ratio: None, bound }
}

fn build() -> Result<PathBuf, Failure> {
    process::run(process::cargo().args([
        "build",
        "--quiet",
        "--release",
        "--package",
        "cutover-gate",
        "--example",
        "gate_bench",
    ]))?;
    Ok(super::release_folder()?.join("examples/gate_bench"))
}

/// A server that runs until this is dropped.
struct Server {
    name: String,
    child: Child,
    address: SocketAddr,
    /// nginx's files.
    _folder: Option<tempfile::TempDir>,
}

impl Server {
    /// Prints its address first, and ends when its input closes.
    fn example(program: &Path, arguments: &[&str]) -> Result<Self, Failure> {
        let name = arguments.first().copied().unwrap_or_default().to_owned();
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|source| Failure::Start { program: program.display().to_string(), source })?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out)
                .read_line(&mut line)
                .map_err(|source| Failure::File { path: program.to_owned(), source })?;
        }
        let address = line.trim().parse().map_err(|_| Failure::Unreadable {
            bench: "gate",
            what: "address",
            output: line.clone(),
        })?;
        Ok(Self { name, child, address, _folder: None })
    }

    fn nginx(upstream: SocketAddr) -> Result<Self, Failure> {
        let port =
            super::free_port().map_err(|source| Failure::File { path: "a free port".into(), source })?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let folder = tempfile::tempdir()
            .map_err(|source| Failure::File { path: "a temporary folder".into(), source })?;
        let conf = folder.path().join("nginx.conf");
        fs::write(&conf, nginx_conf(folder.path(), address, upstream))
            .map_err(|source| Failure::File { path: conf.clone(), source })?;
        let child = Command::new("nginx")
            .env("PATH", with_sbin())
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(&conf)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|source| Failure::Start { program: "nginx".into(), source })?;
        let mut server = Self { name: "nginx".into(), child, address, _folder: Some(folder) };
        server.wait_until_listening()?;
        Ok(server)
    }

    fn wait_until_listening(&mut self) -> Result<(), Failure> {
        let patience = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(self.address).is_err() {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(ended(&self.name, status));
            }
            if Instant::now() > patience {
                let output = format!("{} never listened on {}", self.name, self.address);
                return Err(Failure::Unreadable { bench: "gate", what: "listening server", output });
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn measure(&self) -> Result<Turn, Failure> {
        let before = self.cpu_micros()?;
        let report = LOAD.run(&format!("http://{}/orders", self.address))?;
        let spent = self.cpu_micros()? - before;
        if report.failed > 0 || report.requests == 0 {
            let output = format!("{}: {report:?}", self.name);
            return Err(Failure::Unreadable { bench: "gate", what: "clean run", output });
        }
        Ok(Turn { cpu_micros: spent / report.requests as f64, p99_millis: report.p99_millis })
    }

    /// User and system time of the process (proc(5): fields 14 and 15 of stat, in hundredths of a second).
    fn cpu_micros(&self) -> Result<f64, Failure> {
        let path = PathBuf::from(format!("/proc/{}/stat", self.child.id()));
        let stat = fs::read_to_string(&path).map_err(|source| Failure::File { path, source })?;
        let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        let ticks: f64 = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
        Ok(ticks * 10_000.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to stop.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One process, as fast as nginx goes: keep-alive to the upstream, no access log.
fn nginx_conf(folder: &Path, listen: SocketAddr, upstream: SocketAddr) -> String {
    let folder = folder.display();
    format!(
        "daemon off;\nmaster_process off;\nworker_processes 1;\npid {folder}/pid;\nerror_log {folder}/error.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n  access_log off;\n  keepalive_requests 100000000;\n\
         \x20 client_body_temp_path {folder}/body;\n  proxy_temp_path {folder}/proxy;\n\
         \x20 fastcgi_temp_path {folder}/fastcgi;\n  uwsgi_temp_path {folder}/uwsgi;\n  scgi_temp_path {folder}/scgi;\n\
         \x20 upstream replicas {{ server {upstream}; keepalive 128; keepalive_requests 100000000; }}\n\
         \x20 server {{\n    listen {listen};\n    location / {{\n      proxy_pass http://replicas;\n\
         \x20     proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n\
         \x20     proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
         \x20     proxy_set_header X-Request-Id $request_id;\n    }}\n  }}\n}}\n"
    )
}

fn with_sbin() -> String {
    format!("{}:/usr/sbin:/usr/local/sbin", env::var("PATH").unwrap_or_default())
}
