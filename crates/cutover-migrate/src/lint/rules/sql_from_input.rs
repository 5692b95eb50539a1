//! SQL that is not all in the file: markers that another program would fill in, and text that is run as SQL.

use super::{Check, Rule};
use crate::{
    dialect::Dialect,
    lint::{
        Sink,
        rule::{EVERY, Family, Severity},
        script::{Read, Script},
    },
    sql::{Kind, Token, Word, Words, tokens},
};

pub(super) static PLACEHOLDER: Rule = Rule {
    name: "placeholder-in-sql",
    family: Family::Secrets,
    databases: EVERY,
    severity: Severity::Blocks,
    by_size: false,
    problem: "A marker that a client or a template would fill in (psql's `:name`, `{{name}}`, `${name}`, `<%= %>`, \
              `$1`, `?`). A migration has no input: what was reviewed and checksummed would not be what runs.",
    locks: "Nothing.",
    next: "write the value out; what differs between environments belongs into the service's configuration",
    safe: "",
    check: Check::Own(placeholder),
};

fn placeholder(script: &Script<'_>, sink: &mut Sink<'_>) {
    for statement in &script.statements {
        let own_parameters = matches!(statement.words().first(), Some("PREPARE"))
            || statement.words().0.iter().take(5).any(
                |w| matches!(w, Word::Plain(w) if ["FUNCTION", "PROCEDURE", "TRIGGER"].contains(&w.as_str())),
            );
        let all: Vec<Token> = tokens(&statement.sql, script.syntax()).collect();
        let found = (0..all.len()).find(|at| {
            let marker = marker(&statement.sql, &all[*at..], script.dialect, all[..*at].last().copied());
            marker == Some(Marker::Template) || marker == Some(Marker::Parameter) && !own_parameters
        });
        if let Some(at) = found {
            sink.find(
                statement.start + all[at].start,
                None,
                "a marker that something else would have to fill in",
            );
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Marker {
    Template,
    /// A prepared statement's parameter: fine where the SQL prepares one.
    Parameter,
}

fn marker(sql: &str, here: &[Token], dialect: Dialect, before: Option<Token>) -> Option<Marker> {
    let token = here.first()?;
    let next = here.get(1).filter(|next| next.start == token.end);
    let next_is = |mark: u8| next.is_some_and(|next| next.is_mark(mark));
    let named = next.is_some_and(|next| matches!(next.kind, Kind::Word | Kind::Quoted | Kind::Literal));
    let apart =
        before.is_none_or(|before| before.end < token.start || before.is_mark(b'(') || before.is_mark(b','));
    match token.kind {
        Kind::Mark(b'{') if next_is(b'{') || next_is(b'%') => Some(Marker::Template),
        Kind::Mark(b'<') if next_is(b'%') => Some(Marker::Template),
        Kind::Mark(b'$' | b'#') if next_is(b'{') => Some(Marker::Template),
        Kind::Mark(b'$') if dialect == Dialect::Postgres && named => Some(Marker::Parameter),
        Kind::Mark(b'?') if dialect != Dialect::Postgres => Some(Marker::Parameter),
        Kind::Mark(b':') if named && apart && !within_brackets(sql, token.start) => Some(Marker::Template),
        Kind::Literal if in_text(token.text(sql)) => Some(Marker::Template),
        _ => None,
    }
}

/// `a[1 : b]` is a slice.
fn within_brackets(sql: &str, at: usize) -> bool {
    sql[..at].rfind('[') > sql[..at].rfind(']')
}

/// `{{name}}`, `${name}` or `<%= name %>` in a literal. `'{{1,2},{3,4}}'` is an array.
fn in_text(literal: &str) -> bool {
    let opens = [("{{", "}}"), ("${", "}"), ("<%", "%>")];
    opens.iter().any(|(open, close)| {
        literal.match_indices(open).any(|(at, _)| {
            let inside = literal[at + open.len()..].trim_start_matches(['=', ' ', '-']);
            let name =
                inside.find(|c: char| !c.is_alphanumeric() && !"_.".contains(c)).unwrap_or(inside.len());
            name > 0
                && inside.starts_with(char::is_alphabetic)
                && inside[name..].trim_start().starts_with(close)
        })
    })
}

pub(super) static CONCATENATED: Rule = Rule {
    name: "sql-from-text",
    family: Family::Secrets,
    databases: EVERY,
    severity: Severity::Warns,
    by_size: false,
    problem: "Text is put together and run as SQL without quoting what is put in. Where a row or an argument gets into that \
              text, whoever wrote the row writes the SQL.",
    locks: "Unknown: what runs is not in the file.",
    next: "quote names with `format('… %I …')` or `quote_ident`, give values by `USING`, or write the statement out",
    safe: "EXECUTE format('ALTER TABLE %I ADD COLUMN note text', table_name);\nEXECUTE 'UPDATE users SET name = $1 WHERE id = $2' USING new_name, user_id;",
    check: Check::Own(concatenated),
};

fn concatenated(script: &Script<'_>, sink: &mut Sink<'_>) {
    for statement in &script.statements {
        let joins = match script.dialect {
            Dialect::Postgres => bodies(statement, script).iter().any(|body| executes_joined_text(body)),
            Dialect::Mysql => prepares_joined_text(statement.words()),
            Dialect::Sqlite => false,
        };
        if joins {
            sink.find(statement.start, None, "text that is put together runs as SQL");
        }
    }
}

/// The dollar-quoted bodies of a statement as words.
fn bodies(statement: &Read, script: &Script<'_>) -> Vec<Vec<Word>> {
    let literals = statement.literals(script.syntax()).into_iter();
    let quoted = literals.filter(|(_, text)| text.starts_with('$'));
    quoted.map(|(_, text)| crate::sql::words(text.trim_matches('$'), script.syntax())).collect()
}

fn executes_joined_text(body: &[Word]) -> bool {
    body.split(|word| *word == Word::Mark(b';')).any(|statement| {
        let Some(at) = statement.iter().position(|word| *word == Word::Plain("EXECUTE".into())) else {
            return false;
        };
        let rest = Words(&statement[at + 1..]);
        let joined = rest.0.windows(2).any(|pair| pair == [Word::Mark(b'|'), Word::Mark(b'|')])
            || rest.any(&["CONCAT"]);
        let bare = rest.first() == Some("FORMAT")
            && rest.0.iter().any(|word| matches!(word, Word::Literal(text) if text.contains("%s")));
        (joined || bare) && !rest.any(&["QUOTE_IDENT", "QUOTE_LITERAL", "QUOTE_NULLABLE"])
    })
}

fn prepares_joined_text(words: Words<'_>) -> bool {
    let joined = words.any(&["CONCAT", "CONCAT_WS"]) && !words.any(&["QUOTE"]);
    joined
        && (words.any(&["PREPARE"])
            || words.first() == Some("SET") && words.0.get(1) == Some(&Word::Mark(b'@')))
}

#[cfg(test)]
mod tests {
    use crate::{
        Dialect::{Mysql, Postgres, Sqlite},
        lint::found_in,
    };

    #[test]
    fn markers_are_found() {
        for sql in [
            "INSERT INTO t (a) VALUES (:'name');",
            "INSERT INTO t (a) VALUES (:name);",
            "CREATE TABLE t (a int) TABLESPACE {{ space }};",
            "CREATE TABLE ${schema}.t (a int);",
            "INSERT INTO t (a) VALUES ('<%= name %>');",
            "INSERT INTO t (a) VALUES ($1);",
        ] {
            assert!(found_in(sql, Postgres).contains(&"placeholder-in-sql"), "{sql}");
        }
        assert_eq!(found_in("INSERT INTO t (a) VALUES (?);", Sqlite), ["placeholder-in-sql"]);
    }

    #[test]
    fn what_only_looks_like_a_marker_is_none() {
        for sql in [
            "INSERT INTO t (a) VALUES ('{{1,2},{3,4}}'::int[]);",
            "CREATE VIEW v AS SELECT a::text, b[1:2], b[x:y] FROM t WHERE c ? 'k';",
            "CREATE FUNCTION f(int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT $1; END;",
            "INSERT INTO t (a) VALUES ('12:30', 'http://x');",
        ] {
            assert!(!found_in(sql, Postgres).contains(&"placeholder-in-sql"), "{sql}");
        }
    }

    #[test]
    fn text_that_runs_is_found_unless_it_is_quoted() {
        let block = |inner: &str| format!("-- phase: expand\nDO $$ BEGIN {inner}; END $$;");
        for inner in ["EXECUTE 'DROP TABLE ' || name", "EXECUTE format('ALTER TABLE %s ADD a int', name)"] {
            assert_eq!(found_in(&block(inner), Postgres), ["sql-from-text"], "{inner}");
        }
        for inner in
            ["EXECUTE format('ALTER TABLE %I ADD a int', name)", "EXECUTE 'DROP TABLE ' || quote_ident(name)"]
        {
            assert!(found_in(&block(inner), Postgres).is_empty(), "{inner}");
        }
        let mysql = "-- phase: expand\nSET @s = CONCAT('DROP TABLE ', @t); PREPARE p FROM @s;";
        assert_eq!(found_in(mysql, Mysql), ["sql-from-text"]);
    }
}
