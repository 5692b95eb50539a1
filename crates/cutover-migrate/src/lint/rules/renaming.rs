//! Renaming on MySQL and SQLite; on PostgreSQL squawk finds it.

use super::{Check, Rule};
use crate::{
    lint::{
        Sink,
        rule::{Family, NOT_POSTGRES, Severity},
        script::Script,
    },
    sql::Words,
};

pub(super) static TABLE: Rule = Rule {
    name: "renames-table",
    family: Family::Releases,
    databases: NOT_POSTGRES,
    severity: Severity::Blocks,
    by_size: false,
    problem: "A table gets another name. Old code and new code run side by side during a release, and one of them asks for \
              a name that is not there.",
    locks: "An exclusive metadata lock, briefly; it waits for open transactions, and everybody else waits for it.",
    next: "make the new table, write to both, move the readers, drop the old one; or leave a view under the old name",
    safe: "-- expand: the old name goes on working\nCREATE VIEW clients AS SELECT * FROM customers;",
    check: Check::Own(table),
};

fn table(script: &Script<'_>, sink: &mut Sink<'_>) {
    for action in script.actions() {
        let mut words = action.words;
        if words.eat(&["RENAME"]) && !is_part(words) {
            let message = format!("`{}` gets another name", action.table);
            sink.find(action.at, None, message);
        }
    }
    for (statement, mut rest) in script.beginning(&["RENAME", "TABLE"]) {
        let name = rest.name().unwrap_or_default();
        sink.find(statement.start, None, format!("`{name}` gets another name"));
    }
}

/// What `RENAME` is followed by when it is not about the table: a column, an index, in SQLite perhaps a bare name.
fn is_part(words: Words<'_>) -> bool {
    !matches!(words.first(), Some("TO" | "AS")) && words.any(&["TO"])
}

pub(super) static COLUMN: Rule = Rule {
    name: "renames-column",
    family: Family::Releases,
    databases: NOT_POSTGRES,
    severity: Severity::Blocks,
    by_size: false,
    problem: "A column gets another name. Old code and new code run side by side during a release, and one of them asks for \
              a name that is not there.",
    locks: "An exclusive metadata lock, briefly; it waits for open transactions, and everybody else waits for it.",
    next: "add the new column, write to both, backfill, move the readers, then drop the old one in a contract migration",
    safe: "ALTER TABLE users ADD COLUMN email text;            -- release 1: write both\nUPDATE users SET email = mail WHERE email IS NULL;  -- backfill\n-- release 2 reads `email`; release 3:\nALTER TABLE users DROP COLUMN mail;",
    check: Check::Own(column),
};

fn column(script: &Script<'_>, sink: &mut Sink<'_>) {
    for action in script.actions() {
        let mut words = action.words;
        let renames = if words.eat(&["RENAME"]) {
            is_part(words) && !matches!(words.first(), Some("INDEX" | "KEY" | "CONSTRAINT"))
        } else if words.eat(&["CHANGE"]) {
            words.eat(&["COLUMN"]);
            words.name() != words.name()
        } else {
            false
        };
        if renames {
            sink.find(action.at, None, format!("a column of `{}` gets another name", action.table));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        Dialect::{Mysql, Sqlite},
        lint::found_in,
    };

    #[test]
    fn renames_are_found() {
        for sql in ["ALTER TABLE a RENAME TO b;", "ALTER TABLE a RENAME b;", "RENAME TABLE a TO b;"] {
            assert_eq!(found_in(sql, Mysql), ["renames-table"], "{sql}");
        }
        assert_eq!(found_in("ALTER TABLE a RENAME COLUMN b TO c;", Sqlite), ["renames-column"]);
        assert_eq!(found_in("ALTER TABLE a RENAME b TO c;", Sqlite), ["renames-column"]);
        assert!(found_in("ALTER TABLE a CHANGE b c int;", Mysql).contains(&"renames-column"));
    }

    #[test]
    fn what_no_code_names_may_be_renamed() {
        assert!(found_in("ALTER TABLE a RENAME INDEX b TO c;", Mysql).is_empty());
        assert!(!found_in("ALTER TABLE a CHANGE b b bigint;", Mysql).contains(&"renames-column"));
        assert!(found_in("CREATE TABLE a (b int); ALTER TABLE a RENAME TO c;", Sqlite).is_empty());
    }
}
