//! What running code can't live with: the classifier's word on phases, as findings.

use cutover_model::migration::{Phase, PhaseReading};

use super::{Check, Rule};
use crate::lint::{
    Sink,
    rule::{EVERY, Family, POSTGRES, Severity},
    script::{Script, altered_table},
};

pub(super) static MIXED: Rule = Rule {
    name: "mixed-phases",
    family: Family::Releases,
    databases: EVERY,
    severity: Severity::Blocks,
    by_size: false,
    problem: "One migration adds what new code needs, changes data, or takes away what old code needs, and another \
              of these too. It can run neither before the new code nor after it. `migrate up` refuses it.",
    locks: "What its statements lock, all of it until the last of them is done.",
    next: "split it: what adds in one migration, what fills rows in the next, what takes away in a third",
    safe: "-- 0007_add.sql\nALTER TABLE users ADD COLUMN email text;\n-- 0008_fill.sql\nUPDATE users SET email = mail WHERE email IS NULL;\n-- 0009_drop.sql, released when nothing reads `mail`\nALTER TABLE users DROP COLUMN mail;",
    check: Check::Own(mixed),
};

fn mixed(script: &Script<'_>, sink: &mut Sink<'_>) {
    let (PhaseReading::Mixed { found }, None) = (&script.phase, script.migration.header) else { return };
    let (Some(first), Some(last)) = (found.first(), found.last()) else { return };
    sink.find(
        script.start_of_line(last.line),
        None,
        format!(
            "line {} is {} (`{}`), but line {} is {} (`{}`)",
            last.line, last.phase, last.summary, first.line, first.phase, first.summary
        ),
    );
}

pub(super) static REQUIRED_COLUMN: Rule = Rule {
    name: "required-column",
    family: Family::Releases,
    databases: EVERY,
    severity: Severity::Blocks,
    by_size: false,
    problem: "A column that is NOT NULL and has no default: on a table with rows it fails (MySQL fills in an empty \
              value without a word), and old code, which does not know it, can insert nothing any more.",
    locks: "PostgreSQL: ACCESS EXCLUSIVE, briefly. MySQL: a metadata lock. The harm is to what is written afterwards.",
    next: "add it nullable or with a default, backfill, and set NOT NULL in a later contract migration",
    safe: "ALTER TABLE users ADD COLUMN locale text;                       -- or NOT NULL DEFAULT 'en'\n-- next release, when every row has one:\nALTER TABLE users ADD CONSTRAINT users_locale CHECK (locale IS NOT NULL) NOT VALID;\n-- then, in a migration of its own:\nALTER TABLE users VALIDATE CONSTRAINT users_locale;\n-- then:\nALTER TABLE users ALTER COLUMN locale SET NOT NULL;",
    check: Check::Own(required_column),
};

fn required_column(script: &Script<'_>, sink: &mut Sink<'_>) {
    let PhaseReading::Unsafe { line, summary, .. } = &script.phase else { return };
    let message = format!("`{summary}` adds a column that is NOT NULL and has no default");
    sink.find(script.start_of_line(*line), None, message);
}

pub(super) static UNCLEAR: Rule = Rule {
    name: "unclear-phase",
    family: Family::Releases,
    databases: EVERY,
    severity: Severity::Blocks,
    by_size: false,
    problem: "A statement whose effect on running code can't be read from its text (a call, dynamic SQL). `migrate up` \
              refuses it, because guessing wrong breaks the old code with nobody watching.",
    locks: "Unknown.",
    next: "say it in the file's first lines: `-- phase: expand`, `-- phase: backfill` or `-- phase: contract`",
    safe: "-- phase: backfill\nCALL fill_in_the_emails();",
    check: Check::Own(unclear),
};

fn unclear(script: &Script<'_>, sink: &mut Sink<'_>) {
    let (PhaseReading::Unclear { line, summary }, None) = (&script.phase, script.migration.header) else {
        return;
    };
    let message = format!("what `{summary}` does to running code can't be read from it");
    sink.find(script.start_of_line(*line), None, message);
}

pub(super) static HEADER: Rule = Rule {
    name: "header-hides-contract",
    family: Family::Releases,
    databases: EVERY,
    severity: Severity::Blocks,
    by_size: false,
    problem: "The header says that the migration may run while old code serves, but a statement takes away what old code \
              may use. The header wins, so nothing else would stop it.",
    locks: "What its statement locks. The harm is to the old code, until the last of it is gone.",
    next: "put that statement into a migration of its own with `-- phase: contract`",
    safe: "-- phase: contract\nALTER TABLE users DROP COLUMN mail;",
    check: Check::Own(header),
};

fn header(script: &Script<'_>, sink: &mut Sink<'_>) {
    let Some(said) = script.migration.header.filter(|phase| *phase != Phase::Contract) else { return };
    let (line, summary) = match &script.phase {
        PhaseReading::Clear { phase: Phase::Contract, .. } => (None, String::new()),
        PhaseReading::Mixed { found } => match found.iter().find(|found| found.phase == Phase::Contract) {
            Some(contract) => (Some(contract.line), format!(" (`{}`)", contract.summary)),
            None => return,
        },
        _ => return,
    };
    let first = script.statements.first().map_or(0, |statement| statement.start);
    let at = line.map_or(first, |line| script.start_of_line(line));
    sink.find(
        at,
        None,
        format!("the header says {said}, but this takes away what old code may use{summary}"),
    );
}

pub(super) static BACKFILL_UNDER_LOCK: Rule = Rule {
    name: "backfill-under-lock",
    family: Family::Releases,
    databases: POSTGRES,
    severity: Severity::Blocks,
    by_size: true,
    problem: "Rows are changed in the transaction that altered a table. The header says a phase, so the mixture is not \
              refused, but the ALTER's lock is kept until the last row is written.",
    locks: "ACCESS EXCLUSIVE on the altered table, so every read and write of it, for as long as the rows take.",
    next: "put the rows into a migration of their own, after this one",
    safe: "-- 0007.sql\nALTER TABLE users ADD COLUMN email text;\n-- 0008.sql\n-- phase: backfill\nUPDATE users SET email = mail WHERE email IS NULL;",
    check: Check::Own(backfill_under_lock),
};

fn backfill_under_lock(script: &Script<'_>, sink: &mut Sink<'_>) {
    if script.migration.header.is_none() || !script.migration.transaction {
        return;
    }
    let mut altered: Option<String> = None;
    for statement in &script.statements {
        if let Some((table, _)) = altered_table(statement) {
            altered = altered.or_else(|| script.existed(&table).then_some(table));
        } else if let Some(table) = &altered
            && matches!(statement.words().first(), Some("UPDATE" | "DELETE" | "MERGE"))
        {
            let message = format!("rows are changed while `{table}`, altered above, stays locked");
            sink.find(statement.start, Some(table), message);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        Dialect::{Mysql, Postgres, Sqlite},
        lint::found_in,
    };

    #[test]
    fn phases_are_findings() {
        let mixed = "ALTER TABLE a ADD COLUMN b int;\nALTER TABLE a DROP COLUMN c;";
        assert!(found_in(mixed, Mysql).contains(&"mixed-phases"));
        let required = "ALTER TABLE a ADD COLUMN b bigint NOT NULL;";
        for dialect in [Postgres, Mysql, Sqlite] {
            assert_eq!(found_in(required, dialect), ["required-column"], "{dialect:?}");
        }
        assert_eq!(found_in("CALL f();", Mysql), ["unclear-phase"]);
        assert!(found_in("-- phase: backfill\nCALL f();", Mysql).is_empty());
    }

    #[test]
    fn a_header_does_not_hide_a_contract() {
        let hidden = "-- phase: expand\nALTER TABLE a DROP FOREIGN KEY f;";
        assert!(found_in(hidden, Mysql).contains(&"header-hides-contract"));
        let said = "-- phase: contract\nALTER TABLE a DROP FOREIGN KEY f;";
        assert!(!found_in(said, Mysql).contains(&"header-hides-contract"));
    }

    #[test]
    fn rows_are_not_changed_under_a_lock() {
        let sql =
            "-- phase: backfill\nALTER TABLE a ADD COLUMN b bigint;\nUPDATE a SET b = 1 WHERE b IS NULL;";
        assert_eq!(found_in(sql, Postgres), ["backfill-under-lock"]);
        let apart = sql.replace("-- phase: backfill\n", "-- phase: backfill\n-- no-transaction\n");
        assert!(!found_in(&apart, Postgres).contains(&"backfill-under-lock"));
    }
}
