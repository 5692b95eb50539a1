//! What deletes or rewrites rows, or fails on those that are there.

use super::{Check, Rule};
use crate::{
    lint::{
        Sink,
        rule::{EVERY, Family, NOT_POSTGRES, Severity},
        script::{Script, dropped_table},
    },
    sql::{Word, Words},
};

pub(super) static DROP_TABLE: Rule = Rule {
    name: "drops-table",
    family: Family::Data,
    databases: NOT_POSTGRES,
    severity: Severity::Warns,
    by_size: false,
    problem: "A table and its rows go, and no rollback of the release brings them back. (On PostgreSQL: `ban-drop-table`.) \
              Cutover holds it as `contract` until no release that may still serve needs it.",
    locks: "An exclusive metadata lock, or in SQLite the whole database, while the table's pages are freed.",
    next: "be sure of a backup; rename-and-wait is not needed, because the migration waits for its release's window",
    safe: "",
    check: Check::Own(drop_table),
};

fn drop_table(script: &Script<'_>, sink: &mut Sink<'_>) {
    for statement in &script.statements {
        let Some(table) = dropped_table(statement) else { continue };
        if script.existed(&table) && !is_rebuilt(script, &table) {
            sink.find(statement.start, Some(&table), format!("`{table}` goes with all its rows"));
        }
    }
}

/// Whether another table takes this one's place.
fn is_rebuilt(script: &Script<'_>, table: &str) -> bool {
    script.rebuilt.iter().any(|(_, old)| old == table)
}

pub(super) static DROP_COLUMN: Rule = Rule {
    name: "drops-column",
    family: Family::Data,
    databases: &[crate::Dialect::Mysql],
    severity: Severity::Warns,
    by_size: false,
    problem: "A column and what is in it go, and no rollback of the release brings it back. (On PostgreSQL: \
              `ban-drop-column`; on SQLite: `sqlite-drop-column`.)",
    locks: "MySQL 8.0.29 and later: a metadata lock only (INSTANT); before that the table is rebuilt in place.",
    next: "release code that does not name the column first; the migration waits for that",
    safe: "",
    check: Check::Own(drop_column),
};

fn drop_column(script: &Script<'_>, sink: &mut Sink<'_>) {
    const NOT_COLUMNS: [&str; 7] = ["CONSTRAINT", "FOREIGN", "PRIMARY", "INDEX", "KEY", "CHECK", "PARTITION"];
    for action in script.actions() {
        let mut words = action.words;
        if words.eat(&["DROP"]) && !words.first().is_some_and(|word| NOT_COLUMNS.contains(&word)) {
            words.eat(&["COLUMN"]);
            let column = words.name().unwrap_or_default();
            sink.find(
                action.at,
                Some(&action.table),
                format!("`{}.{column}` goes with what is in it", action.table),
            );
        }
    }
}

pub(super) static ALL_ROWS: Rule = Rule {
    name: "deletes-all-rows",
    family: Family::Data,
    databases: EVERY,
    severity: Severity::Blocks,
    by_size: false,
    problem: "Every row of a table that was there before is deleted, by TRUNCATE or by DELETE without WHERE.",
    locks: "PostgreSQL: TRUNCATE takes ACCESS EXCLUSIVE. MySQL: TRUNCATE drops and makes the table anew and can't be taken \
            back. DELETE keeps every row locked until it commits.",
    next: "say which rows with WHERE, or allow it with the reason",
    safe: "DELETE FROM sessions WHERE expires_at < now();",
    check: Check::Own(all_rows),
};

fn all_rows(script: &Script<'_>, sink: &mut Sink<'_>) {
    for (at, table) in whole_table(script, &["DELETE"]).into_iter().chain(truncated(script)) {
        sink.find(at, Some(&table), format!("every row of `{table}` is deleted"));
    }
}

fn truncated(script: &Script<'_>) -> Vec<(usize, String)> {
    let truncated = script.beginning(&["TRUNCATE"]).into_iter();
    let named = truncated.filter_map(|(statement, mut rest)| {
        rest.eat_any(&["TABLE", "ONLY"]);
        Some((statement.start, rest.name()?))
    });
    named.filter(|(_, table)| script.existed(table)).collect()
}

/// `DELETE` or `UPDATE` without `WHERE` of a table that was there before.
fn whole_table(script: &Script<'_>, verb: &[&str]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (statement, mut rest) in script.beginning(verb) {
        rest.eat_any(&["LOW_PRIORITY", "QUICK", "IGNORE", "FROM", "ONLY", "OR"]);
        let bounded = rest.any(&["WHERE", "LIMIT", "USING", "JOIN"]) && !always(rest);
        match rest.name() {
            Some(table) if !bounded && script.existed(&table) && !is_rebuilt(script, &table) => {
                found.push((statement.start, table));
            }
            _ => {}
        }
    }
    found
}

/// Whether it ends in `WHERE true` or `WHERE 1`.
fn always(words: Words<'_>) -> bool {
    let where_ = Word::Plain("WHERE".into());
    match words.0 {
        [.., before, Word::Plain(last)] => *before == where_ && last == "TRUE",
        [.., before, Word::Literal(last)] => *before == where_ && last == "1",
        _ => false,
    }
}

pub(super) static UNBOUNDED: Rule = Rule {
    name: "updates-all-rows",
    family: Family::Data,
    databases: EVERY,
    severity: Severity::Blocks,
    by_size: true,
    problem: "UPDATE without WHERE writes every row of a table in one transaction: all of them stay locked until the last \
              is written, the log grows by the whole table, replicas fall behind, and if it fails it starts from nothing.",
    locks: "Every row, for as long as the table takes; in SQLite the whole database.",
    next: "change a bounded part at a time, in batches by key, with a WHERE that finds what is left",
    safe: "UPDATE users SET locale = 'en' WHERE locale IS NULL AND id BETWEEN 1 AND 10000;  -- then the next 10,000",
    check: Check::Own(unbounded),
};

fn unbounded(script: &Script<'_>, sink: &mut Sink<'_>) {
    for (at, table) in whole_table(script, &["UPDATE"]) {
        sink.find(at, Some(&table), format!("every row of `{table}` is written in one transaction"));
    }
}

pub(super) static UNIQUE: Rule = Rule {
    name: "unique-on-existing-rows",
    family: Family::Data,
    databases: NOT_POSTGRES,
    severity: Severity::Warns,
    by_size: false,
    problem: "A unique index on a table that has rows fails if two of them are equal, and after that refuses what old code \
              may still write. (On PostgreSQL: `disallowed-unique-constraint`, `require-concurrent-index-creation`.)",
    locks: "MySQL builds it in place, writes go on. SQLite locks the whole database while it builds.",
    next: "find duplicates first, and release code that writes none before this runs",
    safe: "SELECT email, count(*) FROM users GROUP BY email HAVING count(*) > 1;   -- gives no row\n-- cutover: allow unique-on-existing-rows: no two were equal on 20 November, and r40 writes none\nCREATE UNIQUE INDEX users_email ON users (email);",
    check: Check::Own(unique),
};

fn unique(script: &Script<'_>, sink: &mut Sink<'_>) {
    let added: Vec<(String, String)> =
        script.added_columns().into_iter().map(|column| (column.table, column.name)).collect();
    let new = |table: &str, words: Words<'_>| {
        let names = words.listed_names();
        !names.is_empty() && names.iter().all(|name| added.iter().any(|(t, n)| t == table && n == name))
    };
    for index in script.indexes().into_iter().filter(|index| index.unique) {
        let words = script.statement_at(index.at).map_or(Words(&[]), |s| s.words());
        if !new(&index.table, words) {
            sink.find(
                index.at,
                Some(&index.table),
                format!("rows of `{}` may be equal already", index.table),
            );
        }
    }
    for action in script.actions() {
        let mut words = action.words;
        if !words.eat(&["ADD"]) {
            continue;
        }
        if words.eat(&["CONSTRAINT"]) && words.first() != Some("UNIQUE") {
            words.name();
        }
        if words.first() == Some("UNIQUE") && !new(&action.table, words) {
            sink.find(
                action.at,
                Some(&action.table),
                format!("rows of `{}` may be equal already", action.table),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Dialect::{Mysql, Postgres, Sqlite},
        lint::{Sizes, found_in, lint_text},
    };

    #[test]
    fn lost_rows_are_found() {
        assert_eq!(found_in("DROP TABLE IF EXISTS a;", Mysql), ["drops-table"]);
        assert_eq!(found_in("ALTER TABLE a DROP b;", Mysql), ["drops-column"]);
        for sql in ["TRUNCATE TABLE a;", "DELETE FROM a;"] {
            assert_eq!(found_in(sql, Postgres), ["deletes-all-rows"], "{sql}");
        }
        assert!(found_in("DELETE FROM a WHERE b = 1;", Sqlite).is_empty());
        assert!(found_in("CREATE TABLE a (b int); DROP TABLE a;", Sqlite).is_empty());
    }

    #[test]
    fn a_small_table_may_be_written_whole() {
        let sql = "UPDATE a SET b = 1;";
        assert_eq!(lint_text(sql, Sqlite, &Sizes::default())[0].severity, Severity::Blocks);
        let (mut small, mut large) = (Sizes::default(), Sizes::default());
        small.add("A", 12);
        large.add("a", 5_000_000);
        let told = lint_text(sql, Sqlite, &small);
        assert_eq!(told[0].severity, Severity::Warns);
        assert!(told[0].message.contains("12 rows"), "{}", told[0].message);
        assert_eq!(lint_text(sql, Sqlite, &large)[0].severity, Severity::Blocks);
        assert!(found_in("UPDATE a SET b = 1 WHERE b IS NULL;", Sqlite).is_empty());
    }

    #[test]
    fn a_unique_index_on_new_columns_is_safe() {
        assert_eq!(found_in("CREATE UNIQUE INDEX i ON a (b);", Sqlite), ["unique-on-existing-rows"]);
        assert_eq!(
            found_in("ALTER TABLE a ADD CONSTRAINT u UNIQUE (b);", Mysql),
            ["unique-on-existing-rows"]
        );
        assert!(
            found_in("ALTER TABLE a ADD COLUMN b int; CREATE UNIQUE INDEX i ON a (b);", Sqlite).is_empty()
        );
    }
}
