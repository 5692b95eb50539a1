//! Which headers pass the gate, and which it writes itself.
//!
//! Dropped both ways (RFC 9110, section 7.6.1): `Connection` and every header it names, `Keep-Alive`,
//! `Proxy-Connection`, `TE`, `Trailer`, `Transfer-Encoding`, `Upgrade`. The body's framing is always the gate's own, so
//! what two parsers could read differently never passes. `Expect` is answered by the gate. `Host` always passes.
//!
//! Written for the replica: `X-Forwarded-For`, `-Proto`, `-Host`, `Forwarded` (RFC 7239) and `X-Request-Id`; a client's
//! own are replaced, or extended when the gate is told to trust them.

use std::{fmt::Write as _, net::IpAddr};

use hyper::{
    HeaderMap, Method, Uri,
    header::{self, HeaderName, HeaderValue},
};

/// Longest `X-Request-Id` that is kept.
const REQUEST_ID_MAX: usize = 128;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How the request's body goes to the replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyFraming {
    /// No body and no header about one.
    None,
    /// Exactly so many bytes.
    Length(u64),
    /// Of unknown length.
    Chunked,
}

/// What the gate knows of a request beside its headers.
#[derive(Debug)]
pub(crate) struct About<'a> {
    pub(crate) host: &'a str,
    pub(crate) peer: &'a Peer,
    pub(crate) framing: BodyFraming,
    pub(crate) upgrade: bool,
    pub(crate) trusted: bool,
    pub(crate) fresh_id: u128,
}

/// The client's address as the forwarding headers show it, formatted once for each connection.
#[derive(Debug)]
pub(crate) struct Peer {
    address: String,
    node: String,
}

impl Peer {
    pub(crate) fn new(address: IpAddr) -> Self {
        let address = address.to_canonical();
        let node = match address {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("\"[{v6}]\""), // RFC 7239, section 6
        };
        Self { address: address.to_string(), node }
    }
}

/// Names that a `Connection` header declares hop-by-hop.
struct Named<'a>(Vec<&'a str>);

impl<'a> Named<'a> {
    fn by(values: impl Iterator<Item = &'a [u8]>) -> Self {
        let texts = values.filter_map(|value| std::str::from_utf8(value).ok());
        let names = texts.flat_map(|text| text.split(',')).map(str::trim);
        // The usual ones name no header; without them the list needs no memory.
        let usual =
            |name: &&str| ["", "close", "keep-alive"].iter().any(|usual| name.eq_ignore_ascii_case(usual));
        Self(names.filter(|name| !usual(name)).collect())
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|named| named.eq_ignore_ascii_case(name))
    }
}

/// Whether `Connection` holds a token.
pub(crate) fn connection_has(headers: &HeaderMap, token: &str) -> bool {
    Named::by(headers.get_all(header::CONNECTION).iter().map(HeaderValue::as_bytes)).has(token)
}

fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection" | "keep-alive" | "proxy-connection" | "te" | "trailer" | "transfer-encoding" | "upgrade"
    )
}

fn is_written_by_gate(name: &str) -> bool {
    matches!(
        name,
        "host"
            | "content-length"
            | "expect"
            | "forwarded"
            | "x-forwarded-for"
            | "x-forwarded-proto"
            | "x-forwarded-host"
            | "x-request-id"
    )
}

/// Appends the request's head as the replica shall see it.
pub(crate) fn write_request(
    out: &mut Vec<u8>,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    about: &About<'_>,
) {
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(uri.path_and_query().map_or("/", |target| target.as_str()).as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    line(out, "host", about.host.as_bytes());
    let named = Named::by(headers.get_all(header::CONNECTION).iter().map(HeaderValue::as_bytes));
    for (name, value) in headers {
        let name = name.as_str();
        if !is_hop_by_hop(name) && !is_written_by_gate(name) && !named.has(name) {
            line(out, name, value.as_bytes());
        }
    }
    match about.framing {
        BodyFraming::None => {}
        BodyFraming::Length(length) => number(out, length),
        BodyFraming::Chunked => line(out, "transfer-encoding", b"chunked"),
    }
    if about.upgrade {
        line(out, "connection", b"upgrade");
        headers.get_all(header::UPGRADE).iter().for_each(|value| line(out, "upgrade", value.as_bytes()));
    }
    write_forwarding(out, headers, about);
    out.extend_from_slice(b"\r\n");
}

fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn number(out: &mut Vec<u8>, length: u64) {
    let mut text = Digits { bytes: [0; 48], length: 0 };
    // Twenty digits hold any u64.
    let _ = write!(text, "content-length: {length}\r\n");
    out.extend_from_slice(text.as_bytes());
}

/// A short text on the stack.
struct Digits {
    bytes: [u8; 48],
    length: usize,
}

impl Digits {
    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl std::fmt::Write for Digits {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

fn write_forwarding(out: &mut Vec<u8>, headers: &HeaderMap, about: &About<'_>) {
    let trusted = |name: HeaderName| headers.get_all(name).iter().filter(|_| about.trusted);
    out.extend_from_slice(b"x-forwarded-for: ");
    listed(out, trusted(X_FORWARDED_FOR));
    out.extend_from_slice(about.peer.address.as_bytes());
    out.extend_from_slice(b"\r\nforwarded: ");
    listed(out, trusted(header::FORWARDED));
    out.extend_from_slice(b"for=");
    out.extend_from_slice(about.peer.node.as_bytes());
    if is_plain_host(about.host) {
        out.extend_from_slice(b";host=\"");
        out.extend_from_slice(about.host.as_bytes());
        out.push(b'"');
    }
    out.extend_from_slice(b";proto=http\r\n");
    let proto = trusted(X_FORWARDED_PROTO).next();
    line(out, "x-forwarded-proto", proto.map_or(b"http".as_slice(), HeaderValue::as_bytes));
    let host = trusted(X_FORWARDED_HOST).next();
    line(out, "x-forwarded-host", host.map_or(about.host.as_bytes(), HeaderValue::as_bytes));
    out.extend_from_slice(b"x-request-id: ");
    match headers.get(X_REQUEST_ID).filter(|id| about.trusted && is_sane_id(id.as_bytes())) {
        Some(id) => out.extend_from_slice(id.as_bytes()),
        None => out.extend_from_slice(&hex(about.fresh_id)),
    }
    out.extend_from_slice(b"\r\n");
}

/// Earlier hops, each followed by a comma.
fn listed<'a>(out: &mut Vec<u8>, values: impl Iterator<Item = &'a HeaderValue>) {
    for value in values {
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b", ");
    }
}

/// What may stand between quotes in `Forwarded` without escapes.
fn is_plain_host(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
}

fn is_sane_id(id: &[u8]) -> bool {
    let sane = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
    (1..=REQUEST_ID_MAX).contains(&id.len()) && id.iter().all(sane)
}

fn hex(number: u128) -> [u8; 32] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    std::array::from_fn(|place| DIGITS[(number >> (124 - 4 * place)) as usize & 15])
}

/// Which of a response's headers pass: the names that its `Connection` header declares are collected first.
pub(crate) struct ResponseFilter<'a> {
    named: Named<'a>,
    upgrade: bool,
}

impl<'a> ResponseFilter<'a> {
    /// From the values of all its `Connection` headers. `upgrade`: the response is a 101, whose `Upgrade` passes.
    pub(crate) fn new(connection: impl Iterator<Item = &'a [u8]>, upgrade: bool) -> Self {
        Self { named: Named::by(connection), upgrade }
    }

    /// Whether a header passes to the client. The name is lower case.
    pub(crate) fn passes(&self, name: &str) -> bool {
        match name {
            "content-length" => true,
            "upgrade" => self.upgrade,
            _ => !is_hop_by_hop(name) && !self.named.has(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(headers: &[(&str, &str)], trusted: bool, upgrade: bool, framing: BodyFraming) -> String {
        let map =
            headers.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()));
        let peer = Peer::new("192.0.2.7".parse().unwrap());
        let about = About { host: "shop.example", peer: &peer, framing, upgrade, trusted, fresh_id: 0xab };
        let mut out = Vec::new();
        write_request(&mut out, &Method::POST, &Uri::from_static("/a?b=c"), &map.collect(), &about);
        String::from_utf8(out).unwrap()
    }

    const OWN: &str = "x-forwarded-for: 192.0.2.7\r\nforwarded: for=192.0.2.7;host=\"shop.example\";proto=http\r\n\
        x-forwarded-proto: http\r\nx-forwarded-host: shop.example\r\nx-request-id: 000000000000000000000000000000ab\r\n\r\n";

    #[test]
    fn hop_by_hop_headers_stop_here() {
        let headers = [
            ("host", "evil.example"),
            ("connection", "close, X-Secret"),
            ("connection", "host"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("upgrade", "h2c"),
            ("transfer-encoding", "chunked"),
            ("content-length", "9"),
            ("expect", "100-continue"),
            ("proxy-connection", "keep-alive"),
            ("accept", "a"),
            ("accept", "b"),
        ];
        let expected =
            format!("POST /a?b=c HTTP/1.1\r\nhost: shop.example\r\naccept: a\r\naccept: b\r\n{OWN}");
        assert_eq!(written(&headers, false, false, BodyFraming::None), expected);
    }

    #[test]
    fn framing_and_upgrade_are_the_gates_own() {
        let length = written(&[], false, false, BodyFraming::Length(u64::MAX));
        assert_eq!(length.matches("content-length: 18446744073709551615\r\n").count(), 1);
        assert!(
            written(&[], false, false, BodyFraming::Chunked).contains("\r\ntransfer-encoding: chunked\r\n")
        );
        let upgrade = [("connection", "Upgrade"), ("upgrade", "websocket")];
        assert!(
            written(&upgrade, false, true, BodyFraming::None)
                .contains("connection: upgrade\r\nupgrade: websocket\r\n")
        );
    }

    #[test]
    fn forwarding_headers_are_replaced_or_extended() {
        let claimed = [
            ("x-forwarded-for", "10.0.0.1"),
            ("forwarded", "for=10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "front.example"),
            ("x-request-id", "abc-1"),
        ];
        assert!(written(&claimed, false, false, BodyFraming::None).ends_with(OWN));
        let trusted = written(&claimed, true, false, BodyFraming::None);
        for line in [
            "x-forwarded-for: 10.0.0.1, 192.0.2.7\r\n",
            "forwarded: for=10.0.0.1, for=192.0.2.7;host=\"shop.example\";proto=http\r\n",
            "x-forwarded-proto: https\r\n",
            "x-forwarded-host: front.example\r\n",
            "x-request-id: abc-1\r\n",
        ] {
            assert!(trusted.contains(line), "{line} in {trusted}");
        }
        for odd in ["a b", "", "<script>", &"a".repeat(129)] {
            let replaced = written(&[("x-request-id", odd)], true, false, BodyFraming::None);
            assert!(replaced.ends_with("00ab\r\n\r\n"), "{replaced}");
        }
    }

    #[test]
    fn an_ipv6_client_is_quoted() {
        let peer = Peer::new("2001:db8::1".parse().unwrap());
        assert_eq!((peer.address.as_str(), peer.node.as_str()), ("2001:db8::1", "\"[2001:db8::1]\""));
        assert_eq!(Peer::new("::ffff:192.0.2.7".parse().unwrap()).address, "192.0.2.7");
    }

    #[test]
    fn a_response_cannot_hide_its_length() {
        let filter = ResponseFilter::new([b"content-length, X-Hop".as_slice()].into_iter(), false);
        assert!(filter.passes("content-length") && filter.passes("date"));
        assert!(
            !filter.passes("x-hop") && !filter.passes("transfer-encoding") && !filter.passes("connection")
        );
    }

    proptest! {
        #[test]
        fn exactly_one_framing_and_host_pass(
            headers in prop::collection::vec(
                (prop::sample::select(vec!["content-length", "transfer-encoding", "host", "x-a", "connection"]),
                 "[a-z0-9, -]{0,20}"), 0..12),
        ) {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let text = written(&headers, false, false, BodyFraming::Length(3));
            let count = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
            prop_assert_eq!((count("host: "), count("content-length: "), count("transfer-encoding")), (1, 1, 0));
            prop_assert_eq!(text.matches("\r\n\r\n").count(), 1);
        }
    }
}
