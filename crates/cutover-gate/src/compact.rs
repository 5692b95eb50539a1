//! Takes a request's head out of hyper's read buffer.
//!
//! hyper parses a head without a copy: all of its values share the 8 KB that were read into. As long as one of them lives, hyper
//! needs another 8 KB to watch for the client's going away, and a request may wait for its replica for a long time. A head
//! is a few hundred bytes, so copying it once costs less than that second buffer, in time and in memory.

use bytes::{Bytes, BytesMut};
use hyper::{
    Request, Uri,
    header::HeaderValue,
    http::uri::{Parts, PathAndQuery},
};

/// The same request, none of it in the buffer that it was read into.
pub(crate) fn compact<Body>(mut request: Request<Body>) -> Request<Body> {
    let values: usize = request.headers().values().map(HeaderValue::len).sum();
    let mut copy = BytesMut::with_capacity(values);
    for value in request.headers_mut().values_mut() {
        copy.extend_from_slice(value.as_bytes());
        // What was a value stays one; `Err` can't be, and would leave the value as it is.
        if let Ok(copied) = HeaderValue::from_maybe_shared(copy.split().freeze()) {
            *value = copied;
        }
    }
    let copied = elsewhere(request.uri());
    *request.uri_mut() = copied;
    request
}

/// Nearly every request names a path alone; the other forms are as rare as they are short-lived, and keep their host where it is.
fn elsewhere(uri: &Uri) -> Uri {
    let mut parts: Parts = uri.clone().into_parts();
    let path = parts.path_and_query.as_ref().map(|path| Bytes::copy_from_slice(path.as_str().as_bytes()));
    if let Some(Ok(path)) = path.map(PathAndQuery::from_maybe_shared) {
        parts.path_and_query = Some(path);
    }
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_inside(part: &[u8], whole: &[u8]) -> bool {
        whole.as_ptr_range().contains(&part.as_ptr())
    }

    #[test]
    fn nothing_is_left_in_the_buffer_and_nothing_is_changed() {
        let buffer = Bytes::copy_from_slice("/orders/7?full=1 tea, \u{e4} https://shop/x".as_bytes());
        let value = |range| HeaderValue::from_maybe_shared(buffer.slice(range)).unwrap();
        let mut request = Request::new(());
        *request.uri_mut() = Uri::from_maybe_shared(buffer.slice(0..16)).unwrap();
        request.headers_mut().append("x-one", value(17..20));
        request.headers_mut().append("x-one", value(22..24));
        request.headers_mut().append("x-empty", value(24..24));
        let compacted = compact(request);
        assert_eq!(compacted.uri(), "/orders/7?full=1");
        let ones: Vec<&HeaderValue> = compacted.headers().get_all("x-one").iter().collect();
        assert_eq!(ones, ["tea".as_bytes(), "\u{e4}".as_bytes()]);
        assert_eq!(compacted.headers()["x-empty"], "");
        assert!(!compacted.headers().values().any(|value| is_inside(value.as_bytes(), &buffer)));
        assert!(!is_inside(compacted.uri().path().as_bytes(), &buffer));
        assert!(buffer.is_unique());
    }

    #[test]
    fn every_form_of_a_target_stays_as_it_is() {
        for target in ["*", "/", "/?", "https://shop:8443/x?y=1", "https://shop", "shop:443"] {
            let mut request = Request::new(());
            *request.uri_mut() = target.parse().unwrap();
            let before = request.uri().clone();
            assert_eq!(compact(request).into_parts().0.uri, before);
        }
    }
}
