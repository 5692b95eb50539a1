//! A request is repeated only where that is safe, and then the client does not notice.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use cutover_gate::{Gate, GateOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::actors::*;

/// A replica that reads each request and closes without an answer; counts the requests.
async fn closer() -> (SocketAddr, Arc<AtomicUsize>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    let address = scripted(move |mut stream, _| {
        let counted = Arc::clone(&counted);
        async move {
            if !read_head(&mut stream).await.is_empty() {
                counted.fetch_add(1, SeqCst);
            }
        }
    })
    .await;
    (address, seen)
}

/// One release for each replica, so that counts tell them apart.
fn two(first: SocketAddr, second: SocketAddr, options: GateOptions) -> Gate {
    let gate = gate(options, &[]);
    gate.install(table(2, vec![pool(1, 1.0, &[("a", first)]), pool(2, 1.0, &[("b", second)])])).unwrap();
    gate
}

async fn send(gate: &Gate, method: &str) -> u16 {
    status(&raw(gate, simple(method, "/")).await)
}

#[tokio::test]
async fn a_refused_connection_is_tried_elsewhere_by_any_method() {
    let good = Replica::named("b").await;
    let gate = two(nowhere().await, good.address, options());
    for method in ["GET", "POST", "PATCH", "REFUND", "DELETE"] {
        for _ in 0..4 {
            assert_eq!(send(&gate, method).await, 200, "{method}");
        }
    }
    let measures = gate.measures();
    let refused = measures.releases[&release(1)].total();
    assert!(refused.failed_forwards > 0 && refused.requests == refused.errors, "{refused:?}");
    let answered = measures.releases[&release(2)].total();
    assert_eq!((answered.requests, answered.errors), (20, 0));
}

#[tokio::test]
async fn a_lost_request_is_repeated_only_when_idempotent() {
    let (lost, seen) = closer().await;
    let good = Replica::named("b").await;
    let gate = two(lost, good.address, options());
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        for _ in 0..4 {
            assert_eq!(send(&gate, method).await, 200, "{method}");
        }
    }
    assert!(seen.swap(0, SeqCst) > 0);
    let codes = [
        send(&gate, "POST").await,
        send(&gate, "POST").await,
        send(&gate, "POST").await,
        send(&gate, "POST").await,
    ];
    assert_eq!(codes.iter().filter(|code| **code == 502).count(), seen.load(SeqCst), "{codes:?}");
    assert!(codes.contains(&502) && codes.contains(&200), "{codes:?}");
}

#[tokio::test]
async fn a_body_once_begun_is_not_sent_twice() {
    let (lost, _) = closer().await;
    let good = Replica::named("b").await;
    let gate = two(lost, good.address, options());
    let put = "PUT / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc";
    let mut codes = Vec::new();
    for _ in 0..4 {
        codes.push(status(&raw(&gate, put).await));
    }
    assert!(codes.contains(&502) && codes.contains(&200), "{codes:?}");
}

#[tokio::test]
async fn attempts_are_bounded() {
    let [(a, seen_a), (b, seen_b), (c, seen_c), (d, seen_d)] =
        [closer().await, closer().await, closer().await, closer().await];
    let gate = gate(GateOptions { retries: 2, ..options() }, &[("a", a), ("b", b), ("c", c), ("d", d)]);
    assert_eq!(send(&gate, "GET").await, 502);
    let seen = [seen_a, seen_b, seen_c, seen_d].iter().map(|seen| seen.load(SeqCst)).collect::<Vec<_>>();
    assert_eq!(seen.iter().sum::<usize>(), 3);
    assert_eq!(seen.iter().max(), Some(&1), "each replica once: {seen:?}");
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_no_ones_error() {
    let address = scripted(|mut stream, _| async move {
        // One answer each, without a warning that the connection closes.
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    })
    .await;
    let gate = gate(GateOptions { workers: 1, ..options() }, &[("a", address)]);
    for method in ["GET", "POST", "GET", "PUT", "POST", "POST"] {
        assert_eq!(send(&gate, method).await, 200, "{method}");
        // The close is on its way; a POST cannot be sent on a connection that closes under it.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let total = gate.measures().releases[&release(1)].total();
    assert_eq!((total.requests, total.errors), (6, 0));
}

#[tokio::test]
async fn a_get_on_a_connection_closed_under_it_goes_to_the_same_replica_again() {
    let address = scripted(|mut stream, number| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        if number == 0 {
            // Takes the second request and closes in its face.
            read_head(&mut stream).await;
            return;
        }
        let _ = stream.read(&mut [0]).await;
    })
    .await;
    let gate = gate(GateOptions { workers: 1, retries: 0, ..options() }, &[("a", address)]);
    assert_eq!((send(&gate, "GET").await, send(&gate, "GET").await), (200, 200));
    assert_eq!(gate.measures().releases[&release(1)].total().errors, 0);
}

#[tokio::test]
async fn a_crash_under_load_loses_no_idempotent_request() {
    let slow = || {
        Replica::start(|_| async {
            tokio::time::sleep(Duration::from_millis(3)).await;
            text("ok")
        })
    };
    let (crashing, staying) = (slow().await, slow().await);
    let gate = gate(options(), &[("a", crashing.address), ("b", staying.address)]);
    let load = Load::start(gate.local_addr(), 16, false);
    load.more(500).await;
    assert!(crashing.connections() > 0);
    drop(crashing);
    load.more(1000).await;
    assert_eq!(load.finish().await, Vec::<String>::new());
    assert!(gate.measures().releases[&release(1)].total().failed_forwards > 0, "the crash was seen");
}
