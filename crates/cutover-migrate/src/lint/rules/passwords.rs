//! Secrets in a migration's text: they are in git, in every image and in the server's log from then on.

use super::{Check, Rule};
use crate::{
    lint::{
        Sink,
        rule::{EVERY, Family, Severity},
        script::Script,
    },
    sql::{Word, Words},
};

pub(super) static PASSWORD: Rule = Rule {
    name: "password-in-migration",
    family: Family::Secrets,
    databases: EVERY,
    severity: Severity::Blocks,
    by_size: false,
    problem: "A statement sets the password of a user, a role, a server mapping or a subscription. The password (or its \
              hash, which can be searched) is in git and in every copy of the folder.",
    locks: "Nothing.",
    next: "make the role without a password, set that outside the folder, and change the one that was written here",
    safe: "CREATE ROLE reports LOGIN;\n-- by an operator, from the secret store:  \\password reports",
    check: Check::Own(password),
};

fn password(script: &Script<'_>, sink: &mut Sink<'_>) {
    for statement in &script.statements {
        let words = statement.words();
        let about = match words.first() {
            Some("CREATE" | "ALTER") => words
                .0
                .iter()
                .take(6)
                .any(|word| is_one_of(word, &["USER", "ROLE", "GROUP", "SERVER", "SUBSCRIPTION"])),
            Some("GRANT" | "SET") => true,
            _ => false,
        };
        if about && gives_password(words) {
            sink.find(statement.start, None, "it writes a password into the migration");
        }
    }
}

fn is_one_of(word: &Word, wanted: &[&str]) -> bool {
    matches!(word, Word::Plain(word) if wanted.contains(&word.as_str()))
}

/// A text that is not empty soon after `PASSWORD`, or after `IDENTIFIED … BY|AS`.
fn gives_password(words: Words<'_>) -> bool {
    let after = |at: usize, most: usize| {
        words.0[at + 1..].iter().take(most).find_map(|word| match word {
            Word::Literal(text) => Some(text.len() > 2),
            Word::Plain(word) if ["NULL", "RANDOM", "EXPIRE", "REQUIRE"].contains(&word.as_str()) => {
                Some(false)
            }
            _ => None,
        })
    };
    words.0.iter().enumerate().any(|(at, word)| match word {
        Word::Plain(word) if word == "PASSWORD" => after(at, 7) == Some(true),
        Word::Plain(word) if word == "IDENTIFIED" => after(at, 5) == Some(true),
        Word::Quoted(word) if word.eq_ignore_ascii_case("password") => after(at, 1) == Some(true),
        // CREATE SUBSCRIPTION … CONNECTION 'host=… password=…'
        Word::Literal(text) => text.to_ascii_lowercase().contains("password="),
        _ => false,
    })
}

pub(super) static SECRET: Rule = Rule {
    name: "secret-in-migration",
    family: Family::Secrets,
    databases: EVERY,
    severity: Severity::Blocks,
    by_size: false,
    problem: "The text, perhaps a comment, holds a URL with a password, a private key, or a token in the shape that a known \
              provider gives out.",
    locks: "Nothing.",
    next: "take it out, revoke it where it was given out, and read the value from the service's environment instead",
    safe: "",
    check: Check::Own(secret),
};

/// Beginnings of tokens, and how many letters and digits follow at least.
const TOKENS: [(&str, usize); 10] = [
    ("AKIA", 16),
    ("ASIA", 16),
    ("ghp_", 30),
    ("github_pat_", 30),
    ("glpat-", 18),
    ("sk_live_", 16),
    ("rk_live_", 16),
    ("xoxb-", 20),
    ("AIza", 30),
    ("npm_", 30),
];

fn secret(script: &Script<'_>, sink: &mut Sink<'_>) {
    let text = &script.migration.sql;
    for (at, _) in text.match_indices("://") {
        if has_password(&text[at + 3..]) {
            sink.find(at, None, "a URL with a password");
        }
    }
    for (at, _) in text.match_indices("-----BEGIN ") {
        if text[at..].chars().take(40).collect::<String>().contains("PRIVATE KEY") {
            sink.find(at, None, "a private key");
        }
    }
    for (prefix, least) in TOKENS {
        for (at, _) in text.match_indices(prefix) {
            let inside = text[..at].chars().next_back().is_some_and(|c| c.is_ascii_alphanumeric());
            let rest = text[at + prefix.len()..].bytes();
            let long = rest.take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')).count();
            if !inside && long >= least {
                sink.find(at, None, "what looks like a provider's token");
            }
        }
    }
}

/// `user:password@` before the host; `user:$VARIABLE@` and `user:***@` are no passwords.
fn has_password(rest: &str) -> bool {
    let end = rest.find(|c: char| c.is_whitespace() || "/?#'\"`<>".contains(c)).unwrap_or(rest.len());
    let Some((user, _)) = rest[..end].rsplit_once('@') else { return false };
    let Some((_, password)) = user.split_once(':') else { return false };
    !password.is_empty()
        && !password.starts_with(['$', '{', '%', ':', '['])
        && !password.chars().all(|c| c == '*' || c == 'x')
}

#[cfg(test)]
mod tests {
    use crate::{
        Dialect::{Mysql, Postgres, Sqlite},
        lint::{Sizes, found_in, lint_text},
    };

    #[test]
    fn passwords_are_found() {
        for sql in [
            "CREATE ROLE a LOGIN PASSWORD 'hunter2';",
            "ALTER USER a WITH ENCRYPTED PASSWORD 'md5abcdef';",
            "CREATE USER MAPPING FOR a SERVER b OPTIONS (user 'x', password 'hunter2');",
            "CREATE SUBSCRIPTION s CONNECTION 'host=db password=hunter2' PUBLICATION p;",
        ] {
            assert!(found_in(sql, Postgres).contains(&"password-in-migration"), "{sql}");
        }
        for sql in [
            "CREATE USER 'a'@'%' IDENTIFIED BY 'hunter2';",
            "ALTER USER a IDENTIFIED WITH caching_sha2_password BY 'hunter2';",
            "SET PASSWORD FOR a = 'hunter2';",
        ] {
            assert!(found_in(sql, Mysql).contains(&"password-in-migration"), "{sql}");
        }
    }

    #[test]
    fn no_password_is_none() {
        for sql in ["CREATE ROLE a LOGIN;", "ALTER ROLE a PASSWORD NULL;", "CREATE TABLE u (password text);"]
        {
            assert!(!found_in(sql, Postgres).contains(&"password-in-migration"), "{sql}");
        }
        assert!(
            !found_in("CREATE USER a IDENTIFIED BY RANDOM PASSWORD;", Mysql)
                .contains(&"password-in-migration")
        );
    }

    #[test]
    fn secrets_are_found_and_not_shown() {
        let secrets = [
            format!("-- see postgres://a:{}@db/x\nSELECT 1;", "hunter2"),
            format!("SELECT '-----BEGIN RSA {} KEY-----';", "PRIVATE"),
            format!("SELECT '{}{}';", "AK", "IAABCDEFGHIJKLMNOP"),
        ];
        for sql in secrets {
            let findings = lint_text(&sql, Sqlite, &Sizes::default());
            assert_eq!(findings.iter().map(|f| f.rule).collect::<Vec<_>>(), ["secret-in-migration"], "{sql}");
            assert!(findings.iter().all(|f| !f.message.contains("hunter2") && !f.next.contains("hunter2")));
        }
        for sql in ["-- https://example.org/a:b@c\nSELECT 1;", "-- postgres://a:$PASSWORD@db/x\nSELECT 1;"] {
            assert!(found_in(sql, Sqlite).is_empty(), "{sql}");
        }
    }
}
