//! A replica that left the table gets nothing new, and what it has finishes or is cut.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
};

use crate::actors::*;

/// Answers with its name once it has a permit.
async fn held(name: &'static str, go: &Arc<Semaphore>) -> Replica {
    let go = Arc::clone(go);
    Replica::start(move |_| {
        let go = Arc::clone(&go);
        async move {
            go.acquire().await.unwrap().forget();
            text(name)
        }
    })
    .await
}

#[tokio::test]
async fn what_is_in_flight_finishes_while_new_requests_go_elsewhere() {
    let go = Arc::new(Semaphore::new(0));
    let (old, new) = (held("old", &go).await, Replica::named("new").await);
    let gate = gate(options(), &[("old", old.address)]);
    let slow: Vec<_> = (0..20)
        .map(|_| {
            let gate = gate.clone();
            tokio::spawn(async move { get(&gate, "/").await })
        })
        .collect();
    until(|| gate.in_flight("old") == 20).await;
    gate.install(table(2, vec![pool(2, 1.0, &[("new", new.address)])])).unwrap();
    for _ in 0..50 {
        assert_eq!(get(&gate, "/").await, (200, "new".into()));
    }
    assert_eq!(gate.in_flight("old"), 20);
    let watched = gate.clone();
    let drained = tokio::spawn(async move { watched.drained("old").await });
    go.add_permits(19);
    until(|| gate.in_flight("old") == 1).await;
    assert!(!drained.is_finished());
    go.add_permits(1);
    for response in slow {
        assert_eq!(soon(response).await.unwrap(), (200, "old".into()));
    }
    soon(drained).await.unwrap();
    soon(gate.drained("never heard of")).await;
}

#[tokio::test]
async fn a_body_that_still_streams_is_in_flight() {
    let go = Arc::new(Semaphore::new(0));
    let wait = Arc::clone(&go);
    let address = scripted(move |mut stream, _| {
        let wait = Arc::clone(&wait);
        async move {
            read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc").await.unwrap();
            wait.acquire().await.unwrap().forget();
            stream.write_all(b"def").await.unwrap();
            let _ = stream.read(&mut [0]).await;
        }
    })
    .await;
    let gate = gate(options(), &[("a", address)]);
    let mut stream = TcpStream::connect(gate.local_addr()).await.unwrap();
    stream.write_all(simple("GET", "/").as_bytes()).await.unwrap();
    assert_eq!(status(&soon(read_head(&mut stream)).await), 200);
    gate.install(table(2, Vec::new())).unwrap();
    assert_eq!(gate.in_flight("a"), 1);
    go.add_permits(1);
    let mut rest = String::new();
    soon(stream.read_to_string(&mut rest)).await.unwrap();
    assert_eq!(rest, "abcdef");
    soon(gate.drained("a")).await;
}

#[tokio::test]
async fn what_does_not_finish_is_cut_and_nothing_else() {
    let go = Arc::new(Semaphore::new(0));
    let (stuck, other) = (held("stuck", &go).await, held("other", &go).await);
    let gate = gate(options(), &[("stuck", stuck.address), ("other", other.address)]);
    let slow: Vec<_> = (0..8)
        .map(|_| {
            let gate = gate.clone();
            tokio::spawn(async move { get(&gate, "/").await })
        })
        .collect();
    until(|| gate.in_flight("stuck") == 4 && gate.in_flight("other") == 4).await;
    gate.cut("stuck");
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(gate.in_flight("stuck"), 4, "a listed replica is not cut");
    gate.install(table(2, vec![pool(1, 1.0, &[("other", other.address)])])).unwrap();
    gate.cut("stuck");
    soon(gate.drained("stuck")).await;
    assert_eq!(gate.in_flight("other"), 4);
    go.add_permits(8);
    let mut outcomes = Vec::new();
    for response in slow {
        outcomes.push(soon(response).await.unwrap().0);
    }
    outcomes.sort_unstable();
    assert_eq!(outcomes, [200, 200, 200, 200, 504, 504, 504, 504]);
    assert_eq!(
        gate.measures().releases[&release(1)].total().errors,
        0,
        "a planned end is no error of the release"
    );
}

#[tokio::test]
async fn a_replica_that_comes_back_is_used_again() {
    let go = Arc::new(Semaphore::new(0));
    let replica = held("a", &go).await;
    let gate = gate(options(), &[("a", replica.address)]);
    let stuck = gate.clone();
    let stuck = tokio::spawn(async move { get(&stuck, "/").await });
    until(|| gate.in_flight("a") == 1).await;
    gate.install(table(2, Vec::new())).unwrap();
    gate.cut("a");
    assert_eq!(soon(stuck).await.unwrap().0, 504);
    gate.install(table(3, vec![pool(1, 1.0, &[("a", replica.address)])])).unwrap();
    go.add_permits(2);
    assert_eq!(get(&gate, "/").await, (200, "a".into()));
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_place() {
    let go = Arc::new(Semaphore::new(0));
    let replica = held("a", &go).await;
    let gate = gate(options(), &[("a", replica.address)]);
    let mut stream = TcpStream::connect(gate.local_addr()).await.unwrap();
    stream.write_all(simple("GET", "/").as_bytes()).await.unwrap();
    until(|| gate.in_flight("a") == 1).await;
    drop(stream);
    soon(gate.drained("a")).await;
    let total = gate.measures().releases[&release(1)].total();
    assert_eq!((total.requests, total.errors, total.aborted), (0, 0, 1));
}
