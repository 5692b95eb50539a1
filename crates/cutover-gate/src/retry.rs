//! When a failed attempt may be made again: only when the replica cannot have acted on the request, or when acting
//! twice does no harm.
//!
//! | what happened | any method | idempotent method |
//! |---|---|---|
//! | no connection (refused, unreachable, timed out) | again | again |
//! | kept connection found closed before a byte was written | again | again |
//! | connection ended after a byte was written, before a response | no | again |
//! | the request's body was already being read | no | no (its bytes are gone) |
//! | a response had begun, was not HTTP, or did not come in time | no | no |
//!
//! Idempotent is by RFC 9110, section 9.2.2.

use hyper::Method;

/// How an attempt ended without a response head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    /// At least one byte of the request may have reached the replica.
    pub(crate) sent: bool,
    /// The body was polled: what came out of it cannot be sent again.
    pub(crate) body_started: bool,
    /// The connection ended; `false` = a timeout after sending, a cut, or a response that is not HTTP.
    pub(crate) closed: bool,
}

/// Whether another attempt is safe.
pub(crate) fn is_safe(method: &Method, failure: Failure) -> bool {
    let harmless = !failure.sent || is_idempotent(method);
    failure.closed && harmless && !failure.body_started
}

/// RFC 9110, section 9.2.2; methods that are not known are not.
pub(crate) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_above_holds() {
        let unsent = Failure { sent: false, body_started: false, closed: true };
        let lost = Failure { sent: true, ..unsent };
        let custom = Method::from_bytes(b"REFUND").unwrap();
        for method in [Method::POST, Method::PATCH, custom] {
            assert!(is_safe(&method, unsent));
            assert!(!is_safe(&method, lost));
        }
        for method in [Method::GET, Method::PUT, Method::DELETE, Method::HEAD] {
            assert!(is_safe(&method, unsent));
            assert!(is_safe(&method, lost));
            assert!(!is_safe(&method, Failure { body_started: true, ..lost }));
            assert!(!is_safe(&method, Failure { closed: false, ..lost }));
        }
    }
}
