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
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{Row, ended};
use crate::{failure::Failure, parts, process};

const TURNS: usize = 5;
const SECONDS: u32 = 4;
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

/// `None` of nothing.
fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
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
    // We run from the same target folder: target/PROFILE/xtask.
    let own = env::current_exe().map_err(|source| Failure::File { path: "xtask".into(), source })?;
    let target = own.parent().and_then(Path::parent).map(Path::to_owned).unwrap_or_default();
    Ok(target.join("release/examples/gate_bench"))
}

/// A server that runs until this is dropped.
struct Server {
    name: String,
    child: Child,
    address: SocketAddr,
    /// nginx's files.
    _folder: Option<Folder>,
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
        let address =
            free_address().map_err(|source| Failure::File { path: "a free port".into(), source })?;
        let folder = Folder::make()?;
        let conf = folder.0.join("nginx.conf");
        fs::write(&conf, nginx_conf(&folder.0, address, upstream))
            .map_err(|source| Failure::File { path: conf.clone(), source })?;
        let child = Command::new("nginx")
            .env("PATH", with_sbin())
            .arg("-p")
            .arg(&folder.0)
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
        let output = process::output(Command::new("wrk").args([
            "--threads=1",
            "--connections=64",
            &format!("--duration={SECONDS}s"),
            "--latency",
            &format!("http://{}/orders", self.address),
        ]))?;
        let spent = self.cpu_micros()? - before;
        let unreadable = |what| Failure::Unreadable { bench: "gate", what, output: output.clone() };
        let requests = wrk_requests(&output).ok_or_else(|| unreadable("number of requests"))?;
        let p99_millis = wrk_p99_millis(&output).ok_or_else(|| unreadable("99th percentile"))?;
        if output.contains("Non-2xx") || output.contains("Socket errors") || requests == 0.0 {
            return Err(unreadable("clean run: requests failed"));
        }
        Ok(Turn { cpu_micros: spent / requests, p99_millis })
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

fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind(("127.0.0.1", 0))?.local_addr()
}

fn with_sbin() -> String {
    format!("{}:/usr/sbin:/usr/local/sbin", env::var("PATH").unwrap_or_default())
}

/// A folder that goes when this is dropped.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Result<Self, Failure> {
        let path = env::temp_dir().join(format!("cutover-bench-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(|source| Failure::File { path: path.clone(), source })?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// From `  123456 requests in 4.00s, 12.3MB read`.
fn wrk_requests(output: &str) -> Option<f64> {
    let line = output.lines().find(|line| line.contains(" requests in "))?;
    line.split_whitespace().next()?.parse().ok()
}

/// From `     99%    1.23ms`.
fn wrk_p99_millis(output: &str) -> Option<f64> {
    let line = output.lines().find(|line| line.trim_start().starts_with("99%"))?;
    let figure = line.split_whitespace().nth(1)?;
    let unit =
        [("us", 0.001), ("ms", 1.0), ("s", 1000.0)].into_iter().find(|(unit, _)| figure.ends_with(unit))?;
    Some(figure.strip_suffix(unit.0)?.parse::<f64>().ok()? * unit.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrks_report_is_read() {
        let report = "  Latency Distribution\n     50%    1.02ms\n     99%  870.00us\n  123456 requests in 4.00s, 12.30MB read\n";
        assert_eq!((wrk_requests(report), wrk_p99_millis(report)), (Some(123_456.0), Some(0.87)));
        assert_eq!(wrk_p99_millis("     99%    1.50s"), Some(1500.0));
        assert_eq!((wrk_requests("nothing"), wrk_p99_millis("nothing")), (None, None));
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![]), None);
    }
}
