//! Measurements, not tests: `cargo test --release -p cutover-host --test host -- --ignored --nocapture --test-threads=1`.

use std::time::{Duration, Instant};

use crate::world::{World, replicas, wanted};

/// Goal: at most 30 MB resident with 10 replicas and 1,000 connections, idle and after a request on each.
#[tokio::test]
#[ignore = "a measurement"]
async fn memory() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let all = rustix::process::Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, all).unwrap();
    let mut world = World::start().await;
    world.want(&[wanted(1, 10)]).await;
    world.until_ready(1, 10).await;
    println!("10 replicas, no connection: {}", resident(&world).await);
    let mut connections = Vec::new();
    for _ in 0..1000 {
        connections.push(tokio::net::TcpStream::connect(world.listen).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    println!("10 replicas, 1000 silent connections: {}", resident(&world).await);
    for connection in &mut connections {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        connection.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        let mut buffer = [0; 1024];
        assert!(connection.read(&mut buffer).await.unwrap() > 0);
    }
    println!("10 replicas, 1000 connections after a request on each: {}", resident(&world).await);
}

async fn resident(world: &World) -> String {
    let pid = world.client.status().await.unwrap().pid;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status
        .lines()
        .filter(|line| line.starts_with("VmRSS") || line.starts_with("RssAnon"))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Goal: replacing 10 replicas that need 500 ms each, one at a time, takes at most 1.1 times 10 * 500 ms.
#[tokio::test]
#[ignore = "a measurement"]
async fn rolling() {
    let mut world = World::start().await;
    let slow = |release, count| wanted(release, count).with("READY_AFTER_MS", "500");
    world.want(&[slow(1, 10)]).await;
    world.until_ready(1, 10).await;
    let begin = Instant::now();
    for count in 1..=10 {
        world.want(&[slow(1, 11 - count), slow(2, count)]).await;
        world.until_ready(2, count).await;
    }
    world.want(&[slow(2, 10)]).await;
    let took = begin.elapsed();
    println!("10 replicas of 500 ms: {took:?}, {:.3} of the least", took.as_secs_f64() / 5.0);
}

/// Goal: from the write to all requests on the other release, 50 ms.
#[tokio::test]
#[ignore = "a measurement"]
async fn rollback() {
    let mut world = World::start().await;
    world.want(&[wanted(1, 2), wanted(2, 2)]).await;
    world
        .until("ready", |observed| {
            replicas(observed).all(|replica| replica.reason.is_none() && replica.pid.is_some())
        })
        .await;
    world.until_ready(1, 2).await;
    world.until_ready(2, 2).await;
    let mut took = Vec::new();
    for round in 0..100 {
        let (to, away) = if round % 2 == 0 { (1, 2) } else { (2, 1) };
        let begin = Instant::now();
        world.want(&[wanted(to, 2), wanted(away, 2).weight(0.0)]).await;
        took.push(begin.elapsed());
    }
    took.sort();
    println!("traffic to another release: median {:?}, p99 {:?}", took[50], took[98]);
}
