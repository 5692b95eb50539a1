//! Whether a pooler stands between is proved, not guessed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

#[tokio::test]
async fn a_pooler_in_transaction_mode_is_seen() {
    for (backend, pooled) in
        [(support::postgres(), false), (support::pgbouncer(), true), (support::mysql(), false)]
    {
        let Some(backend) = backend else { continue };
        assert_eq!(backend.connect().await.is_pooled(), pooled, "{}", backend.name);
    }
}
