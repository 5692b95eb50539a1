//! Tells a literal secret from a plain value, so that the configuration can refuse it.
//!
//! The rule errs on the side of asking: a name that says secret needs a reference whatever its value looks like, and a
//! URL with a password in it is refused under any name.

/// Words of a variable's name that say its value is a secret.
const SECRET_WORDS: [&str; 10] = [
    "PASSWORD",
    "PASSWD",
    "SECRET",
    "TOKEN",
    "CREDENTIAL",
    "CREDENTIALS",
    "APIKEY",
    "PASSPHRASE",
    "DSN",
    "PWD",
];

/// Word pairs that say the same.
const SECRET_PAIRS: [(&str, &str); 6] = [
    ("API", "KEY"),
    ("PRIVATE", "KEY"),
    ("ACCESS", "KEY"),
    ("SIGNING", "KEY"),
    ("ENCRYPTION", "KEY"),
    ("DATABASE", "URL"),
];

/// Why this literal can't stand in the file, or `None` where it may.
pub(super) fn literal_secret(name: &str, value: &str) -> Option<&'static str> {
    if url_password(value) {
        return Some("a URL with a password in it");
    }
    if value.contains("-----BEGIN ") && value.contains("PRIVATE KEY") {
        return Some("a private key");
    }
    let upper = name.to_ascii_uppercase();
    let words: Vec<&str> = upper.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let named = words.iter().any(|word| SECRET_WORDS.contains(word))
        || words
            .windows(2)
            .any(|pair| SECRET_PAIRS.contains(&(pair[0], pair[1])) && !value.starts_with("sqlite:"));
    (named && !value.is_empty()).then_some("the value of a name that says secret")
}

/// `scheme://user:password@host`.
fn url_password(value: &str) -> bool {
    let Some((_, rest)) = value.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    authority
        .rsplit_once('@')
        .is_some_and(|(user, _)| user.split_once(':').is_some_and(|(_, word)| !word.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_told_from_plain_values() {
        for (name, value) in [
            ("DATABASE_URL", "postgres://shop@db/shop"),
            ("UPSTREAM", "https://user:pass@example/"),
            ("SESSION_SECRET", "x"),
            ("stripe-api-key", "sk"),
            ("KEY", "-----BEGIN RSA PRIVATE KEY-----"),
        ] {
            assert!(literal_secret(name, value).is_some(), "{name}");
        }
        for (name, value) in [
            ("RUST_LOG", "info"),
            ("UPSTREAM", "https://user@example/a:b@c"),
            ("DATABASE_URL", "sqlite:data/app.db"),
            ("KEYBOARD", "de"),
            ("SESSION_SECRET", ""),
        ] {
            assert!(literal_secret(name, value).is_none(), "{name}");
        }
    }
}
