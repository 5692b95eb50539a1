//! A service that behaves as its environment and its callers tell it to.
//!
//! | variable | what it does |
//! |---|---|
//! | `READY_AFTER_MS` | it is ready so long after its start; `never`: never |
//! | `EXIT` | it ends at once with this status |
//! | `IGNORE_SIGTERM` | it goes on after SIGTERM |
//! | `SAY` | it writes the value of the variable of that name to its output, in two halves |
//! | `LOSE_PORT` | the first time, another process takes its port before it does; the file of that name tells |
//! | `CHILD` | it starts a process that founds a group of its own and keeps its environment |
//! | `GRANDCHILD` | it starts a process of its own that outlives it and ignores SIGTERM |
//!
//! | request | what it does |
//! |---|---|
//! | `/ready`, `/live` | as it was told |
//! | `/set/ready/0`, `/set/live/1`, … | tells it |
//! | `/slow/500` | answers after so many milliseconds |
//! | `/crash` | exits with status 3 |
//! | else | says its release, id and process |

use std::{
    convert::Infallible,
    env,
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

struct Told {
    ready: AtomicBool,
    live: AtomicBool,
    ready_at: Option<Instant>,
}

#[allow(clippy::zombie_processes, reason = "what it starts shall outlive it")]
pub(crate) async fn play() {
    say();
    if let Ok(status) = env::var("EXIT") {
        std::process::exit(status.parse().expect("EXIT is a number"));
    }
    if let Some(marker) = env::var_os("LOSE_PORT") {
        lose_port(Path::new(&marker));
    }
    if env::var_os("CHILD").is_some() {
        let child = Command::new("sleep").arg("1000").process_group(0).env_remove("CHILD").spawn();
        println!("child {}", child.expect("it starts").id());
    }
    if env::var_os("GRANDCHILD").is_some() {
        let mut child = Command::new("sh");
        child
            .args(["-c", "trap '' TERM; sleep 1000 & wait; sleep 1000"])
            .env_clear()
            .env("PATH", "/usr/bin:/bin");
        let child = child.spawn().expect("a shell starts");
        println!("grandchild {}", child.id());
    }
    let ready_at = match env::var("READY_AFTER_MS").as_deref() {
        Ok("never") => None,
        Ok(millis) => Some(Instant::now() + Duration::from_millis(millis.parse().expect("a number"))),
        Err(_) => Some(Instant::now()),
    };
    let told = Arc::new(Told { ready: AtomicBool::new(true), live: AtomicBool::new(true), ready_at });
    let port: u16 = env::var("PORT").expect("PORT is set").parse().expect("PORT is a number");
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
    let mut terminated = signal(SignalKind::terminate()).expect("signals can be heard");
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let told = Arc::clone(&told);
                let service = service_fn(move |request| answer(Arc::clone(&told), request));
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
            _ = terminated.recv() => {
                println!("got SIGTERM");
                if env::var_os("IGNORE_SIGTERM").is_none() {
                    return;
                }
            }
        }
    }
}

/// Listens on the port for ever.
pub(crate) async fn squat() {
    let port: u16 = env::var("PORT").expect("PORT is set").parse().expect("PORT is a number");
    let _listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
    std::future::pending::<()>().await;
}

/// A process outside the replica's group and without its id takes the port, and the replica ends as any would.
fn lose_port(marker: &Path) {
    if marker.exists() {
        return;
    }
    std::fs::write(marker, "").expect("the marker can be written");
    let port = env::var("PORT").expect("PORT is set");
    let mut other = Command::new(env::current_exe().expect("this program has a path"));
    other.args(["--exact", "role"]).env_clear().env(crate::ROLE, "squatter").env("PORT", &port);
    other.env("TEST_WORLD", env::var_os("TEST_WORLD").expect("the world is known")).process_group(0);
    other.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    while std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_err() {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::process::exit(1);
}

fn say() {
    let Some(name) = env::var_os("SAY") else { return };
    let text = env::var(name).expect("what SAY names is set");
    let (first, second) = text.split_at(text.len() / 2);
    let mut out = std::io::stdout();
    out.write_all(format!("my secret is {first}").as_bytes())
        .and_then(|()| out.flush())
        .expect("it can write");
    std::thread::sleep(Duration::from_millis(50));
    out.write_all(format!("{second} indeed\n").as_bytes()).and_then(|()| out.flush()).expect("it can write");
}

async fn answer(told: Arc<Told>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let parts: Vec<&str> = request.uri().path().trim_start_matches('/').split('/').collect();
    let status = match parts.as_slice() {
        ["ready"] => {
            let started = told.ready_at.is_some_and(|at| Instant::now() >= at);
            if started && told.ready.load(Ordering::SeqCst) { 200 } else { 503 }
        }
        ["live"] if !told.live.load(Ordering::SeqCst) => 500,
        ["set", what, to] => {
            let flag = if *what == "ready" { &told.ready } else { &told.live };
            flag.store(*to == "1", Ordering::SeqCst);
            200
        }
        ["slow", millis] => {
            tokio::time::sleep(Duration::from_millis(millis.parse().unwrap_or(0))).await;
            200
        }
        ["crash"] => std::process::exit(3),
        _ => 200,
    };
    let name = |name| env::var(name).unwrap_or_default();
    let body = format!("{} {} {}", name("CUTOVER_RELEASE"), name("CUTOVER_REPLICA"), std::process::id());
    let response = Response::builder().status(status).body(Full::new(Bytes::from(body)));
    Ok(response.expect("the response is well formed"))
}
