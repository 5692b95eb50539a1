//! What a request asks for, by its head alone: which host, how its body is framed, whether it wants an upgrade.

use hyper::{HeaderMap, Uri, Version, body::Body, header, http::request::Parts};

use crate::{
    answer::Refusal,
    headers::{self, BodyFraming},
};

/// The request's host: of the target when it is absolute (RFC 9112, section 3.2.2), else of `Host`; may be empty.
pub(crate) fn host_of<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> &'a str {
    if let Some(authority) = uri.authority() {
        let authority = authority.as_str();
        return authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    }
    headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("")
}

/// RFC 9112, section 3.2: a 1.1 request has exactly one `Host`, no request has two or a malformed one.
pub(crate) fn one_host(parts: &Parts) -> Result<(), Refusal> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let first = hosts.next();
    let plain = |byte: &u8| byte.is_ascii_graphic() && !b"/\\?#@\"<>".contains(byte);
    let valid = first.is_none_or(|host| host.as_bytes().iter().all(plain));
    let missing = first.is_none() && parts.version == Version::HTTP_11;
    if missing || !valid || hosts.next().is_some() { Err(Refusal::BadRequest) } else { Ok(()) }
}

/// How the body goes on: a length that the client gave is kept, 0 included.
pub(crate) fn framing_of(headers: &HeaderMap, body: &impl Body) -> BodyFraming {
    match body.size_hint().exact() {
        Some(0) if !headers.contains_key(header::CONTENT_LENGTH) => BodyFraming::None,
        Some(length) => BodyFraming::Length(length),
        None => BodyFraming::Chunked,
    }
}

/// Whether it asks for another protocol in a way that is passed on: both headers, HTTP/1.1, no body.
pub(crate) fn wants_upgrade(parts: &Parts, framing: BodyFraming) -> bool {
    parts.version == Version::HTTP_11
        && framing == BodyFraming::None
        && parts.headers.contains_key(header::UPGRADE)
        && headers::connection_has(&parts.headers, "upgrade")
}
