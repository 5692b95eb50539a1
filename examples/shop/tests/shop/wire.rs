//! HTTP and WebSocket spoken by hand, so that a test decides what is on the wire and when.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
};

use crate::PATIENCE;

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn new(status: u16, body: &str) -> Self {
        Self { status, body: body.into() }
    }
}

pub(crate) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Sends a head with these further lines and leaves the connection open for more.
pub(crate) fn ask(address: SocketAddr, method: &str, path: &str, lines: &str) -> TcpStream {
    let mut stream = connect(address).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{lines}\r\n")
        .unwrap();
    stream
}

pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    read_answer(&mut ask(address, "GET", path, ""))
}

pub(crate) fn post(address: SocketAddr, path: &str, json: &str) -> Answer {
    let lines = format!("content-type: application/json\r\ncontent-length: {}\r\n", json.len());
    let mut stream = ask(address, "POST", path, &lines);
    stream.write_all(json.as_bytes()).unwrap();
    read_answer(&mut stream)
}

pub(crate) fn read_rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Of an answer with a length; the connection closes after it.
pub(crate) fn read_answer(stream: &mut TcpStream) -> Answer {
    let text = read_rest(stream);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
    Answer { status, body: body.into() }
}

/// Reads byte by byte, so that nothing after `end` is taken.
pub(crate) fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end.as_bytes()) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap_or_else(|error| {
            panic!("{error} before {end:?}: {:?}", String::from_utf8_lossy(&bytes));
        });
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).unwrap()
}

/// The example handshake of RFC 6455, section 1.3, with the answer that it gives.
pub(crate) fn open_websocket(address: SocketAddr) -> TcpStream {
    let mut stream = connect(address).unwrap();
    write!(
        stream,
        "GET /ws HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .unwrap();
    let head = read_until(&mut stream, "\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    stream
}

/// Sends a text of at most 125 bytes and returns the one that comes back.
pub(crate) fn echo(stream: &mut TcpStream, text: &str) -> String {
    let length = u8::try_from(text.len()).unwrap();
    // FIN and text; masked with a key of zeros, which leaves the text as it is.
    stream.write_all(&[&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat()).unwrap();
    let (kind, payload) = read_frame(stream);
    assert_eq!(kind, 0x81);
    String::from_utf8(payload).unwrap()
}

/// Reads to the end of a connection that somebody has ended; false where there is no end within our patience.
pub(crate) fn is_over(stream: &mut TcpStream) -> bool {
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => true,
        Err(error) => matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe),
    }
}

/// The code of the close frame that comes next.
pub(crate) fn read_close(stream: &mut TcpStream) -> u16 {
    let (kind, payload) = read_frame(stream);
    assert_eq!(kind, 0x88);
    u16::from_be_bytes([payload[0], payload[1]])
}

fn read_frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    assert!(head[1] < 126, "a short frame without a mask");
    let mut payload = vec![0; usize::from(head[1])];
    stream.read_exact(&mut payload).unwrap();
    (head[0], payload)
}
