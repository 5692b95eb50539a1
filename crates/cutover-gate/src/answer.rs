//! The gate's own answers. They say nothing of what is behind it.

use bytes::Bytes;
use hyper::{
    HeaderMap, Response, StatusCode,
    header::{self, HeaderValue},
};

use crate::{
    body::{OutBody, Turn},
    worker::Mark,
};

/// Why the gate answers instead of a replica.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Not acceptable as HTTP: no single host.
    BadRequest,
    /// CONNECT.
    NotAllowed,
    /// No service for this host and path.
    NoService,
    /// The client stalled its upload.
    UploadLate,
    /// Longer than the limit.
    TooLong,
    /// The replica failed.
    BadGateway,
    /// No replica of the service is ready; without one, the gate has no table yet.
    Unavailable(Option<Mark>),
    /// The replica was too slow, or its time was over.
    TooSlow,
}

impl Refusal {
    /// How metrics name it.
    pub(crate) const NAMES: [&str; 8] = [
        "bad_request",
        "not_allowed",
        "no_service",
        "upload_late",
        "too_long",
        "bad_gateway",
        "unavailable",
        "too_slow",
    ];

    /// Its position in [`Refusal::NAMES`].
    pub(crate) fn number(&self) -> usize {
        match self {
            Self::BadRequest => 0,
            Self::NotAllowed => 1,
            Self::NoService => 2,
            Self::UploadLate => 3,
            Self::TooLong => 4,
            Self::BadGateway => 5,
            Self::Unavailable(_) => 6,
            Self::TooSlow => 7,
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::NotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoService => StatusCode::NOT_FOUND,
            Self::UploadLate => StatusCode::REQUEST_TIMEOUT,
            Self::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BadGateway => StatusCode::BAD_GATEWAY,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooSlow => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The response. To a HEAD it has the headers only, which hyper sees to.
    pub(crate) fn answer(&self, turn: Turn) -> Response<OutBody> {
        let status = self.status();
        let mut headers = HeaderMap::new();
        let mut page = (HeaderValue::from_static("text/plain; charset=utf-8"), Bytes::new());
        page.1 =
            Bytes::from(format!("{} {}\n", status.as_u16(), status.canonical_reason().unwrap_or_default()));
        if let Self::Unavailable(mark) = self {
            let service = mark.as_ref().map(Mark::service);
            let retry_after = service.map(|service| service.retry_after.clone());
            headers.insert(header::RETRY_AFTER, retry_after.unwrap_or(HeaderValue::from_static("1")));
            page = service.and_then(|service| service.page.clone()).unwrap_or(page);
        }
        headers.insert(header::CONTENT_TYPE, page.0);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if matches!(self, Self::BadRequest | Self::TooLong | Self::UploadLate) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let mut response = Response::new(OutBody::whole(page.1, None, turn));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}
