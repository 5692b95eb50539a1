//! Bodies pass as they come, and a side that does not take bytes stops the other.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    Response,
    body::{Body, Frame},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
};

use crate::actors::*;

const LARGE: usize = 50 << 20;
/// Far above what sockets and gate may hold, far below the whole.
const HELD: usize = 30 << 20;

/// Resolves when a count has stopped to rise.
async fn settled(count: &AtomicUsize) -> usize {
    let mut last = usize::MAX;
    while last != count.load(SeqCst) {
        last = count.load(SeqCst);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    last
}

fn byte_at(position: usize) -> u8 {
    (position % 251) as u8
}

#[tokio::test]
async fn an_upload_waits_for_its_replica() {
    let go = Arc::new(Semaphore::new(0));
    let wait = Arc::clone(&go);
    let replica = Replica::start(move |request| {
        let wait = Arc::clone(&wait);
        async move {
            let _go = wait.acquire().await.unwrap();
            let mut body = request.into_body();
            let mut position = 0;
            while let Some(frame) = body.frame().await {
                let data = frame.unwrap().into_data().unwrap();
                assert!(data.iter().enumerate().all(|(n, byte)| *byte == byte_at(position + n)));
                position += data.len();
            }
            text(position.to_string())
        }
    })
    .await;
    for framing in [format!("Content-Length: {LARGE}"), "Transfer-Encoding: chunked".to_owned()] {
        let gate = gate(options(), &[("a", replica.address)]);
        let (mut read, mut write) = TcpStream::connect(gate.local_addr()).await.unwrap().into_split();
        let sent = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&sent);
        let head = format!("POST / HTTP/1.1\r\nHost: x\r\n{framing}\r\nConnection: close\r\n\r\n");
        let chunked = framing.ends_with("chunked");
        tokio::spawn(async move {
            write.write_all(head.as_bytes()).await.unwrap();
            while count.load(SeqCst) < LARGE {
                let position = count.load(SeqCst);
                let piece: Vec<_> = (position..(position + 65_536).min(LARGE)).map(byte_at).collect();
                if chunked {
                    write.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await.unwrap();
                }
                write.write_all(&piece).await.unwrap();
                if chunked {
                    write.write_all(b"\r\n").await.unwrap();
                }
                count.fetch_add(piece.len(), SeqCst);
            }
            if chunked {
                write.write_all(b"0\r\n\r\n").await.unwrap();
            }
            std::future::pending::<()>().await;
        });
        let held = settled(&sent).await;
        assert!(held < HELD, "{held} bytes went in while the replica took none");
        go.add_permits(1);
        let mut response = String::new();
        soon(read.read_to_string(&mut response)).await.unwrap();
        assert_eq!((status(&response), body(&response)), (200, LARGE.to_string().as_str()));
        soon(go.acquire()).await.unwrap().forget();
    }
}

/// A body that counts what was taken of it.
struct Pieces {
    taken: Arc<AtomicUsize>,
    position: usize,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.position == LARGE {
            return Poll::Ready(None);
        }
        let end = (self.position + 65_536).min(LARGE);
        let piece: Vec<_> = (self.position..end).map(byte_at).collect();
        self.position = end;
        self.taken.store(end, SeqCst);
        Poll::Ready(Some(Ok(Frame::data(piece.into()))))
    }
}

#[tokio::test]
async fn a_download_waits_for_its_client() {
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&taken);
    let replica = Replica::start(move |request| {
        let body = Pieces { taken: Arc::clone(&counted), position: 0 }.boxed();
        async move {
            let mut response = Response::new(body);
            if request.uri().path() == "/known" {
                response.headers_mut().insert("content-length", LARGE.into());
            }
            response
        }
    })
    .await;
    let gate = gate(options(), &[("a", replica.address)]);
    for (path, version) in [("/known", "1.1"), ("/unknown", "1.0")] {
        let mut stream = TcpStream::connect(gate.local_addr()).await.unwrap();
        let request = format!("GET {path} HTTP/{version}\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        until(|| taken.load(SeqCst) > 0).await;
        let held = settled(&taken).await;
        assert!(held < HELD, "{held} bytes came in while the client took none");
        let mut response = Vec::new();
        soon(stream.read_to_end(&mut response)).await.unwrap();
        let body = response.len() - LARGE;
        assert!(response[..body].ends_with(b"\r\n\r\n"));
        assert!(response[body..].iter().enumerate().all(|(position, byte)| *byte == byte_at(position)));
        taken.store(0, SeqCst);
    }
}

#[tokio::test]
async fn pieces_pass_at_once_in_both_directions() {
    // Each piece is answered before the next is sent: a gate that held one back would stall.
    let address = scripted(|mut stream, _| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
        for _ in 0..20 {
            let mut piece = [0; 8];
            stream.read_exact(&mut piece).await.unwrap();
            assert_eq!(&piece, b"3\r\nabc\r\n");
            stream.write_all(b"3\r\nxyz\r\n").await.unwrap();
        }
        let mut end = [0; 5];
        stream.read_exact(&mut end).await.unwrap();
        stream.write_all(b"0\r\n\r\n").await.unwrap();
    })
    .await;
    let gate = gate(options(), &[("a", address)]);
    let mut stream = TcpStream::connect(gate.local_addr()).await.unwrap();
    let head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(status(&soon(read_head(&mut stream)).await), 200);
    for _ in 0..20 {
        stream.write_all(b"3\r\nabc\r\n").await.unwrap();
        let mut piece = [0; 8];
        soon(stream.read_exact(&mut piece)).await.unwrap();
        assert_eq!(&piece, b"3\r\nxyz\r\n");
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let mut end = [0; 5];
    soon(stream.read_exact(&mut end)).await.unwrap();
    assert_eq!(&end, b"0\r\n\r\n");
}

#[tokio::test]
async fn a_body_that_ends_too_early_is_not_passed_off_as_whole() {
    let address = scripted(|mut stream, _| async move {
        let head = read_head(&mut stream).await;
        let answer: &[u8] = if head.contains("/known") {
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"
        } else {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
        };
        stream.write_all(answer).await.unwrap();
    })
    .await;
    let gate = gate(options(), &[("a", address)]);
    let mut client = Client::connect(gate.local_addr()).await;
    client.get("/known").await.unwrap_err();
    let mut client = Client::connect(gate.local_addr()).await;
    client.get("/chunked").await.unwrap_err();
    let total = gate.measures().releases[&release(1)].total();
    assert_eq!((total.requests, total.errors, total.failed_forwards), (2, 2, 2));
}

#[tokio::test]
async fn an_answer_before_the_upload_is_over_reaches_the_client() {
    let address = scripted(|mut stream, _| async move {
        read_head(&mut stream).await;
        let answer = b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!";
        stream.write_all(answer).await.unwrap();
    })
    .await;
    let gate = gate(options(), &[("a", address)]);
    let (mut read, mut write) = TcpStream::connect(gate.local_addr()).await.unwrap().into_split();
    tokio::spawn(async move {
        let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {LARGE}\r\n\r\n");
        write.write_all(head.as_bytes()).await.unwrap();
        while write.write_all(&[0; 4096]).await.is_ok() {}
    });
    let mut response = Vec::new();
    let _ = soon(read.read_to_end(&mut response)).await;
    let response = String::from_utf8(response).unwrap();
    assert_eq!((status(&response), body(&response)), (413, "no!"));
}
