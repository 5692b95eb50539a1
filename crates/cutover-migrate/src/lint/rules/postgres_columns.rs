//! Columns that PostgreSQL should not get in this way, beyond what squawk finds.

use super::{Check, Rule};
use crate::lint::{
    Sink,
    rule::{Family, POSTGRES, Severity},
    script::Script,
};

pub(super) static SERIAL: Rule = Rule {
    name: "serial-column",
    family: Family::Postgres,
    databases: POSTGRES,
    severity: Severity::Blocks,
    by_size: true,
    problem: "A `serial` or identity column that is added to a table with rows needs a number in each of them, so the whole \
              table and all its indexes are written anew.",
    locks: "ACCESS EXCLUSIVE: nobody reads or writes the table until the last row is written.",
    next: "add the column without a default, give new rows numbers by a sequence, backfill the old ones, then make it identity",
    safe: "ALTER TABLE events ADD COLUMN seq bigint;\nCREATE SEQUENCE events_seq OWNED BY events.seq;\nALTER TABLE events ALTER COLUMN seq SET DEFAULT nextval('events_seq');\n-- then backfill the rows that were there, in batches",
    check: Check::Own(serial),
};

fn serial(script: &Script<'_>, sink: &mut Sink<'_>) {
    for column in script.added_columns() {
        let serial = matches!(
            column.words.first(),
            Some("SERIAL" | "BIGSERIAL" | "SMALLSERIAL" | "SERIAL2" | "SERIAL4" | "SERIAL8")
        );
        if serial || column.words.any(&["IDENTITY"]) {
            let message =
                format!("every row of `{}` gets a number, so the table is written anew", column.table);
            sink.find(column.at, Some(&column.table), message);
        }
    }
}

pub(super) static JSON: Rule = Rule {
    name: "json-column",
    family: Family::Postgres,
    databases: POSTGRES,
    severity: Severity::Warns,
    by_size: false,
    problem: "Type `json` has no equality, so `SELECT DISTINCT`, `UNION` and `GROUP BY` over such a column fail, in queries \
              that worked before it was there.",
    locks: "ACCESS EXCLUSIVE, briefly. The harm is to queries.",
    next: "use `jsonb`",
    safe: "ALTER TABLE orders ADD COLUMN details jsonb;",
    check: Check::Own(json),
};

fn json(script: &Script<'_>, sink: &mut Sink<'_>) {
    for column in script.added_columns().into_iter().filter(|column| column.words.first() == Some("JSON")) {
        sink.find(
            column.at,
            Some(&column.table),
            format!("`{}.{}` is of type json", column.table, column.name),
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::{Dialect::Postgres, lint::found_in};

    #[test]
    fn columns_are_found() {
        for sql in [
            "ALTER TABLE a ADD COLUMN b bigserial;",
            "ALTER TABLE a ADD b bigint GENERATED ALWAYS AS IDENTITY;",
        ] {
            assert!(found_in(sql, Postgres).contains(&"serial-column"), "{sql}");
        }
        assert_eq!(found_in("ALTER TABLE a ADD COLUMN b json;", Postgres), ["json-column"]);
        for sql in ["ALTER TABLE a ADD COLUMN b jsonb;", "ALTER TABLE a ADD COLUMN b bigint DEFAULT 0;"] {
            assert!(found_in(sql, Postgres).is_empty(), "{sql}");
        }
    }
}
