//! What passes the gate, and how it looks on the other side.

use cutover_gate::{Page, Service, Unavailable};
use hyper::Request;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::actors::*;

/// Gives back the request's head as the replica saw it, sorted.
async fn mirror() -> std::net::SocketAddr {
    scripted(|mut stream, _| async move {
        loop {
            let head = read_head(&mut stream).await;
            if head.is_empty() {
                return;
            }
            let mut lines: Vec<_> = head.trim_end().split("\r\n").collect();
            lines[1..].sort_unstable();
            let body = lines.join("\n");
            let answer = format!(
                "HTTP/1.1 203 Mirrored\r\nX-Own: 1\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: 9\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await
}

#[tokio::test]
async fn a_request_passes_with_the_gates_headers() {
    let gate = gate(options(), &[("a", mirror().await)]);
    let request = "GET /orders/7?x=%20y HTTP/1.1\r\nHost: Shop.Example:99\r\nAccept: */*\r\nX-Forwarded-For: 6.6.6.6\r\n\
        X-Request-Id: mine\r\nConnection: close, x-mine\r\nX-Mine: 1\r\n\r\n";
    let response = raw(&gate, request).await;
    assert_eq!(status(&response), 203);
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let head = head.to_ascii_lowercase();
    assert!(head.contains("x-own: 1") && head.contains("connection: close"), "{head}");
    assert!(!head.contains("x-hop") && !head.contains("keep-alive"), "{head}");
    let lines: Vec<_> = body.lines().collect();
    let expected = [
        "GET /orders/7?x=%20y HTTP/1.1",
        "accept: */*",
        "forwarded: for=127.0.0.1;host=\"Shop.Example:99\";proto=http",
        "host: Shop.Example:99",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-host: Shop.Example:99",
        "x-forwarded-proto: http",
    ];
    assert_eq!(lines[..expected.len()], expected);
    let id = lines[expected.len()].strip_prefix("x-request-id: ").unwrap();
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    assert_eq!(lines.len(), expected.len() + 1);
}

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    let replica = Replica::named("a").await;
    let gate = gate(options(), &[("a", replica.address)]);
    let mut client = Client::connect(gate.local_addr()).await;
    for _ in 0..50 {
        assert_eq!(client.get("/").await.unwrap(), (200, "a".into()));
    }
    assert_eq!((gate.connections(), replica.connections()), (1, 1));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let replica = Replica::start(|request| async move { text(request.uri().path().to_owned()) }).await;
    let gate = gate(options(), &[("a", replica.address)]);
    let mut requests: String = (0..9).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: x\r\n\r\n")).collect();
    requests.push_str(&simple("GET", "/9"));
    let response = raw(&gate, requests).await;
    let places: Vec<_> =
        (0..10).map(|n| response.find(&format!("\r\n\r\n/{n}")).expect("an answer")).collect();
    assert!(places.is_sorted(), "{response}");
}

#[tokio::test]
async fn an_old_client_gets_an_old_answer() {
    let address = scripted(|mut stream, _| async move {
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("GET / HTTP/1.1\r\nhost: \r\n"), "{head}");
        let answer =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nx: y\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        let _ = stream.read(&mut [0]).await;
    })
    .await;
    let gate = gate(options(), &[("a", address)]);
    let response = raw(&gate, "GET / HTTP/1.0\r\n\r\n").await;
    assert!(response.starts_with("HTTP/1.0 200 OK\r\n") && response.ends_with("\r\n\r\nabcde"), "{response}");
    assert!(!response.to_ascii_lowercase().contains("transfer-encoding"), "{response}");
}

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_in_order() {
    let address = scripted(|mut stream, _| async move {
        loop {
            let head = read_head(&mut stream).await;
            let answer = match head.split(' ').nth(1) {
                Some("/head") => "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
                Some("/chunked-head") => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                Some("/none") => "HTTP/1.1 204 No Content\r\n\r\n",
                Some("/same") => "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\nContent-Length: 1000\r\n\r\n",
                Some("/interim") => {
                    "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
                }
                Some("/end") => "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nend",
                _ => return,
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let gate = gate(options(), &[("a", address)]);
    let mut stream = TcpStream::connect(gate.local_addr()).await.unwrap();
    for (method, path, expected) in [
        ("HEAD", "/head", "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n"),
        ("HEAD", "/chunked-head", "HTTP/1.1 200 OK\r\n"),
        ("GET", "/none", "HTTP/1.1 204 No Content\r\n"),
        ("GET", "/same", "HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\n"),
        ("HEAD", "/none", "HTTP/1.1 204 No Content\r\n"),
        ("GET", "/interim", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n"),
        ("GET", "/end", "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n"),
    ] {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = soon(read_head(&mut stream)).await;
        assert!(head.starts_with(expected), "{method} {path}: {head}");
        let body = if path == "/interim" {
            "ok"
        } else if path == "/end" {
            "end"
        } else {
            ""
        };
        let mut read = vec![0; body.len()];
        soon(stream.read_exact(&mut read)).await.unwrap();
        assert_eq!(read, body.as_bytes());
    }
}

#[tokio::test]
async fn a_client_that_expects_continue_gets_it_before_its_body_is_read() {
    let replica = Replica::start(|request: Request<hyper::body::Incoming>| async move {
        assert!(!request.headers().contains_key("expect"));
        let body = http_body_util::BodyExt::collect(request.into_body()).await.unwrap().to_bytes();
        text(body)
    })
    .await;
    let gate = gate(options(), &[("a", replica.address)]);
    let mut stream = TcpStream::connect(gate.local_addr()).await.unwrap();
    let request = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    assert!(soon(read_head(&mut stream)).await.starts_with("HTTP/1.1 100 Continue\r\n"));
    stream.write_all(b"hello").await.unwrap();
    let mut rest = String::new();
    soon(stream.read_to_string(&mut rest)).await.unwrap();
    assert_eq!((status(&rest), body(&rest)), (200, "hello"));
}

#[tokio::test]
async fn a_head_in_small_pieces_is_read() {
    let address = scripted(|mut stream, _| async move {
        read_head(&mut stream).await;
        let many: String = (0..90).map(|n| format!("x-{n}: {}\r\n", "v".repeat(300))).collect();
        let answer = format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 4\r\n\r\nbody");
        for piece in answer.as_bytes().chunks(701) {
            stream.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
    })
    .await;
    let gate = gate(options(), &[("a", address)]);
    let response = raw(&gate, simple("GET", "/")).await;
    assert_eq!((status(&response), body(&response)), (200, "body"));
    assert_eq!(response.matches("\r\nx-").count(), 90);
}

#[tokio::test]
async fn host_and_prefix_choose_the_service() {
    let (shop, api) = (Replica::named("shop").await, Replica::named("api").await);
    let gate = gate(options(), &[]);
    let service = |name: &str, host: Option<&str>, prefix: &str, address| Service {
        name: name.into(),
        host: host.map(str::to_owned),
        path_prefix: prefix.into(),
        pools: vec![pool(1, 1.0, &[(name, address)])],
        routes: Vec::new(),
        unavailable: Unavailable::default(),
    };
    let mut routes = table(2, Vec::new());
    routes.services = vec![
        service("shop", Some("shop.example"), "/", shop.address),
        service("api", Some("shop.example"), "/api", api.address),
    ];
    gate.install(routes).unwrap();
    assert_eq!(get(&gate, "/").await, (200, "shop".into()));
    assert_eq!(get(&gate, "/api/x").await, (200, "api".into()));
    let absolute = "GET http://shop.example/api HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n";
    assert_eq!(body(&raw(&gate, absolute).await), "api");
    let other = "GET / HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&raw(&gate, other).await), 404);
}

#[tokio::test]
async fn a_connection_that_was_silent_for_long_goes_on() {
    let replica = Replica::start(|request| async move { text(request.uri().path().to_owned()) }).await;
    let gate = gate(options(), &[("a", replica.address)]);
    let mut stream = TcpStream::connect(gate.local_addr()).await.unwrap();
    let mut half = TcpStream::connect(gate.local_addr()).await.unwrap();
    let request = "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    // A part of the second request comes with the first: its bytes are with hyper when the connection falls silent.
    half.write_all(format!("{request}GET /2 HT").as_bytes()).await.unwrap();
    for stream in [&mut stream, &mut half] {
        assert_eq!(status(&soon(read_head(stream)).await), 200);
        soon(stream.read_exact(&mut [0; 2])).await.unwrap();
    }
    // Longer than the gate keeps buffers for (1 s, and up to two sweeps of 0.25 s).
    tokio::time::sleep(std::time::Duration::from_millis(1700)).await;
    half.write_all(b"TP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut rest = String::new();
    soon(half.read_to_string(&mut rest)).await.unwrap();
    assert_eq!((status(&rest), body(&rest)), (200, "/2"));
    for _ in 0..2 {
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = soon(read_head(&mut stream)).await;
        assert!(status(&head) == 200 && !head.contains("connection: close"), "{head}");
        soon(stream.read_exact(&mut [0; 2])).await.unwrap();
    }
}

#[tokio::test]
async fn a_gate_without_a_table_asks_for_patience() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gate = cutover_gate::Gate::start(listener, options()).unwrap();
    let response = raw(&gate, simple("GET", "/")).await;
    assert!(status(&response) == 503 && response.contains("retry-after: 1\r\n"), "{response}");
}

#[tokio::test]
async fn without_a_ready_replica_the_teams_page_is_shown() {
    let gate = gate(options(), &[]);
    let response = raw(&gate, simple("GET", "/")).await;
    assert_eq!(status(&response), 503);
    assert!(
        response.contains("retry-after: 5\r\n") && response.ends_with("503 Service Unavailable\n"),
        "{response}"
    );
    let mut routes = table(2, vec![pool(1, 0.0, &[("a", nowhere().await)])]);
    let page = Page { content_type: "text/html".into(), body: "<h1>Back soon</h1>".into() };
    routes.services[0].unavailable =
        Unavailable { retry_after: std::time::Duration::from_secs(7), page: Some(page) };
    gate.install(routes).unwrap();
    let response = raw(&gate, simple("GET", "/")).await;
    assert!(
        response.contains("retry-after: 7\r\n") && response.ends_with("<h1>Back soon</h1>"),
        "{response}"
    );
    assert!(response.contains("content-type: text/html\r\n"));
    let head = raw(&gate, simple("HEAD", "/")).await;
    assert!(status(&head) == 503 && body(&head).is_empty() && head.contains("content-length: 18"), "{head}");
}
