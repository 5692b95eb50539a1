//! What keeps others out of a PostgreSQL table, beyond what squawk finds.

use super::{Check, Rule};
use crate::lint::{
    Sink,
    rule::{Family, POSTGRES, Severity},
    script::Script,
};

/// More columns than an index without UNIQUE earns (the measure of strong_migrations).
const INDEX_COLUMNS: usize = 3;

pub(super) static EXCLUSION: Rule = Rule {
    name: "exclusion-constraint",
    family: Family::Postgres,
    databases: POSTGRES,
    severity: Severity::Blocks,
    by_size: true,
    problem: "An exclusion constraint builds an index and checks every row. It can't be NOT VALID and can't take an index \
              that was built concurrently.",
    locks: "ACCESS EXCLUSIVE: nobody reads or writes the table until the index is built.",
    next: "make it with the table, or on a new table that is filled and switched to",
    safe: "CREATE TABLE bookings_2 (room int, during tstzrange, EXCLUDE USING gist (room WITH =, during WITH &&));\n-- write to both, backfill, then read the new one",
    check: Check::Own(exclusion),
};

fn exclusion(script: &Script<'_>, sink: &mut Sink<'_>) {
    for action in script.actions() {
        if action.words.first() == Some("ADD") && action.words.any(&["EXCLUDE"]) {
            let message =
                format!("an exclusion constraint on `{}` checks every row under its lock", action.table);
            sink.find(action.at, Some(&action.table), message);
        }
    }
}

pub(super) static REWRITE: Rule = Rule {
    name: "rewrites-table",
    family: Family::Postgres,
    databases: POSTGRES,
    severity: Severity::Blocks,
    by_size: true,
    problem: "`VACUUM FULL`, `CLUSTER`, `SET LOGGED`, `SET UNLOGGED`, `SET TABLESPACE` and `SET ACCESS METHOD` write the \
              whole table anew.",
    locks: "ACCESS EXCLUSIVE: nobody reads or writes the table until the copy is done.",
    next: "use pg_repack or plain VACUUM, fill a new table beside the old one, or do it in a declared maintenance window",
    safe: "",
    check: Check::Own(rewrite),
};

fn rewrite(script: &Script<'_>, sink: &mut Sink<'_>) {
    for action in script.actions() {
        let runs: [&[&str]; 4] =
            [&["SET", "LOGGED"], &["SET", "UNLOGGED"], &["SET", "TABLESPACE"], &["SET", "ACCESS"]];
        let mut words = action.words;
        if let Some(run) = runs.into_iter().find(|run| words.eat(run)) {
            let message = format!("`{}` copies all of `{}`", run.join(" "), action.table);
            sink.find(action.at, Some(&action.table), message);
        }
    }
    for statement in &script.statements {
        let words = statement.words();
        let full = words.first() == Some("VACUUM") && words.any(&["FULL"]);
        if full || words.first() == Some("CLUSTER") {
            sink.find(statement.start, None, "it writes every row and index anew");
        }
    }
}

pub(super) static LOCK_TABLE: Rule = Rule {
    name: "lock-table",
    family: Family::Postgres,
    databases: POSTGRES,
    severity: Severity::Blocks,
    by_size: false,
    problem: "The migration locks a table by hand.",
    locks: "What it says, ACCESS EXCLUSIVE when it says nothing, until the migration ends.",
    next: "leave it to the statements to lock what they need; say why where that is not enough",
    safe: "",
    check: Check::Own(lock_table),
};

fn lock_table(script: &Script<'_>, sink: &mut Sink<'_>) {
    for (statement, mut rest) in script.beginning(&["LOCK"]) {
        rest.eat_any(&["TABLE", "ONLY"]);
        let shared = rest.has_run(&["ACCESS", "SHARE"])
            || rest.has_run(&["ROW", "SHARE"])
            || rest.has_run(&["ROW", "EXCLUSIVE"]);
        match rest.name() {
            Some(table) if script.existed(&table) && !shared => {
                sink.find(
                    statement.start,
                    Some(&table),
                    format!("`{table}` is locked by hand until the migration ends"),
                );
            }
            _ => {}
        }
    }
}

pub(super) static REFRESH: Rule = Rule {
    name: "refresh-blocks-readers",
    family: Family::Postgres,
    databases: POSTGRES,
    severity: Severity::Warns,
    by_size: false,
    problem: "`REFRESH MATERIALIZED VIEW` without `CONCURRENTLY` keeps readers out while its query runs.",
    locks: "ACCESS EXCLUSIVE on the view, for as long as its query takes.",
    next: "give the view a unique index and refresh it CONCURRENTLY",
    safe: "CREATE UNIQUE INDEX totals_day ON totals (day);\nREFRESH MATERIALIZED VIEW CONCURRENTLY totals;",
    check: Check::Own(refresh),
};

fn refresh(script: &Script<'_>, sink: &mut Sink<'_>) {
    let made = script.statements.iter().any(|s| s.after(&["CREATE", "MATERIALIZED"]).is_some());
    for (statement, rest) in script.beginning(&["REFRESH", "MATERIALIZED", "VIEW"]) {
        if rest.first() != Some("CONCURRENTLY") && !made {
            sink.find(statement.start, None, "nobody can read the view until it is refreshed");
        }
    }
}

pub(super) static ATTACH: Rule = Rule {
    name: "attach-scans-partition",
    family: Family::Postgres,
    databases: POSTGRES,
    severity: Severity::Warns,
    by_size: false,
    problem: "A table with rows is attached as a partition. Without a valid CHECK constraint that says the same as the \
              partition's bounds, every row of it is checked.",
    locks: "ACCESS EXCLUSIVE on the attached table and SHARE UPDATE EXCLUSIVE on its parent, for as long as the scan takes.",
    next: "add and validate a CHECK constraint with the bounds first, and drop it afterwards",
    safe: "ALTER TABLE m_2026_11 ADD CONSTRAINT bounds CHECK (at >= '2026-11-01' AND at < '2026-12-01') NOT VALID;\n-- next migration:\nALTER TABLE m_2026_11 VALIDATE CONSTRAINT bounds;\n-- next migration:\n-- cutover: allow attach-scans-partition: `bounds` is valid and says the same\nALTER TABLE m ATTACH PARTITION m_2026_11 FOR VALUES FROM ('2026-11-01') TO ('2026-12-01');",
    check: Check::Own(attach),
};

fn attach(script: &Script<'_>, sink: &mut Sink<'_>) {
    for action in script.actions() {
        let mut words = action.words;
        if words.eat(&["ATTACH", "PARTITION"])
            && let Some(partition) = words.name()
            && script.existed(&partition)
        {
            sink.find(
                action.at,
                Some(&partition),
                format!("every row of `{partition}` may be checked under its lock"),
            );
        }
    }
}

pub(super) static WIDE_INDEX: Rule = Rule {
    name: "wide-index",
    family: Family::Postgres,
    databases: POSTGRES,
    severity: Severity::Warns,
    by_size: false,
    problem: "An index of more than three columns that is not unique. Each write pays for it, and it seldom answers more \
              than one over its first columns would.",
    locks: "As any index: SHARE on the table while it is built, unless CONCURRENTLY.",
    next: "keep the columns that select most; put those that are only read into INCLUDE",
    safe: "-- no-transaction\nCREATE INDEX CONCURRENTLY orders_by ON orders (customer, created_at) INCLUDE (state, total);",
    check: Check::Own(wide_index),
};

fn wide_index(script: &Script<'_>, sink: &mut Sink<'_>) {
    for index in script.indexes().into_iter().filter(|index| !index.unique && index.columns > INDEX_COLUMNS) {
        sink.find(
            index.at,
            Some(&index.table),
            format!("an index over {} columns of `{}`", index.columns, index.table),
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::{Dialect::Postgres, lint::found_in};

    #[test]
    fn locks_are_found() {
        let cases = [
            ("ALTER TABLE a ADD CONSTRAINT x EXCLUDE USING gist (b WITH &&);", "exclusion-constraint"),
            ("ALTER TABLE a SET UNLOGGED;", "rewrites-table"),
            ("ALTER TABLE a SET TABLESPACE fast;", "rewrites-table"),
            ("LOCK TABLE a IN ACCESS EXCLUSIVE MODE;", "lock-table"),
            ("REFRESH MATERIALIZED VIEW v;", "refresh-blocks-readers"),
            ("ALTER TABLE a ATTACH PARTITION b FOR VALUES IN (1);", "attach-scans-partition"),
            ("-- no-transaction\nCREATE INDEX CONCURRENTLY i ON a (b, c, d, e);", "wide-index"),
        ];
        for (sql, rule) in cases {
            assert_eq!(found_in(sql, Postgres), [rule], "{sql}");
        }
    }

    #[test]
    fn what_locks_little_is_not() {
        for sql in [
            "REFRESH MATERIALIZED VIEW CONCURRENTLY v;",
            "ALTER TABLE a SET (fillfactor = 70);",
            "CREATE TABLE p (a bigint); ALTER TABLE a ATTACH PARTITION p FOR VALUES IN (1);",
            "-- no-transaction\nCREATE INDEX CONCURRENTLY i ON a (b, c) INCLUDE (d, e);",
        ] {
            assert!(found_in(sql, Postgres).is_empty(), "{sql}");
        }
    }
}
