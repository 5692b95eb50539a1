//! Statements that can't be in a transaction, and what is lost without one.

use super::{Check, Rule};
use crate::{
    lint::{
        Sink,
        rule::{Family, POSTGRES, Severity},
        script::{Read, Script},
    },
    sql::Words,
};

pub(super) static IMPOSSIBLE: Rule = Rule {
    name: "needs-no-transaction",
    family: Family::Postgres,
    databases: POSTGRES,
    severity: Severity::Blocks,
    by_size: false,
    problem: "PostgreSQL refuses this statement in a transaction, and a migration runs in one unless it says otherwise.",
    locks: "Nothing: the migration fails and is taken back.",
    next: "put it alone into a migration whose first line is `-- no-transaction`",
    safe: "-- no-transaction\nDROP INDEX CONCURRENTLY orders_old;",
    check: Check::Own(impossible),
};

fn impossible(script: &Script<'_>, sink: &mut Sink<'_>) {
    if !script.migration.transaction {
        return;
    }
    for statement in &script.statements {
        let words = statement.words();
        let concurrently = words.any(&["CONCURRENTLY"]);
        let refused = match words.first() {
            Some("VACUUM") => true,
            Some("CREATE" | "DROP") => {
                matches!(second(words), Some("DATABASE" | "TABLESPACE" | "SUBSCRIPTION"))
                    || concurrently && words.any(&["INDEX"])
            }
            Some("ALTER") if second(words) == Some("SYSTEM") => true,
            Some("ALTER") => words.any(&["DETACH"]) && concurrently,
            Some("REINDEX") => {
                concurrently || matches!(second(words), Some("DATABASE" | "SYSTEM" | "SCHEMA"))
            }
            _ => false,
        };
        if refused {
            sink.find(statement.start, None, "PostgreSQL refuses this in a transaction");
        }
    }
}

fn second(words: Words<'_>) -> Option<&str> {
    Words(words.0.get(1..)?).first()
}

pub(super) static SEVERAL: Rule = Rule {
    name: "several-without-transaction",
    family: Family::Postgres,
    databases: POSTGRES,
    severity: Severity::Warns,
    by_size: false,
    problem: "A migration without a transaction that changes the schema in several statements. When one fails, those before \
              it stay done, and a person has to say which.",
    locks: "What each statement locks, for its own time.",
    next: "give each statement that needs no transaction a migration of its own, and leave the others in one with it",
    safe: "",
    check: Check::Own(several),
};

fn several(script: &Script<'_>, sink: &mut Sink<'_>) {
    if script.migration.transaction {
        return;
    }
    let shapes = |s: &&Read| matches!(s.words().first(), Some("CREATE" | "ALTER" | "DROP" | "REINDEX"));
    if let Some(second) = script.statements.iter().filter(shapes).nth(1) {
        sink.find(second.start, None, "if this fails, the statements before it stay done");
    }
}

#[cfg(test)]
mod tests {
    use crate::{Dialect::Postgres, lint::found_in};

    #[test]
    fn what_a_transaction_refuses_is_found() {
        for sql in [
            "VACUUM a;",
            "DROP INDEX CONCURRENTLY i;",
            "ALTER SYSTEM SET x = 1;",
            "REINDEX INDEX CONCURRENTLY i;",
        ] {
            assert!(found_in(sql, Postgres).contains(&"needs-no-transaction"), "{sql}");
            let alone = format!("-- no-transaction\n-- phase: expand\n{sql}");
            assert!(!found_in(&alone, Postgres).contains(&"needs-no-transaction"), "{sql}");
        }
    }

    #[test]
    fn several_statements_without_one_are_found() {
        let two =
            "-- no-transaction\nCREATE INDEX CONCURRENTLY i ON a (b);\nCREATE INDEX CONCURRENTLY j ON a (c);";
        assert_eq!(found_in(two, Postgres), ["several-without-transaction"]);
    }
}
