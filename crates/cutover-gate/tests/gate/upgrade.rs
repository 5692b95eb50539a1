//! Upgraded connections: bytes both ways, counted as in flight, surviving a drain, ended by a cut.

use std::time::Duration;

use cutover_gate::Gate;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::actors::*;

/// Upgrades to a protocol that gives back every byte, after a greeting that comes together with the 101.
async fn echo() -> std::net::SocketAddr {
    scripted(|mut stream, _| async move {
        let head = read_head(&mut stream).await;
        if !head.contains("upgrade: echo\r\n") || !head.contains("connection: upgrade\r\n") {
            let _ = stream.write_all(b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n").await;
            return;
        }
        let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-Key: 1\r\n\r\nhello";
        stream.write_all(answer.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await
}

async fn open(gate: &Gate) -> TcpStream {
    let mut stream = TcpStream::connect(gate.local_addr()).await.unwrap();
    let request =
        "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\nearly";
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = soon(read_head(&mut stream)).await.to_ascii_lowercase();
    assert_eq!(status(&head), 101);
    assert!(
        head.contains("connection: upgrade\r\n")
            && head.contains("upgrade: echo\r\n")
            && head.contains("x-key: 1")
    );
    let mut greeting = [0; 10];
    soon(stream.read_exact(&mut greeting)).await.unwrap();
    assert_eq!(&greeting, b"helloearly", "what came together with the heads is not lost");
    stream
}

async fn says(stream: &mut TcpStream, text: &[u8]) {
    stream.write_all(text).await.unwrap();
    let mut back = vec![0; text.len()];
    soon(stream.read_exact(&mut back)).await.unwrap();
    assert_eq!(back, text);
}

#[tokio::test]
async fn it_survives_a_drain_and_ends_with_its_client() {
    let gate = gate(options(), &[("a", echo().await)]);
    let mut stream = open(&gate).await;
    assert_eq!(gate.in_flight("a"), 1);
    gate.install(table(2, Vec::new())).unwrap();
    for _ in 0..10 {
        says(&mut stream, b"still here").await;
    }
    assert_eq!(gate.in_flight("a"), 1);
    drop(stream);
    soon(gate.drained("a")).await;
}

#[tokio::test]
async fn it_is_cut_after_its_grace() {
    let gate = gate(options(), &[("a", echo().await)]);
    let mut stream = open(&gate).await;
    says(&mut stream, b"x").await;
    gate.install(table(2, Vec::new())).unwrap();
    gate.cut("a");
    soon(gate.drained("a")).await;
    assert_eq!(soon(stream.read(&mut [0])).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn it_has_the_shutdowns_grace() {
    let gate = gate(options(), &[("a", echo().await)]);
    let mut stream = open(&gate).await;
    let ending = gate.clone();
    let ended = tokio::spawn(async move { ending.shutdown(Duration::from_secs(20)).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    says(&mut stream, b"still here").await;
    assert!(!ended.is_finished());
    drop(stream);
    soon(ended).await.unwrap();
}

#[tokio::test]
async fn a_replica_may_decline() {
    let gate = gate(options(), &[("a", echo().await)]);
    let declined = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close, Upgrade\r\nUpgrade: other\r\n\r\n";
    assert_eq!(status(&raw(&gate, declined).await), 426);
    let not_asked = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nUpgrade: echo\r\n\r\n";
    assert_eq!(status(&raw(&gate, not_asked).await), 426, "without Connection: upgrade it is not passed on");
}
