//! MySQL and MariaDB: what copies a table or keeps writers out. Sources: MySQL 8.4 manual, 17.12.1 "Online DDL
//! Operations"; MariaDB, "InnoDB Online DDL Operations".
//!
//! A statement that says `ALGORITHM=INSTANT`, `INPLACE` or `NOCOPY`, or `LOCK=NONE`, is refused by the server rather than
//! run in a worse way, so it is safe to try.

use super::{Check, Rule};
use crate::{
    lint::{
        Sink,
        rule::{Family, MYSQL, Severity},
        script::{Action, Script, option},
    },
    sql::{Word, Words},
};

const COPIES: &str = "The table is copied: nobody writes to it until the last row is copied, and the swap at the end waits for every open transaction.";

fn asserted_online(words: Words<'_>) -> bool {
    matches!(option(words, "ALGORITHM"), Some("INSTANT" | "INPLACE" | "NOCOPY"))
        || option(words, "LOCK") == Some("NONE")
}

/// Finds each action for which `message` gives one, unless the statement says that it must be online.
fn each(script: &Script<'_>, sink: &mut Sink<'_>, message: impl Fn(&Action<'_>) -> Option<String>) {
    for action in script.actions().iter().filter(|action| !asserted_online(action.all)) {
        if let Some(message) = message(action) {
            sink.find(action.at, Some(&action.table), message);
        }
    }
}

pub(super) static COPY: Rule = Rule {
    name: "mysql-algorithm-copy",
    family: Family::Mysql,
    databases: MYSQL,
    severity: Severity::Blocks,
    by_size: true,
    problem: "`ALGORITHM=COPY` asks for the table to be copied, whether that is needed or not.",
    locks: COPIES,
    next: "ask for `ALGORITHM=INSTANT` or `INPLACE`; where the server refuses, use gh-ost or pt-online-schema-change",
    safe: "ALTER TABLE orders ADD COLUMN note text, ALGORITHM=INSTANT;",
    check: Check::Own(copy),
};

fn copy(script: &Script<'_>, sink: &mut Sink<'_>) {
    each(script, sink, |action| {
        (option(action.words, "ALGORITHM") == Some("COPY")).then(|| format!("`{}` is copied", action.table))
    });
}

pub(super) static LOCK: Rule = Rule {
    name: "mysql-lock-asked-for",
    family: Family::Mysql,
    databases: MYSQL,
    severity: Severity::Blocks,
    by_size: true,
    problem: "`LOCK=SHARED` or `LOCK=EXCLUSIVE` keeps writers, or readers too, out of the table.",
    locks: "What it says, until the statement is done.",
    next: "write `LOCK=NONE`: the server refuses where that can't be",
    safe: "ALTER TABLE orders ADD INDEX (created_at), ALGORITHM=INPLACE, LOCK=NONE;",
    check: Check::Own(lock),
};

fn lock(script: &Script<'_>, sink: &mut Sink<'_>) {
    for statement in
        script.statements.iter().filter(|s| matches!(s.words().first(), Some("ALTER" | "CREATE" | "DROP")))
    {
        if let Some(asked @ ("SHARED" | "EXCLUSIVE")) = option(statement.words(), "LOCK") {
            let table = crate::lint::script::altered_table(statement).map(|(table, _)| table);
            sink.find(statement.start, table.as_deref(), format!("it asks for LOCK={asked}"));
        }
    }
}

pub(super) static COLUMN_TYPE: Rule = Rule {
    name: "mysql-column-type",
    family: Family::Mysql,
    databases: MYSQL,
    severity: Severity::Blocks,
    by_size: true,
    problem: "`MODIFY` and `CHANGE` copy the table when they change a column's type, shorten it, reorder an ENUM or change its \
              character set; values that do not fit are cut off or refused. What is left out (NOT NULL, default, comment) \
              is taken away.",
    locks: COPIES,
    next: "say `ALGORITHM=INSTANT` or `INPLACE` where it should not copy; else add a new column, backfill and move to it",
    safe: "ALTER TABLE orders MODIFY note varchar(200), ALGORITHM=INPLACE, LOCK=NONE;  -- longer, below 256 bytes\n-- another type:\nALTER TABLE orders ADD COLUMN total_2 decimal(12,2), ALGORITHM=INSTANT;",
    check: Check::Own(column_type),
};

fn column_type(script: &Script<'_>, sink: &mut Sink<'_>) {
    each(script, sink, |action| {
        let changes = matches!(action.words.first(), Some("MODIFY" | "CHANGE"));
        changes.then(|| format!("`{}` may be copied, with writers kept out", action.table))
    });
}

pub(super) static WHOLE_TABLE: Rule = Rule {
    name: "mysql-copies-table",
    family: Family::Mysql,
    databases: MYSQL,
    severity: Severity::Blocks,
    by_size: true,
    problem: "Another character set, engine, row order, partitioning or primary key needs every row to be written anew.",
    locks: COPIES,
    next: "use gh-ost or pt-online-schema-change, or fill a new table beside the old one",
    safe: "",
    check: Check::Own(whole_table),
};

fn whole_table(script: &Script<'_>, sink: &mut Sink<'_>) {
    each(script, sink, |action| {
        let words = action.words;
        let what = match words.first()? {
            "CONVERT" => "another character set",
            "ENGINE" => "another engine",
            "ORDER" => "another order",
            "PARTITION" | "REMOVE" if words.any(&["BY", "PARTITIONING"]) => "other partitions",
            "DROP" if words.has_run(&["PRIMARY", "KEY"]) => "no primary key",
            _ => return None,
        };
        Some(format!("`{}` is written anew for {what}", action.table))
    });
}

pub(super) static STORED: Rule = Rule {
    name: "mysql-stored-column",
    family: Family::Mysql,
    databases: MYSQL,
    severity: Severity::Blocks,
    by_size: true,
    problem: "A STORED (PERSISTENT) generated column is computed for every row, and so the table is copied.",
    locks: COPIES,
    next: "make it VIRTUAL: that is INSTANT, and it can be indexed",
    safe: "ALTER TABLE orders ADD COLUMN gross decimal(12,2) AS (net * 1.2) VIRTUAL, ALGORITHM=INSTANT;",
    check: Check::Own(stored),
};

fn stored(script: &Script<'_>, sink: &mut Sink<'_>) {
    for column in script.added_columns() {
        if column.words.any(&["STORED", "PERSISTENT"]) && !asserted_online(column.all) {
            let message = format!("`{}` is computed for every row of `{}`", column.name, column.table);
            sink.find(column.at, Some(&column.table), message);
        }
    }
}

pub(super) static EXPRESSION_DEFAULT: Rule = Rule {
    name: "mysql-expression-default",
    family: Family::Mysql,
    databases: MYSQL,
    severity: Severity::Blocks,
    by_size: true,
    problem: "A column with an expression as its default is computed for every row when it is added, so the table is copied; \
              one that differs from run to run gives other values on a statement-based replica.",
    locks: COPIES,
    next: "add the column without a default, then set the default, then backfill",
    safe: "ALTER TABLE orders ADD COLUMN token binary(16), ALGORITHM=INSTANT;\nALTER TABLE orders ALTER COLUMN token SET DEFAULT (uuid_to_bin(uuid()));",
    check: Check::Own(expression_default),
};

fn expression_default(script: &Script<'_>, sink: &mut Sink<'_>) {
    for column in script.added_columns() {
        let default = column.words.0.windows(2).any(|pair| match pair {
            [Word::Plain(word), Word::Mark(b'(')] => word == "DEFAULT",
            // MariaDB takes functions without parentheses around them.
            [Word::Plain(word), Word::Plain(function)] => {
                word == "DEFAULT" && matches!(function.as_str(), "UUID" | "RAND" | "SYS_GUID")
            }
            _ => false,
        });
        if default && !asserted_online(column.all) {
            let message =
                format!("the default of `{}` is computed for every row of `{}`", column.name, column.table);
            sink.find(column.at, Some(&column.table), message);
        }
    }
}

pub(super) static FOREIGN_KEY: Rule = Rule {
    name: "mysql-foreign-key",
    family: Family::Mysql,
    databases: MYSQL,
    severity: Severity::Blocks,
    by_size: true,
    problem: "A new foreign key checks every row, and does so by copying the table unless `foreign_key_checks` is off.",
    locks: COPIES,
    next: "find rows without a parent first, then add it with the checks off and `ALGORITHM=INPLACE, LOCK=NONE`",
    safe: "SELECT count(*) FROM orders o LEFT JOIN users u ON u.id = o.user_id WHERE u.id IS NULL AND o.user_id IS NOT NULL;  -- 0\nSET foreign_key_checks = 0;\nALTER TABLE orders ADD CONSTRAINT orders_user FOREIGN KEY (user_id) REFERENCES users (id), ALGORITHM=INPLACE, LOCK=NONE;\nSET foreign_key_checks = 1;",
    check: Check::Own(foreign_key),
};

fn foreign_key(script: &Script<'_>, sink: &mut Sink<'_>) {
    each(script, sink, |action| {
        let adds = action.words.first() == Some("ADD") && action.words.has_run(&["FOREIGN", "KEY"]);
        adds.then(|| format!("every row of `{}` is checked by a copy", action.table))
    });
}

pub(super) static BLOCKING_INDEX: Rule = Rule {
    name: "mysql-index-blocks-writers",
    family: Family::Mysql,
    databases: MYSQL,
    severity: Severity::Blocks,
    by_size: true,
    problem: "FULLTEXT and SPATIAL indexes and a new AUTO_INCREMENT column can't be built while rows are written.",
    locks: "SHARED: reads go on, writes wait until it is built.",
    next: "build it on a copy with gh-ost or pt-online-schema-change, or in a declared maintenance window",
    safe: "",
    check: Check::Own(blocking_index),
};

fn blocking_index(script: &Script<'_>, sink: &mut Sink<'_>) {
    for index in script.indexes() {
        if let Some(kind) = index.kind {
            let message = format!("nobody writes to `{}` while its {kind} index is built", index.table);
            sink.find(index.at, Some(&index.table), message);
        }
    }
    each(script, sink, |action| {
        let mut words = action.words;
        let builds = words.eat(&["ADD"])
            && (matches!(words.first(), Some("FULLTEXT" | "SPATIAL")) || words.any(&["AUTO_INCREMENT"]));
        builds.then(|| format!("nobody writes to `{}` while it is built", action.table))
    });
}

#[cfg(test)]
mod tests {
    use crate::{Dialect::Mysql, lint::found_in};

    #[test]
    fn copies_and_locks_are_found() {
        let cases = [
            ("ALTER TABLE a ADD COLUMN b int, ALGORITHM=COPY;", "mysql-algorithm-copy"),
            ("ALTER TABLE a ADD INDEX (b), LOCK=SHARED;", "mysql-lock-asked-for"),
            ("CREATE INDEX i ON a (b) LOCK = EXCLUSIVE;", "mysql-lock-asked-for"),
            ("ALTER TABLE a MODIFY b bigint;", "mysql-column-type"),
            ("ALTER TABLE a CHANGE b b bigint;", "mysql-column-type"),
            ("ALTER TABLE a CONVERT TO CHARACTER SET utf8mb4;", "mysql-copies-table"),
            ("ALTER TABLE a DROP PRIMARY KEY, ADD PRIMARY KEY (b);", "mysql-copies-table"),
            ("ALTER TABLE a ADD COLUMN b int AS (c + 1) STORED;", "mysql-stored-column"),
            (
                "ALTER TABLE a ADD COLUMN b binary(16) DEFAULT (uuid_to_bin(uuid()));",
                "mysql-expression-default",
            ),
            ("ALTER TABLE a ADD CONSTRAINT f FOREIGN KEY (b) REFERENCES c (d);", "mysql-foreign-key"),
            ("CREATE FULLTEXT INDEX i ON a (b);", "mysql-index-blocks-writers"),
            ("ALTER TABLE a ADD FULLTEXT INDEX (b);", "mysql-index-blocks-writers"),
        ];
        for (sql, rule) in cases {
            assert_eq!(found_in(sql, Mysql), [rule], "{sql}");
        }
    }

    #[test]
    fn what_must_be_online_is_not_found() {
        for sql in [
            "ALTER TABLE a ADD COLUMN b int NULL, ALGORITHM=INSTANT;",
            "ALTER TABLE a MODIFY b varchar(200), ALGORITHM=INPLACE, LOCK=NONE;",
            "ALTER TABLE a ADD COLUMN b int AS (c + 1) VIRTUAL;",
            "CREATE INDEX i ON a (b) LOCK=NONE;",
            "CREATE TABLE a (b int); ALTER TABLE a MODIFY b bigint;",
        ] {
            assert!(found_in(sql, Mysql).is_empty(), "{sql}: {:?}", found_in(sql, Mysql));
        }
    }
}
