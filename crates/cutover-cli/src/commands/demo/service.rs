//! The service that the demo releases: orders in SQLite behind HTTP. It is honest about its faults, so that the demo can
//! tell them from Cutover's: an error it makes on purpose carries the header `x-fault`.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode, body::Bytes, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sqlx::{
    Row, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use crate::failure::{Failure, Kind};

/// The file in a release's tree that says how this release behaves.
pub(super) const BEHAVIOUR: &str = "behaviour.json";

/// How a release of the service behaves.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Behaviour {
    /// It writes and reads the column that the second migration adds.
    pub(super) discounts: bool,
    /// One request in so many fails; 0: none.
    pub(super) error_every: u64,
    /// One request in so many is slow; 0: none.
    pub(super) slow_every: u64,
}

/// How slow a slow request is: above the limit in the demo's description.
const SLOW: Duration = Duration::from_millis(400);

struct Service {
    behaviour: Behaviour,
    release: String,
    pool: SqlitePool,
    requests: AtomicU64,
}

/// Serves until SIGTERM, then finishes what it has begun.
pub(super) async fn run() -> Result<(), Failure> {
    let variable = |name: &str| {
        std::env::var(name)
            .map_err(|_| Failure::new(Kind::Usage, format!("{name} is not set; `cutover demo` sets it")))
    };
    let port = variable("PORT")?
        .parse::<u16>()
        .map_err(|error| Failure::new(Kind::Usage, format!("PORT: {error}")))?;
    let url = SecretString::from(variable("DATABASE_URL")?);
    let text = std::fs::read_to_string(Path::new(BEHAVIOUR))?;
    let behaviour =
        serde_json::from_str(&text).map_err(|error| Failure::new(Kind::Usage, error.to_string()))?;
    let options = SqliteConnectOptions::from_str(url.expose_secret());
    let options = options.map_err(|_| Failure::new(Kind::Failed, "DATABASE_URL can't be used"))?;
    // Many processes write here, and orders of a demo need not survive a power cut.
    let options = options.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Normal);
    let pool = SqlitePoolOptions::new().max_connections(4).connect_lazy_with(options);
    let service =
        Service { behaviour, release: variable("CUTOVER_RELEASE")?, pool, requests: AtomicU64::new(0) };
    serve(TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?, Arc::new(service)).await
}

async fn serve(listener: TcpListener, service: Arc<Service>) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let graceful = hyper_util::server::graceful::GracefulShutdown::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted?.0,
            _ = terminate.recv() => break,
        };
        let service = service.clone();
        let answer = service_fn(move |request| {
            let service = service.clone();
            async move { Ok::<_, Infallible>(service.answer(request).await) }
        });
        let mut server = http1::Builder::new();
        server.timer(TokioTimer::new());
        let connection = graceful.watch(server.serve_connection(TokioIo::new(stream), answer));
        tokio::spawn(async move { connection.await.ok() });
    }
    drop(listener);
    graceful.shutdown().await;
    service.pool.close().await;
    Ok(())
}

impl Service {
    async fn answer(&self, request: Request<hyper::body::Incoming>) -> Response<Full<Bytes>> {
        let id = request.uri().path().strip_prefix("/orders/").and_then(|id| id.parse::<i64>().ok());
        let answered = match (request.method(), request.uri().path(), id) {
            (&Method::GET, "/health/live", _) => Ok(String::new()),
            (&Method::GET, "/health/ready", _) => self.ready().await,
            (&Method::GET, _, Some(id)) if self.well().await => self.order(id).await,
            (&Method::POST, "/orders", _) if self.well().await => self.create().await,
            (&Method::GET, _, Some(_)) | (&Method::POST, "/orders", _) => {
                return self.respond(StatusCode::INTERNAL_SERVER_ERROR, String::new(), true);
            }
            _ => return self.respond(StatusCode::NOT_FOUND, String::new(), false),
        };
        match answered {
            Ok(body) => self.respond(StatusCode::OK, body, false),
            Err(error) => {
                let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{error}\n"));
                self.respond(StatusCode::SERVICE_UNAVAILABLE, String::new(), false)
            }
        }
    }

    fn respond(&self, status: StatusCode, body: String, on_purpose: bool) -> Response<Full<Bytes>> {
        let mut response = Response::builder().status(status).header("x-release", &self.release);
        if on_purpose {
            response = response.header("x-fault", "release");
        }
        response.body(Full::new(Bytes::from(body))).expect("constant headers, and a release's number")
    }

    /// Misbehaves as it was told to; false where this request shall fail.
    async fn well(&self) -> bool {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let hit = |every: u64| every > 0 && number.is_multiple_of(every);
        if hit(self.behaviour.slow_every) {
            tokio::time::sleep(SLOW).await;
        }
        !hit(self.behaviour.error_every)
    }

    /// Cheap: the columns that this release needs are there.
    async fn ready(&self) -> Result<String, sqlx::Error> {
        let sql = if self.behaviour.discounts {
            "select discount from orders limit 1"
        } else {
            "select id from orders limit 1"
        };
        sqlx::query(sql).fetch_optional(&self.pool).await.map(|_| String::new())
    }

    async fn order(&self, id: i64) -> Result<String, sqlx::Error> {
        let sql = if self.behaviour.discounts {
            "select item, discount from orders where id = ?"
        } else {
            "select item, 0 as discount from orders where id = ?"
        };
        let row = sqlx::query(sql).bind(id).fetch_optional(&self.pool).await?;
        Ok(row
            .map_or_else(String::new, |row| format!("{} {}", row.get::<String, _>(0), row.get::<i64, _>(1))))
    }

    async fn create(&self) -> Result<String, sqlx::Error> {
        let sql = if self.behaviour.discounts {
            "insert into orders (item, discount) values ('tea', 5)"
        } else {
            "insert into orders (item) values ('tea')"
        };
        let done = sqlx::query(sql).execute(&self.pool).await?;
        Ok(done.last_insert_rowid().to_string())
    }
}
