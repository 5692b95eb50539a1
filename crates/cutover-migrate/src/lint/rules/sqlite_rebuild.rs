//! SQLite: what writes a table anew, and what that may destroy. Source: sqlite.org, "Making Other Kinds Of Table Schema
//! Changes" in `lang_altertable.html`.

use super::{Check, Rule};
use crate::{
    lint::{
        Sink,
        rule::{Family, SQLITE, Severity},
        script::{Script, dropped_table},
    },
    sql::Statement,
};

pub(super) static REBUILD: Rule = Rule {
    name: "sqlite-table-rebuild",
    family: Family::Sqlite,
    databases: SQLITE,
    severity: Severity::Blocks,
    by_size: true,
    problem: "A table is made anew, filled from the old one and put in its place. Its indexes and triggers go with the old one \
              unless they are made again, and every row is written.",
    locks: "The whole database: nobody writes to any table until the last row is copied.",
    next: "see whether ADD COLUMN, RENAME COLUMN or DROP COLUMN does; else make its indexes and triggers again, and allow this \
           with a reason",
    safe: "ALTER TABLE users ADD COLUMN locale TEXT;   -- no rebuild",
    check: Check::Own(rebuild),
};

fn rebuild(script: &Script<'_>, sink: &mut Sink<'_>) {
    for (new, old) in &script.rebuilt {
        let at = first_about(script, new);
        sink.find(at, Some(old), format!("`{old}` is made anew and every row of it is copied"));
    }
}

fn first_about(script: &Script<'_>, table: &str) -> usize {
    let made = script.beginning(&["CREATE", "TABLE"]).into_iter().find(|(_, rest)| {
        let mut rest = *rest;
        rest.eat(&["IF", "NOT", "EXISTS"]);
        rest.name().as_deref() == Some(table)
    });
    made.map_or(0, |(statement, _)| statement.start)
}

pub(super) static CASCADES: Rule = Rule {
    name: "sqlite-rebuild-cascades",
    family: Family::Sqlite,
    databases: SQLITE,
    severity: Severity::Blocks,
    by_size: false,
    problem: "The rebuild drops the old table while foreign keys are on. DROP TABLE deletes its rows first, so rows of other \
              tables that refer to it with ON DELETE CASCADE are deleted too, and ON DELETE SET NULL empties them.",
    locks: "The whole database, while rows are deleted.",
    next: "begin the file with `PRAGMA foreign_keys = OFF` and end it with `PRAGMA foreign_key_check`",
    safe: "PRAGMA foreign_keys = OFF;\nCREATE TABLE new_users (id INTEGER PRIMARY KEY, name TEXT NOT NULL);\nINSERT INTO new_users SELECT id, name FROM users;\nDROP TABLE users;\nALTER TABLE new_users RENAME TO users;\nPRAGMA foreign_key_check;\nPRAGMA foreign_keys = ON;",
    check: Check::Own(cascades),
};

fn cascades(script: &Script<'_>, sink: &mut Sink<'_>) {
    let off = script.statements.iter().any(|read| {
        Statement { sql: read.sql.clone(), line: read.line, start: read.start }.switches_foreign_keys_off()
    });
    if off {
        return;
    }
    for (_, old) in &script.rebuilt {
        let dropped = script.statements.iter().find(|s| dropped_table(s).as_ref() == Some(old));
        let at = dropped.map_or(0, |statement| statement.start);
        sink.find(at, Some(old), format!("dropping `{old}` may delete rows of tables that refer to it"));
    }
}

pub(super) static DROP_COLUMN: Rule = Rule {
    name: "sqlite-drop-column",
    family: Family::Sqlite,
    databases: SQLITE,
    severity: Severity::Warns,
    by_size: false,
    problem: "DROP COLUMN writes every row anew, and fails when an index, trigger, view or constraint names the column. What was \
              in it does not come back.",
    locks: "The whole database, until the last row is written.",
    next: "drop what names the column first; on a large table, leave the column where it is",
    safe: "",
    check: Check::Own(drop_column),
};

fn drop_column(script: &Script<'_>, sink: &mut Sink<'_>) {
    for action in script.actions().into_iter().filter(|action| action.words.first() == Some("DROP")) {
        sink.find(action.at, Some(&action.table), format!("every row of `{}` is written anew", action.table));
    }
}

pub(super) static WRITABLE_SCHEMA: Rule = Rule {
    name: "sqlite-writable-schema",
    family: Family::Sqlite,
    databases: SQLITE,
    severity: Severity::Blocks,
    by_size: false,
    problem: "`PRAGMA writable_schema` lets the migration write into the table of tables. A mistake there makes the database \
              unreadable.",
    locks: "The whole database. The harm is that it may not open again.",
    next: "rebuild the table instead",
    safe: "",
    check: Check::Own(writable_schema),
};

fn writable_schema(script: &Script<'_>, sink: &mut Sink<'_>) {
    for (statement, rest) in script.beginning(&["PRAGMA"]) {
        if rest.any(&["WRITABLE_SCHEMA"]) {
            sink.find(statement.start, None, "the migration may write into SQLite's own tables");
        }
    }
}

pub(super) static VACUUM: Rule = Rule {
    name: "sqlite-vacuum",
    family: Family::Sqlite,
    databases: SQLITE,
    severity: Severity::Blocks,
    by_size: false,
    problem: "VACUUM writes the whole database file anew and can't run in a transaction, as migrations do.",
    locks: "The whole database, until the file is written.",
    next: "run it as a job of its own, or set `auto_vacuum` before the first table is made",
    safe: "",
    check: Check::Own(vacuum),
};

fn vacuum(script: &Script<'_>, sink: &mut Sink<'_>) {
    for (statement, _) in script.beginning(&["VACUUM"]) {
        sink.find(statement.start, None, "the whole file is written anew");
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        Dialect::Sqlite,
        lint::{Severity, Sizes, found_in, lint_text},
    };

    const REBUILD: &str = "CREATE TABLE new_a (b int);\nINSERT INTO new_a SELECT b FROM a;\nDROP TABLE a;\nALTER TABLE new_a RENAME TO a;";

    #[test]
    fn a_rebuild_is_found_and_what_it_may_delete() {
        assert_eq!(found_in(REBUILD, Sqlite), ["sqlite-rebuild-cascades", "sqlite-table-rebuild"]);
        let off = format!("PRAGMA foreign_keys = OFF;\n{REBUILD}\nPRAGMA foreign_keys = ON;");
        assert_eq!(found_in(&off, Sqlite), ["sqlite-table-rebuild"]);
        let mut sizes = Sizes::default();
        sizes.add("a", 3);
        assert!(lint_text(&off, Sqlite, &sizes).iter().all(|finding| finding.severity == Severity::Warns));
    }

    #[test]
    fn the_rest_is_found() {
        assert_eq!(found_in("ALTER TABLE a DROP COLUMN b;", Sqlite), ["sqlite-drop-column"]);
        assert_eq!(found_in("PRAGMA writable_schema = 1;", Sqlite), ["sqlite-writable-schema"]);
        assert_eq!(found_in("VACUUM;", Sqlite), ["sqlite-vacuum"]);
        assert!(found_in("PRAGMA user_version = 3; ALTER TABLE a ADD COLUMN b TEXT;", Sqlite).is_empty());
    }
}
