//! Requests that two parsers could read differently are refused, or rewritten so that only one reading is left.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::actors::*;

/// A replica that notes every byte and answers each read.
async fn recorder() -> (std::net::SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let address = scripted(move |mut stream, _| {
        let noted = Arc::clone(&noted);
        async move {
            let mut piece = [0; 65_536];
            while let Ok(read @ 1..) = stream.read(&mut piece).await {
                let whole = {
                    let mut noted = noted.lock().unwrap();
                    noted.extend_from_slice(&piece[..read]);
                    let text = String::from_utf8_lossy(&noted).into_owned();
                    let chunked = text.contains("transfer-encoding: chunked");
                    if chunked {
                        text.ends_with("0\r\n\r\n")
                    } else {
                        !text.contains("content-length: 3") || text.ends_with("abc")
                    }
                };
                if whole {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                }
            }
        }
    })
    .await;
    (address, seen)
}

#[tokio::test]
async fn malformed_requests_are_refused_and_nothing_passes() {
    let (address, seen) = recorder().await;
    let gate = gate(options(), &[("a", address)]);
    for request in [
        // Two lengths, or one that is no number.
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\nabc",
        // An encoding that is not, or not last, chunked; or in the wrong version.
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc",
        "POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        // Lines that are not what they seem.
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length : 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: x\r\n Content-Length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: x\r\nX: a\r\n folded\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nX: a\rContent-Length: 3\r\n\r\nabc",
        "POST  / HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /a b HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/3.1\r\nHost: x\r\n\r\n",
        // No host, two, or one that is not.
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x/../y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\"b\r\n\r\n",
        // Not for a reverse proxy.
        "CONNECT shop.example:443 HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n",
    ] {
        let code = status(&raw(&gate, request).await);
        assert!(matches!(code, 400 | 405), "{code} for {request:?}");
        assert!(seen.lock().unwrap().is_empty(), "{request:?} reached the replica");
    }
}

#[tokio::test]
async fn a_request_with_two_framings_passes_with_one_and_is_the_last() {
    let (address, seen) = recorder().await;
    let gate = gate(options(), &[("a", address)]);
    for order in
        ["Content-Length: 3\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 3"]
    {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: x\r\n{order}\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
        );
        let response = raw(&gate, request).await;
        assert!(matches!(status(&response), 200 | 400), "{response}");
        assert_eq!(response.matches("HTTP/1.1 ").count(), 1, "the connection ends after it: {response}");
        let seen = String::from_utf8(std::mem::take(&mut *seen.lock().unwrap())).unwrap();
        assert!(!seen.contains("content-length") && !seen.contains("/smuggled"), "{seen}");
        assert!(seen.ends_with("\r\n\r\n0\r\n\r\n"), "{seen}");
    }
}

#[tokio::test]
async fn chunk_extensions_and_trailers_do_not_pass() {
    let (address, seen) = recorder().await;
    let gate = gate(options(), &[("a", address)]);
    let request = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTrailer: host\r\nTransfer-Encoding: chunked\r\n\r\n\
        3;x=y\r\nabc\r\n0\r\nHost: evil\r\n\r\n";
    assert_eq!(status(&raw(&gate, request).await), 200);
    let seen = String::from_utf8(seen.lock().unwrap().clone()).unwrap();
    assert!(seen.ends_with("\r\n\r\n3\r\nabc\r\n0\r\n\r\n") && !seen.contains("evil"), "{seen}");
}

#[tokio::test]
async fn what_a_replica_sends_beyond_its_answer_is_no_ones() {
    let address = scripted(|mut stream, number| async move {
        read_head(&mut stream).await;
        let extra = if number == 0 { "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned" } else { "" };
        let _ = stream
            .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok{extra}").as_bytes())
            .await;
        let _ = stream.read(&mut [0]).await;
    })
    .await;
    let gate = gate(options(), &[("a", address)]);
    let mut client = Client::connect(gate.local_addr()).await;
    assert_eq!(client.get("/").await.unwrap(), (200, "ok".into()));
    assert_eq!(client.get("/").await.unwrap(), (200, "ok".into()));
}
