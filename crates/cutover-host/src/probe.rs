//! Asks a replica whether it lives and whether it may get traffic.
//!
//! Readiness fails closed: one answer other than 2xx, a refused connection or no answer in time takes the replica out,
//! and one 2xx brings it back. Liveness is asked from the first readiness on (until then `start_within` judges) and
//! restarts the replica only after three failures in a row, since a restart costs far more than a moment out of the
//! routes.
//!
//! Until a replica is first ready it is asked every 25 ms, so that a rollout waits for the replica and not for the probe;
//! after ten seconds the pauses grow with the time waited. Each probe is a connection of its own: one that is kept open would
//! say nothing about whether the replica still accepts any.

use std::{future::Future, net::SocketAddr, time::Duration};

use bytes::Bytes;
use cutover_model::config::{Health, UrlPath};
use http_body_util::Empty;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::Instant};

/// Failures of liveness in a row that restart a replica.
const DEAD_AFTER: u32 = 3;

const EAGER: Duration = Duration::from_millis(25);
const EAGER_AGAIN: Duration = Duration::from_millis(250);

/// What a probe has found, each time that it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding {
    /// It may get traffic.
    Ready,
    /// It may not; why.
    Unready(String),
    /// It must be restarted; why.
    Dead(String),
}

/// Probes until it finds the replica dead or is dropped. Each finding that differs from the one before is reported.
pub(crate) async fn watch<Reported: Future<Output = ()>>(
    address: SocketAddr,
    health: Health,
    report: impl Fn(Finding) -> Reported,
) {
    let began = Instant::now();
    let interval = health.interval.get().max(Duration::from_millis(1));
    let (mut last, mut first_ready, mut failures, mut next_live) = (None, None, 0, began);
    loop {
        let finding = match ask(address, &health.ready, health.timeout.get()).await {
            Ok(()) => Finding::Ready,
            Err(reason) => Finding::Unready(reason),
        };
        let ready = finding == Finding::Ready;
        if ready && first_ready.is_none() {
            first_ready = Some(Instant::now());
            next_live = Instant::now() + interval;
        }
        if last.as_ref() != Some(&finding) {
            report(finding.clone()).await;
            last = Some(finding);
        }
        if first_ready.is_some() && Instant::now() >= next_live {
            next_live = Instant::now() + interval;
            match ask(address, &health.live, health.timeout.get()).await {
                Ok(()) => failures = 0,
                Err(_) if failures + 1 < DEAD_AFTER => failures += 1,
                Err(reason) => {
                    return report(Finding::Dead(format!("not alive {DEAD_AFTER} times in a row: {reason}")))
                        .await;
                }
            }
        }
        tokio::time::sleep(pause(ready, first_ready.is_some(), began.elapsed(), interval)).await;
    }
}

/// How long to wait for the next readiness probe.
fn pause(ready: bool, was_ready: bool, waited: Duration, interval: Duration) -> Duration {
    match (ready, was_ready) {
        (true, _) => interval,
        (false, true) => EAGER_AGAIN.min(interval),
        (false, false) => (waited / 400).max(EAGER).min(interval),
    }
}

/// One probe: `Ok` for 2xx in time. Nothing of a body is read.
async fn ask(address: SocketAddr, path: &UrlPath, within: Duration) -> Result<(), String> {
    let asked = async {
        let stream =
            TcpStream::connect(address).await.map_err(|error| format!("connecting failed: {error}"))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| format!("connecting failed: {error}"))?;
        let request = Request::get(path.as_str())
            .header(header::HOST, address.to_string())
            .header(header::USER_AGENT, "cutover-host")
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(|error| error.to_string())?;
        let answer =
            async { sender.send_request(request).await.map_err(|error| format!("no answer: {error}")) };
        let mut answer = std::pin::pin!(answer);
        tokio::select! {
            answer = answer.as_mut() => return Ok(answer?.status()),
            _ = connection => {}
        }
        // The connection has ended; whatever there is of an answer is there already.
        Ok(answer.await?.status())
    };
    let status = match tokio::time::timeout(within, asked).await {
        Err(_) => Err(format!("no answer within {within:?}")),
        Ok(answer) => answer,
    };
    match status {
        Ok(status) if status.is_success() => Ok(()),
        Ok(status) => Err(format!("GET {path}: status {}", status.as_u16())),
        Err(reason) => Err(format!("GET {path}: {reason}")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    };

    use http_body_util::Full;
    use hyper::{Response, service::service_fn};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn pauses_grow_with_the_time_waited() {
        let second = Duration::from_secs(1);
        assert_eq!(pause(false, false, Duration::ZERO, second), EAGER);
        assert_eq!(pause(false, false, 10 * second, second), EAGER);
        assert_eq!(pause(false, false, 40 * second, second), Duration::from_millis(100));
        assert_eq!(pause(false, false, 4000 * second, second), second);
        assert_eq!(pause(true, true, second, second), second);
        assert_eq!(pause(false, true, second, second), EAGER_AGAIN);
        assert_eq!(pause(false, true, second, EAGER), EAGER);
    }

    /// A replica whose two answers are set by the test.
    async fn replica() -> (SocketAddr, Arc<[AtomicU16; 2]>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answers = Arc::new([AtomicU16::new(503), AtomicU16::new(200)]);
        let shared = Arc::clone(&answers);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                let serve = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let which = usize::from(request.uri().path() == "/live");
                    let status = shared[which].load(Ordering::SeqCst);
                    async move {
                        Response::builder().status(status).body(Full::new(Bytes::from_static(b"private")))
                    }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), serve),
                );
            }
        });
        (address, answers)
    }

    #[tokio::test]
    async fn findings_are_reported_as_they_change() {
        let (address, answers) = replica().await;
        let health =
            r#"{"live":"/live","ready":"/ready","interval":"20ms","timeout":"5s","start_within":"10s"}"#;
        let health: Health = serde_json::from_str(health).unwrap();
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let tell = Mutex::new(tell);
        let watching = tokio::spawn(async move {
            watch(address, health, |finding| {
                let _ = tell.lock().unwrap().send(finding);
                std::future::ready(())
            })
            .await;
        });
        assert_eq!(told.recv().await, Some(Finding::Unready("GET /ready: status 503".into())));
        answers[0].store(204, Ordering::SeqCst);
        assert_eq!(told.recv().await, Some(Finding::Ready));
        answers[0].store(302, Ordering::SeqCst);
        assert_eq!(told.recv().await, Some(Finding::Unready("GET /ready: status 302".into())));
        answers[1].store(500, Ordering::SeqCst);
        let dead = "not alive 3 times in a row: GET /live: status 500";
        assert_eq!(told.recv().await, Some(Finding::Dead(dead.into())));
        watching.await.unwrap();
    }

    #[tokio::test]
    async fn silence_and_refusal_are_failures() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let path = "/ready".parse().unwrap();
        let silent = ask(address, &path, Duration::from_millis(50)).await;
        assert_eq!(silent, Err("GET /ready: no answer within 50ms".into()));
        drop(listener);
        let refused = ask(address, &path, Duration::from_secs(5)).await.unwrap_err();
        assert!(refused.contains("connecting failed"), "{refused}");
    }
}
