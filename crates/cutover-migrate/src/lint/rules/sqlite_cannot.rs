//! SQLite: what it refuses, at once or only when the table has rows. Source: sqlite.org, `lang_altertable.html`.

use super::{Check, Rule};
use crate::{
    lint::{
        Sink,
        rule::{Family, SQLITE, Severity},
        script::Script,
    },
    sql::{Word, Words},
};

pub(super) static ALTER: Rule = Rule {
    name: "sqlite-cannot-alter",
    family: Family::Sqlite,
    databases: SQLITE,
    severity: Severity::Blocks,
    by_size: false,
    problem: "SQLite's ALTER TABLE knows RENAME, ADD COLUMN and DROP COLUMN, one at a time. It can't change a column's type, \
              default or NOT NULL, and can't add or drop a constraint.",
    locks: "Nothing: the migration fails and is taken back.",
    next: "make the table anew in a migration of its own (`cutover migrate lint --explain sqlite-rebuild-cascades` shows how)",
    safe: "",
    check: Check::Own(alter),
};

fn alter(script: &Script<'_>, sink: &mut Sink<'_>) {
    for statement in &script.statements {
        let Some((table, words)) = crate::lint::script::altered_table(statement) else { continue };
        let mut rest = words;
        let known = match words.first() {
            Some("RENAME") => true,
            Some("DROP") => {
                rest.eat(&["DROP"]) && !matches!(rest.first(), Some("CONSTRAINT" | "PRIMARY" | "INDEX"))
            }
            Some("ADD") => {
                rest.eat(&["ADD"])
                    && !matches!(
                        rest.first(),
                        Some("CONSTRAINT" | "PRIMARY" | "FOREIGN" | "UNIQUE" | "CHECK" | "INDEX")
                    )
            }
            _ => false,
        };
        if !known || words.by_commas().len() > 1 {
            sink.find(statement.start, Some(&table), format!("SQLite can't do this to `{table}`"));
        }
    }
}

pub(super) static COLUMN: Rule = Rule {
    name: "sqlite-cannot-add",
    family: Family::Sqlite,
    databases: SQLITE,
    severity: Severity::Blocks,
    by_size: false,
    problem: "SQLite adds no column that is UNIQUE, a PRIMARY KEY or STORED, and on a table with rows none whose default is an \
              expression or the current time; with foreign keys on, none that refers to a table and has a default. It works \
              on the empty database of a test and fails in production.",
    locks: "Nothing: the migration fails and is taken back.",
    next: "add the column plainly; then a unique index, or a backfill, does the rest",
    safe: "ALTER TABLE users ADD COLUMN created_at TEXT;\nUPDATE users SET created_at = datetime('now') WHERE created_at IS NULL;  -- its own migration\nCREATE UNIQUE INDEX users_email ON users (email);",
    check: Check::Own(column),
};

fn column(script: &Script<'_>, sink: &mut Sink<'_>) {
    for column in script.added_columns() {
        let words = column.words;
        let why = if words.any(&["UNIQUE"]) {
            "is UNIQUE"
        } else if words.any(&["PRIMARY"]) {
            "is a PRIMARY KEY"
        } else if words.any(&["STORED"]) {
            "is STORED"
        } else if computed_default(words) {
            "has a default that is computed"
        } else if words.any(&["REFERENCES"])
            && words.any(&["DEFAULT"])
            && !words.has_run(&["DEFAULT", "NULL"])
        {
            "refers to a table and has a default"
        } else {
            continue;
        };
        sink.find(column.at, Some(&column.table), format!("`{}` {why}", column.name));
    }
}

/// `DEFAULT CURRENT_TIMESTAMP` or `DEFAULT (expression)`; `DEFAULT (1)` is a constant too, but nobody has to write it so.
fn computed_default(words: Words<'_>) -> bool {
    words.0.windows(2).any(|pair| match pair {
        [Word::Plain(word), Word::Mark(b'(')] => word == "DEFAULT",
        [Word::Plain(word), Word::Plain(value)] => word == "DEFAULT" && value.starts_with("CURRENT_"),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use crate::{Dialect::Sqlite, lint::found_in};

    #[test]
    fn what_sqlite_refuses_is_found() {
        for sql in [
            "ALTER TABLE a ALTER COLUMN b SET NOT NULL;",
            "ALTER TABLE a ADD CONSTRAINT c CHECK (b > 0);",
            "ALTER TABLE a MODIFY b TEXT;",
            "ALTER TABLE a ADD COLUMN b TEXT, ADD COLUMN c TEXT;",
        ] {
            assert!(found_in(sql, Sqlite).contains(&"sqlite-cannot-alter"), "{sql}");
        }
        for sql in [
            "ALTER TABLE a ADD COLUMN b TEXT UNIQUE;",
            "ALTER TABLE a ADD COLUMN b TEXT DEFAULT CURRENT_TIMESTAMP;",
            "ALTER TABLE a ADD COLUMN b TEXT NOT NULL DEFAULT (datetime('now'));",
            "ALTER TABLE a ADD COLUMN b INTEGER DEFAULT 1 REFERENCES c (d);",
            "ALTER TABLE a ADD COLUMN b INTEGER AS (c + 1) STORED;",
        ] {
            assert_eq!(found_in(sql, Sqlite), ["sqlite-cannot-add"], "{sql}");
        }
        for sql in [
            "ALTER TABLE a ADD COLUMN b TEXT NOT NULL DEFAULT '';",
            "ALTER TABLE a ADD COLUMN b INTEGER REFERENCES c (d);",
            "ALTER TABLE a ADD b INTEGER AS (c + 1) VIRTUAL;",
        ] {
            assert!(found_in(sql, Sqlite).is_empty(), "{sql}");
        }
    }
}
