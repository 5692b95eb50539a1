//! Takes secrets out of text on its way out: replica output, error messages of drivers, children's output.
//!
//! Two nets, since neither is enough alone: the exact values that Cutover itself resolved (also as they look inside a
//! URL), and shapes that give a secret away whoever wrote it (`scheme://user:password@`, `password=…`).

use secrecy::{ExposeSecret, SecretString};

/// What stands where a secret stood.
pub const MASK: &str = "[redacted]";

/// Values shorter than this are not masked by value: they would tear ordinary words apart.
const SHORTEST: usize = 6;

/// Keys whose value is masked in `key=value` and `key: value`, in any case and with any prefix.
const KEYS: [&str; 7] = ["password", "passwd", "secret", "token", "api_key", "apikey", "pwd"];

/// Knows the secrets of one place and masks them in text.
#[derive(Default, Clone)]
pub struct Redactor {
    /// Longest first, so that a secret that contains another is masked whole.
    values: Vec<SecretString>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} values)", self.values.len())
    }
}

impl Redactor {
    /// Masks these values, the password within any that is a URL, and the shapes every redactor knows.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a SecretString>) -> Self {
        let mut values: Vec<String> = Vec::new();
        for secret in secrets {
            let text = secret.expose_secret();
            values.push(text.to_owned());
            values.extend(text.lines().filter(|_| text.contains('\n')).map(str::to_owned));
            if let Some((_, password)) = text.split_once("://").and_then(|(_, rest)| user_and_password(rest))
            {
                values.push(password.to_owned());
                values.push(percent_decoded(password));
            }
        }
        values.retain(|value| value.len() >= SHORTEST);
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        values.dedup();
        Self { values: values.into_iter().map(SecretString::from).collect() }
    }

    /// The text without what this redactor knows. Text without secrets comes back as it is.
    pub fn redact(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for value in &self.values {
            if out.contains(value.expose_secret()) {
                out = out.replace(value.expose_secret(), MASK);
            }
        }
        mask_keys(&mask_urls(&out))
    }

    /// The length of the longest value known, in bytes: text cut into pieces must overlap by as much for no secret to slip
    /// through the cut. Zero where no values are known.
    pub fn longest(&self) -> usize {
        self.values.first().map_or(0, |value| value.expose_secret().len())
    }
}

/// User and password of the URL authority that `rest`, the text behind `://`, begins with.
fn user_and_password(rest: &str) -> Option<(&str, &str)> {
    let end = rest
        .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>'))
        .unwrap_or(rest.len());
    // A password may hold `/`, `?` or `#` unescaped, so the last `@` decides, not the first slash.
    let authority = &rest[..rest[..end].rfind('@')?];
    authority.split_once(':').filter(|(_, password)| !password.is_empty())
}

fn mask_urls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (head, tail) = rest.split_at(at + 3);
        out.push_str(head);
        rest = tail;
        if let Some((user, password)) = user_and_password(tail) {
            out.push_str(user);
            out.push(':');
            out.push_str(MASK);
            rest = &tail[user.len() + 1 + password.len()..];
        }
    }
    out.push_str(rest);
    out
}

fn mask_keys(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    let mut at = 0;
    while let Some((start, key)) = next_key(&lower, at) {
        at = start + key.len();
        let Some(value) = value_after(&lower, at) else { continue };
        if value.start < copied || text[value.clone()].starts_with(MASK) {
            continue;
        }
        out.push_str(&text[copied..value.start]);
        out.push_str(MASK);
        copied = value.end;
        at = value.end;
    }
    out.push_str(&text[copied..]);
    out
}

fn next_key(lower: &str, from: usize) -> Option<(usize, &'static str)> {
    KEYS.iter().filter_map(|key| lower[from..].find(key).map(|at| (from + at, *key))).min()
}

/// The range of the value in `=value`, `: value`, `="value"` or `": "value"` that follows a key at `at`.
fn value_after(text: &str, at: usize) -> Option<std::ops::Range<usize>> {
    let rest = &text[at..];
    let rest = rest.strip_prefix(['"', '\'']).unwrap_or(rest).trim_start_matches(' ');
    let rest = rest.strip_prefix(['=', ':'])?.trim_start_matches(' ');
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''));
    let rest = quote.map_or(rest, |_| &rest[1..]);
    let start = text.len() - rest.len();
    let end = match quote {
        Some(quote) => rest.find(quote),
        None => {
            rest.find(|c: char| c.is_whitespace() || matches!(c, '&' | ',' | ';' | ')' | '}' | '"' | '\''))
        }
    };
    let end = start + end.unwrap_or(rest.len());
    (end > start).then_some(start..end)
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn knowing(secrets: &[&str]) -> Redactor {
        let secrets: Vec<SecretString> = secrets.iter().map(|s| SecretString::from(*s)).collect();
        Redactor::new(&secrets)
    }

    #[test]
    fn masks_what_it_was_told_and_what_gives_itself_away() {
        let redactor = knowing(&["postgres://shop:hunt%65r-22@db/shop", "s3cr3t-token"]);
        for (text, shown) in [
            ("using s3cr3t-token now", "using [redacted] now"),
            ("hunt%65r-22 or hunter-22", "[redacted] or [redacted]"),
            ("mysql://a:b@h/d and http://x:y@z", "mysql://a:[redacted]@h/d and http://x:[redacted]@z"),
            ("postgres://u:p/w?d#x@h/d failed", "postgres://u:[redacted]@h/d failed"),
            ("host=db password=abc user=me", "host=db password=[redacted] user=me"),
            (r#"{"db_password": "a b"}"#, r#"{"db_password": "[redacted]"}"#),
            ("Token: abc, next", "Token: [redacted], next"),
            ("nothing to see at http://host:80/a@b", "nothing to see at http://host:[redacted]@b"),
            ("secretary of state", "secretary of state"),
        ] {
            assert_eq!(redactor.redact(text), shown);
        }
    }

    proptest! {
        #[test]
        fn no_known_value_survives(secret in "[ -~]{6,40}", before in "[ -~]{0,40}", after in "[ -~]{0,40}") {
            prop_assume!(!MASK.contains(&secret) && !secret.contains(MASK));
            let shown = knowing(&[&secret]).redact(&format!("{before}{secret}{after}"));
            prop_assert!(!shown.contains(&secret) || MASK.contains(&secret) || overlaps_mask(&shown, &secret));
        }

        #[test]
        fn masking_twice_changes_nothing_and_never_panics(text in "\\PC{0,200}") {
            let redactor = knowing(&[]);
            let once = redactor.redact(&text);
            prop_assert_eq!(redactor.redact(&once), once);
        }
    }

    /// A secret made of the mask's own letters can reappear only across a mask.
    fn overlaps_mask(shown: &str, secret: &str) -> bool {
        !shown.split(MASK).any(|piece| piece.contains(secret))
    }
}
