//! Enumerated types.

use super::{Check, Rule};
use crate::{
    lint::{
        Sink,
        rule::{Family, POSTGRES, Severity},
        script::Script,
    },
    sql::Word,
};

pub(super) static RENAMED: Rule = Rule {
    name: "renames-enum-value",
    family: Family::Postgres,
    databases: POSTGRES,
    severity: Severity::Blocks,
    by_size: false,
    problem: "A value of an enumerated type gets another name. Old code and new code run side by side during a release, and \
              one of them writes a value that is not there.",
    locks: "ACCESS EXCLUSIVE on the type, briefly. The harm is to the code that runs.",
    next: "add the new value, release code that knows both, backfill, and stop writing the old one",
    safe: "ALTER TYPE status ADD VALUE 'shipped' AFTER 'paid';\n-- next release writes 'shipped' and reads both; then\nUPDATE orders SET status = 'shipped' WHERE status = 'sent';",
    check: Check::Own(renamed),
};

fn renamed(script: &Script<'_>, sink: &mut Sink<'_>) {
    for (statement, rest) in script.beginning(&["ALTER", "TYPE"]) {
        if rest.has_run(&["RENAME", "VALUE"]) {
            sink.find(statement.start, None, "a value of an enumerated type gets another name");
        }
    }
}

pub(super) static USED_AT_ONCE: Rule = Rule {
    name: "enum-value-used-at-once",
    family: Family::Postgres,
    databases: POSTGRES,
    severity: Severity::Blocks,
    by_size: false,
    problem: "A value is added to an enumerated type and used in the same transaction. PostgreSQL refuses that: \
              \"unsafe use of new value\".",
    locks: "Nothing: the migration fails and is taken back.",
    next: "put the use into the next migration",
    safe: "-- 0007.sql\nALTER TYPE status ADD VALUE 'shipped';\n-- 0008.sql\nALTER TABLE orders ALTER COLUMN status SET DEFAULT 'shipped';",
    check: Check::Own(used_at_once),
};

fn used_at_once(script: &Script<'_>, sink: &mut Sink<'_>) {
    if !script.migration.transaction {
        return;
    }
    let mut added: Vec<&str> = Vec::new();
    for statement in &script.statements {
        let value = statement.after(&["ALTER", "TYPE"]).filter(|rest| rest.has_run(&["ADD", "VALUE"]));
        if let Some(rest) = value {
            let first = rest.0.iter().find_map(|word| match word {
                Word::Literal(text) => Some(text.as_str()),
                _ => None,
            });
            added.extend(first);
        } else if statement.literals(script.syntax()).iter().any(|(_, text)| added.contains(text)) {
            sink.find(
                statement.start,
                None,
                "it uses a value that this transaction added to an enumerated type",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Dialect::Postgres, lint::found_in};

    #[test]
    fn enumerated_types_are_changed_with_care() {
        assert!(found_in("ALTER TYPE s RENAME VALUE 'a' TO 'b';", Postgres).contains(&"renames-enum-value"));
        let used = "ALTER TYPE s ADD VALUE 'b' AFTER 'a';\nALTER TABLE t ALTER COLUMN s SET DEFAULT 'b';";
        assert_eq!(found_in(used, Postgres), ["enum-value-used-at-once"]);
        assert!(found_in("ALTER TYPE s ADD VALUE 'b' AFTER 'a';", Postgres).is_empty());
        assert!(
            !found_in(&format!("-- no-transaction\n{used}"), Postgres).contains(&"enum-value-used-at-once")
        );
    }
}
