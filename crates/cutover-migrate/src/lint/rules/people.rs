//! Data copied from somewhere into a migration.

use super::{Check, Rule};
use crate::{
    lint::{
        Sink,
        rule::{EVERY, Family, Severity},
        script::{Script, in_first_parentheses},
    },
    sql::{Word, Words},
};

pub(super) static COPIED: Rule = Rule {
    name: "copied-data",
    family: Family::Secrets,
    databases: EVERY,
    severity: Severity::Blocks,
    by_size: false,
    problem: "Rows of what looks like people's data (columns called email, phone, password …, or several e-mail addresses \
              that are not examples) are written into the migration, or more rows than anyone types. A migration is in git \
              for ever and is run in every environment; people's data must be in neither.",
    locks: "Nothing.",
    next: "load data by a job of its own from where it is kept; for tests use a seed with invented rows",
    safe: "-- reference data that code needs may stay:\nINSERT INTO currencies (code) VALUES ('EUR'), ('USD');",
    check: Check::Own(copied),
};

/// Rows that a person may have typed as a fixture.
const TYPED_ROWS: usize = 2;
/// Rows that are a copy whatever is in them.
const COPY_ROWS: usize = 500;

/// Parts of the names of columns that are about people.
const PERSONAL: [&str; 22] = [
    "email",
    "e_mail",
    "phone",
    "mobile",
    "first_name",
    "last_name",
    "firstname",
    "lastname",
    "full_name",
    "surname",
    "birth",
    "ssn",
    "passport",
    "iban",
    "card_number",
    "password",
    "passwd",
    "street",
    "ip_address",
    "salary",
    "tax_id",
    "postcode",
];

fn copied(script: &Script<'_>, sink: &mut Sink<'_>) {
    for statement in &script.statements {
        let words = statement.words();
        if !matches!(words.first(), Some("INSERT" | "REPLACE")) {
            continue;
        }
        let rows = rows(words);
        let personal = columns(words).iter().any(|name| PERSONAL.iter().any(|part| name.contains(part)));
        let literals = statement.literals(script.syntax());
        let addresses = literals.iter().filter(|(_, text)| is_real_address(text)).count();
        let message = if rows > TYPED_ROWS && personal {
            format!("{rows} rows with a column that is about people")
        } else if addresses > TYPED_ROWS {
            format!("{addresses} e-mail addresses")
        } else if rows > COPY_ROWS {
            format!("{rows} rows in one statement look like a copy")
        } else {
            continue;
        };
        sink.find(statement.start, None, message);
    }
}

/// The column list before `VALUES`, in lower case.
fn columns(words: Words<'_>) -> Vec<String> {
    let head: &[Word] =
        words.0.split(|word| *word == Word::Plain("VALUES".into())).next().unwrap_or_default();
    in_first_parentheses(Words(head)).by_commas().into_iter().filter_map(|mut words| words.name()).collect()
}

/// How many rows stand behind `VALUES`.
fn rows(words: Words<'_>) -> usize {
    let values =
        words.0.iter().position(|word| matches!(word, Word::Plain(w) if w == "VALUES" || w == "VALUE"));
    let Some(values) = values else { return 0 };
    let tuples = Words(&words.0[values + 1..]).by_commas().into_iter();
    tuples.filter(|tuple| tuple.0.first() == Some(&Word::Mark(b'('))).count()
}

/// `'ann@firm.com'`, but no address under a name that is kept for examples (RFC 2606).
fn is_real_address(literal: &str) -> bool {
    let text = literal.trim_matches(['\'', '"']).to_ascii_lowercase();
    let Some((user, host)) = text.split_once('@') else { return false };
    let plain = |part: &str| part.chars().all(|c| c.is_ascii_alphanumeric() || ".-_+".contains(c));
    let example = ["example.com", "example.org", "example.net", ".test", ".example", ".invalid", "localhost"];
    !user.is_empty()
        && plain(user)
        && host.contains('.')
        && plain(host)
        && !example.iter().any(|e| host.ends_with(e))
}

#[cfg(test)]
mod tests {
    use crate::{Dialect::Sqlite, lint::found_in};

    #[test]
    fn people_are_found_and_reference_data_is_not() {
        let people = "INSERT INTO users (id, email) VALUES (1, 'a'), (2, 'b'), (3, 'c');";
        let addresses = "INSERT INTO u VALUES (1, 'ann@firm.com'), (2, 'bob@firm.com'), (3, 'cyd@firm.de');";
        for sql in [people, addresses] {
            assert_eq!(found_in(sql, Sqlite), ["copied-data"], "{sql}");
        }
        let rows: Vec<_> = (0..600).map(|n| format!("({n})")).collect();
        assert_eq!(
            found_in(&format!("INSERT INTO t (n) VALUES {};", rows.join(",")), Sqlite),
            ["copied-data"]
        );
        for sql in [
            "INSERT INTO currencies (code, name) VALUES ('EUR', 'Euro'), ('USD', 'Dollar'), ('CHF', 'Franc');",
            "INSERT INTO users (id, email) VALUES (1, 'root@example.org');",
            "INSERT INTO u VALUES ('a@example.com'), ('b@example.com'), ('c@example.com'), ('d@shop.test');",
        ] {
            assert!(found_in(sql, Sqlite).is_empty(), "{sql}");
        }
    }
}
