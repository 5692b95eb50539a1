//! What a client or a replica may not do, and what it is told.

use std::time::Duration;

use cutover_gate::GateOptions;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::actors::*;

const SHORT: Duration = Duration::from_millis(150);

async fn answer_ok(mut stream: TcpStream, _: usize) {
    let mut all = [0; 65_536];
    while stream.read(&mut all).await.unwrap_or(0) > 0 {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    }
}

#[tokio::test]
async fn too_long_a_head_gets_431() {
    let address = scripted(answer_ok).await;
    let gate = gate(GateOptions { request_head_limit: 4096, ..options() }, &[("a", address)]);
    let request = |length| {
        format!("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nx: {}\r\n\r\n", "a".repeat(length))
    };
    assert_eq!(status(&raw(&gate, request(3000)).await), 200);
    assert_eq!(status(&raw(&gate, request(20_000)).await), 431);
    let many: String = (0..500).map(|n| format!("a{n}: b\r\n")).collect();
    assert_eq!(status(&raw(&gate, format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n")).await), 431);
}

#[tokio::test]
async fn too_long_a_body_gets_413() {
    let replica = Replica::start(|request| async move {
        let _ = http_body_util::BodyExt::collect(request.into_body()).await;
        text("read")
    })
    .await;
    let gate = gate(GateOptions { request_body_limit: 1000, ..options() }, &[("a", replica.address)]);
    let known = |length: usize| {
        let body = "b".repeat(length.min(2000));
        format!("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    assert_eq!(status(&raw(&gate, known(1000)).await), 200);
    assert_eq!(status(&raw(&gate, known(1001)).await), 413);
    let chunked = |length: usize| {
        let body = "b".repeat(length);
        format!(
            "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"
        )
    };
    assert_eq!(status(&raw(&gate, chunked(1000)).await), 200);
    assert_eq!(status(&raw(&gate, chunked(1001)).await), 413);
    assert_eq!(gate.measures().releases[&release(1)].total().errors, 0, "a client's fault is no release's");
}

#[tokio::test]
async fn too_slow_a_head_gets_408_and_silence_nothing() {
    let gate = gate(GateOptions { head_timeout: SHORT, keep_alive: SHORT, ..options() }, &[]);
    assert_eq!(status(&raw(&gate, "GET / HTTP/1.1\r\nHost: x\r\nSlow: ").await), 408);
    assert_eq!(raw(&gate, "").await, "");
    let kept = raw(&gate, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(status(&kept), 503);
    assert!(kept.ends_with("503 Service Unavailable\n"), "an idle connection closes without a word: {kept}");
}

#[tokio::test]
async fn a_stalled_upload_gets_408_and_a_silent_replica_504() {
    let address =
        scripted(|mut stream, _| async move { while stream.read(&mut [0; 1024]).await.unwrap_or(0) > 0 {} })
            .await;
    let gate = gate(GateOptions { response_timeout: SHORT, ..options() }, &[("a", address)]);
    let stalled = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc";
    assert_eq!(status(&raw(&gate, stalled).await), 408);
    assert_eq!(gate.measures().releases[&release(1)].total().errors, 0);
    assert_eq!(get(&gate, "/").await.0, 504);
    assert_eq!(gate.measures().releases[&release(1)].total().failed_forwards, 1);
}

#[tokio::test]
async fn a_request_may_not_take_longer_than_allowed() {
    let address = scripted(|mut stream, _| async move {
        if read_head(&mut stream).await.contains("/body") {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").await;
        }
        let _ = stream.read(&mut [0]).await;
    })
    .await;
    let gate = gate(GateOptions { request_timeout: SHORT, ..options() }, &[("a", address)]);
    assert_eq!(get(&gate, "/head").await.0, 504);
    let mut client = Client::connect(gate.local_addr()).await;
    soon(client.get("/body")).await.unwrap_err();
    soon(gate.drained("a")).await;
}

#[tokio::test]
async fn a_replica_that_speaks_no_http_gets_502() {
    for answer in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
    ] {
        let address = scripted(move |mut stream, _| async move {
            read_head(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        let gate = gate(options(), &[("a", address), ("b", nowhere().await)]);
        let response = loop {
            // The other replica refuses; what is asked here is what comes of this one's answer.
            let response = raw(&gate, simple("POST", "/")).await;
            if gate.measures().releases[&release(1)].total().failed_forwards > 0 {
                break response;
            }
        };
        assert_eq!(status(&response), 502, "{answer:?}");
        assert!(
            !response.contains("SSH") && !response.contains("127.0.0.1"),
            "says nothing private: {response}"
        );
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_their_turn() {
    let replica = Replica::named("a").await;
    let gate = gate(GateOptions { max_connections: 2, workers: 1, ..options() }, &[("a", replica.address)]);
    let mut first = Client::connect(gate.local_addr()).await;
    let mut second = Client::connect(gate.local_addr()).await;
    assert_eq!((first.get("/").await.unwrap().0, second.get("/").await.unwrap().0), (200, 200));
    let address = gate.local_addr();
    let third = tokio::spawn(async move { Client::connect(address).await.get("/").await.unwrap() });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!third.is_finished() && gate.connections() <= 2);
    drop(first);
    assert_eq!(soon(third).await.unwrap().0, 200);
}
