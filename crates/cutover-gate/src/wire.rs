//! Reading a replica's response: the head (by `httparse`, which hyper uses too) and the body's framing.
//!
//! No input or output here: bytes in, values out, at any split. hyper's own client is not used because it cannot say
//! whether a byte of the request was sent (which the rules in [`crate::retry`] turn on), and because its connection,
//! which is a task of its own, costs wakeups and channels that made the gate slower than it may be.

use bytes::{Buf, Bytes};
use hyper::{
    HeaderMap, StatusCode,
    header::{self, HeaderName, HeaderValue},
};

use crate::headers::ResponseFilter;

/// Longest response head read.
pub(crate) const HEAD_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 128;
const CHUNK_LINE_MAX: u32 = 4096;
const TRAILERS_MAX: u32 = 16 * 1024;

/// The replica's response breaks HTTP/1.1 in a way that must not be passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("its head is not HTTP/1: {0}")]
    Head(#[from] httparse::Error),
    #[error("its head is longer than {HEAD_MAX} bytes")]
    TooLong,
    #[error("a header is not valid")]
    Header,
    #[error("its Content-Length is not one number")]
    Length,
    #[error("its Transfer-Encoding is not `chunked`")]
    Encoding,
    #[error("a chunk's framing is wrong")]
    Chunk,
}

/// A response head; its headers were put where the caller said.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    /// How the body is framed, before what the request's method says of it.
    pub(crate) body: Decoder,
    /// Whether the connection may be used again after the body.
    pub(crate) keep_alive: bool,
    /// What followed the head.
    pub(crate) rest: Bytes,
}

/// Finds the end of a head; `None` = more is needed. Errors as soon as it is certain.
pub(crate) fn is_complete(bytes: &[u8]) -> Result<bool, Malformed> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    match httparse::Response::new(&mut headers).parse(bytes)? {
        httparse::Status::Complete(_) => Ok(true),
        httparse::Status::Partial if bytes.len() >= HEAD_MAX => Err(Malformed::TooLong),
        httparse::Status::Partial => Ok(false),
    }
}

/// Parses a head that [`is_complete`], replacing the content of `into` with the headers that pass to the client.
pub(crate) fn read_head(bytes: &Bytes, into: &mut HeaderMap) -> Result<Option<Head>, Malformed> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = response.parse(bytes)? else {
        return if bytes.len() >= HEAD_MAX { Err(Malformed::TooLong) } else { Ok(None) };
    };
    let status = StatusCode::from_u16(response.code.unwrap_or(0)).map_err(|_| Malformed::Header)?;
    let connection = |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case("connection");
    let connection = || response.headers.iter().filter(connection).map(|header| header.value);
    let filter = ResponseFilter::new(connection(), status == StatusCode::SWITCHING_PROTOCOLS);
    into.clear();
    let mut framing = Framing::default();
    for raw in response.headers.iter() {
        let name = HeaderName::from_bytes(raw.name.as_bytes()).map_err(|_| Malformed::Header)?;
        let length_repeats = framing.note(&name, raw.value)?;
        if filter.passes(name.as_str()) && !length_repeats {
            let value =
                HeaderValue::from_maybe_shared(bytes.slice_ref(raw.value)).map_err(|_| Malformed::Header)?;
            into.append(name, value);
        }
    }
    if framing.chunked {
        into.remove(header::CONTENT_LENGTH);
    }
    let tokens = || connection().flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let has = |token: &[u8]| tokens().any(|own| own.eq_ignore_ascii_case(token));
    let persistent = if response.version == Some(1) { !has(b"close") } else { has(b"keep-alive") };
    // Both framings at once: the chunks count (RFC 9112, section 6.3), and nothing after them is trusted.
    let ambiguous = framing.chunked && framing.length.is_some();
    let body = framing.decoder(status);
    let keep_alive = persistent && !ambiguous && !matches!(body, Decoder::UntilClose);
    Ok(Some(Head { status, body, keep_alive, rest: bytes.slice(length..) }))
}

#[derive(Default)]
struct Framing {
    length: Option<u64>,
    chunked: bool,
}

impl Framing {
    /// Whether the header repeats a length already noted.
    fn note(&mut self, name: &HeaderName, value: &[u8]) -> Result<bool, Malformed> {
        if name == header::TRANSFER_ENCODING {
            if self.chunked || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Err(Malformed::Encoding);
            }
            self.chunked = true;
        } else if name == header::CONTENT_LENGTH {
            let digits =
                std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
            let length = digits.and_then(|text| text.parse().ok()).ok_or(Malformed::Length)?;
            if self.length.is_some_and(|before| before != length) {
                return Err(Malformed::Length);
            }
            return Ok(self.length.replace(length).is_some());
        }
        Ok(false)
    }

    fn decoder(&self, status: StatusCode) -> Decoder {
        match *self {
            _ if matches!(status.as_u16(), 100..200 | 204 | 304) => Decoder::Length(0),
            Self { chunked: true, .. } => Decoder::Chunked(Chunks::Size { value: 0, digits: 0 }),
            Self { length: Some(length), .. } => Decoder::Length(length),
            Self { length: None, .. } => Decoder::UntilClose,
        }
    }
}

/// Takes a body out of its framing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decoder {
    /// So many bytes are left.
    Length(u64),
    /// As chunks.
    Chunked(Chunks),
    /// Until the replica closes.
    UntilClose,
}

/// Where in the chunked coding (RFC 9112, section 7.1) the next byte is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Chunks {
    Size {
        value: u64,
        digits: u8,
    },
    Extension {
        value: u64,
        length: u32,
    },
    SizeLf {
        value: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    /// Trailer fields are dropped (RFC 9110, section 6.5.1, allows it); `line` = bytes in the present line.
    Trailer {
        total: u32,
        line: u32,
    },
    Done,
}

impl Decoder {
    /// Whether all of the body was taken.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunks::Done))
    }

    /// The bytes that are certain to come, if that is known.
    pub(crate) fn remaining(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            Self::Chunked(Chunks::Done) => Some(0),
            _ => None,
        }
    }

    /// Takes the next piece of the body from `input`; `None` = done, or more input is needed.
    pub(crate) fn take(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, Malformed> {
        match self {
            Self::Length(left) => Ok(split(input, left)),
            Self::UntilClose => Ok((!input.is_empty()).then(|| std::mem::take(input))),
            Self::Chunked(chunks) => loop {
                if let Chunks::Data { left } = chunks {
                    let piece = split(input, left);
                    if *left == 0 {
                        *chunks = Chunks::DataCr;
                    }
                    if piece.is_some() || input.is_empty() {
                        return Ok(piece);
                    }
                } else if *chunks == Chunks::Done || input.is_empty() {
                    return Ok(None);
                } else {
                    *chunks = chunks.after(input.get_u8())?;
                }
            },
        }
    }

    /// Goes past framing that needs no more input, so that the end is seen with the last piece.
    pub(crate) fn look_ahead(&mut self, input: &mut Bytes) -> Result<(), Malformed> {
        if let Self::Chunked(chunks) = self {
            while !matches!(chunks, Chunks::Data { .. } | Chunks::Done) && !input.is_empty() {
                *chunks = chunks.after(input.get_u8())?;
            }
        }
        Ok(())
    }
}

fn split(input: &mut Bytes, left: &mut u64) -> Option<Bytes> {
    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
    *left -= length as u64;
    (length > 0).then(|| input.split_to(length))
}

impl Chunks {
    fn after(&self, byte: u8) -> Result<Self, Malformed> {
        let sized =
            |value| if value == 0 { Self::Trailer { total: 0, line: 0 } } else { Self::Data { left: value } };
        Ok(match (*self).clone() {
            Self::Size { value, digits } => match (byte as char).to_digit(16) {
                Some(digit) if digits < 16 => {
                    Self::Size { value: value << 4 | u64::from(digit), digits: digits + 1 }
                }
                None if digits > 0 && byte == b'\r' => Self::SizeLf { value },
                None if digits > 0 && matches!(byte, b';' | b' ' | b'\t') => {
                    Self::Extension { value, length: 1 }
                }
                _ => return Err(Malformed::Chunk),
            },
            Self::Extension { value, .. } if byte == b'\r' => Self::SizeLf { value },
            Self::Extension { value, length } if byte != b'\n' && length < CHUNK_LINE_MAX => {
                Self::Extension { value, length: length + 1 }
            }
            Self::SizeLf { value } if byte == b'\n' => sized(value),
            Self::DataCr if byte == b'\r' => Self::DataLf,
            Self::DataLf if byte == b'\n' => Self::Size { value: 0, digits: 0 },
            Self::Trailer { line: 0, .. } if byte == b'\n' => Self::Done,
            Self::Trailer { total: TRAILERS_MAX.., .. } => return Err(Malformed::Chunk),
            Self::Trailer { total, .. } if byte == b'\n' => Self::Trailer { total: total + 1, line: 0 },
            Self::Trailer { total, line } if byte == b'\r' => Self::Trailer { total: total + 1, line },
            Self::Trailer { total, line } => Self::Trailer { total: total + 1, line: line + 1 },
            _ => return Err(Malformed::Chunk),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(text: &str) -> (Result<Option<Head>, Malformed>, HeaderMap) {
        let mut headers = HeaderMap::new();
        headers.insert("left-over", HeaderValue::from_static("from the request"));
        (read_head(&Bytes::copy_from_slice(text.as_bytes()), &mut headers), headers)
    }

    #[test]
    fn a_plain_response_is_read() {
        let (head, headers) =
            head("HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhel");
        let head = head.unwrap().unwrap();
        assert_eq!((head.status, head.body, head.keep_alive), (StatusCode::OK, Decoder::Length(5), true));
        assert_eq!(head.rest, "hel");
        assert_eq!(headers.len(), 2);
    }

    #[test]
    fn ambiguous_framing_is_refused() {
        for (text, error) in [
            ("Content-Length: 5\r\nContent-Length: 6", Malformed::Length),
            ("Content-Length: +5", Malformed::Length),
            ("Content-Length: 5, 5", Malformed::Length),
            ("Content-Length: 99999999999999999999", Malformed::Length),
            ("Content-Length: ", Malformed::Length),
            ("Transfer-Encoding: gzip, chunked", Malformed::Encoding),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Malformed::Encoding),
        ] {
            assert_eq!(head(&format!("HTTP/1.1 200 OK\r\n{text}\r\n\r\n")).0.unwrap_err(), error, "{text}");
        }
        assert!(head("HTTP/1.1 200 OK\r\nA : b\r\n\r\n").0.is_err());
        assert!(head("SSH-2.0-OpenSSH\r\n").0.is_err());
        let (both, headers) =
            head("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n");
        let both = both.unwrap().unwrap();
        assert!(matches!(both.body, Decoder::Chunked(_)) && !both.keep_alive);
        assert!(headers.is_empty());
    }

    #[test]
    fn keep_alive_follows_version_and_connection() {
        for (text, keep) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nConnection: a, Close\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\ncontent-length: 0\r\nConnection: keep-alive\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\n\r\n", false),
            ("HTTP/1.1 304 Not Modified\r\ncontent-length: 10\r\n\r\n", true),
        ] {
            assert_eq!(head(text).0.unwrap().unwrap().keep_alive, keep, "{text}");
        }
    }

    #[test]
    fn an_endless_head_is_refused() {
        let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "a".repeat(HEAD_MAX));
        assert_eq!(is_complete(endless.as_bytes()), Err(Malformed::TooLong));
        assert_eq!(is_complete(b"HTTP/1.1 200 OK\r\nx: a"), Ok(false));
    }

    fn decode(text: &[u8], cuts: usize) -> Result<(Vec<u8>, bool, usize), Malformed> {
        let mut decoder = Decoder::Chunked(Chunks::Size { value: 0, digits: 0 });
        let (mut body, mut left) = (Vec::new(), 0);
        for piece in text.chunks(cuts) {
            let mut input = Bytes::copy_from_slice(piece);
            while let Some(data) = decoder.take(&mut input)? {
                body.extend_from_slice(&data);
            }
            decoder.look_ahead(&mut input)?;
            left += input.len();
        }
        Ok((body, decoder.is_done(), left))
    }

    #[test]
    fn broken_chunks_are_refused() {
        for text in [
            "\r\n",
            "g\r\n",
            "-1\r\n",
            "1\nx\r\n",
            "1\r\nxy",
            "1\r\nx\n0\r\n\r\n",
            "11111111111111111\r\n",
            " 1\r\nx",
            "0x1\r\nx",
        ] {
            assert!(decode(text.as_bytes(), 64).is_err(), "{text:?}");
        }
        let endless = format!("1;{}", "a".repeat(CHUNK_LINE_MAX as usize + 1));
        assert!(decode(endless.as_bytes(), 64).is_err());
        let endless = format!("0\r\n{}", "a: b\r\n".repeat(TRAILERS_MAX as usize));
        assert!(decode(endless.as_bytes(), 64).is_err());
    }

    proptest! {
        #[test]
        fn chunks_decode_at_any_split(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
            cuts in 1_usize..50,
            extension in "(;[a-z]{1,5})?",
            trailer in "([a-z]{1,4}: [a-z]{0,6}\r\n)?",
        ) {
            let mut text = Vec::new();
            for piece in &pieces {
                text.extend_from_slice(format!("{:X}{extension}\r\n", piece.len()).as_bytes());
                text.extend_from_slice(piece);
                text.extend_from_slice(b"\r\n");
            }
            let end = format!("0\r\n{trailer}\r\nNEXT");
            text.extend_from_slice(end.as_bytes());
            let (body, done, left) = decode(&text, cuts).unwrap();
            prop_assert!(done);
            prop_assert_eq!(left, 4);
            prop_assert_eq!(body, pieces.concat());
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), cuts in 1_usize..50) {
            let _ = decode(&bytes, cuts);
            let _ = read_head(&Bytes::from(bytes), &mut HeaderMap::new());
        }
    }
}
