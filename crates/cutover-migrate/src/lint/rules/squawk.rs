//! Which of squawk's rules are taken, how heavy each is here and why; and which are left out.
//!
//! What only loses something that old code may use is a warning: the migration is `contract` and waits for its
//! release's window anyway. What locks readers or writers out blocks, unless the database says that the table is small.

use super::{Check, Rule};
use crate::lint::rule::{
    Family, POSTGRES,
    Severity::{self, Blocks, Warns},
};

pub(in crate::lint) static UNREADABLE: Rule = Rule {
    name: "unreadable-sql",
    family: Family::Squawk,
    databases: POSTGRES,
    severity: Warns,
    by_size: false,
    problem: "squawk's parser does not understand a statement, so its rules say nothing about it.",
    locks: "Unknown to squawk.",
    next: "read it with more care; PostgreSQL itself will say whether it is right",
    safe: "",
    check: Check::Squawk,
};

/// Rules of squawk that are not used, and why.
#[cfg(test)]
pub(in crate::lint) const LEFT_OUT: &[(&str, &str)] = &[
    ("adding-required-field", "`required-column` says it for all three databases"),
    ("require-lock-timeout", "Cutover sets lock_timeout for every statement"),
    ("require-statement-timeout", "Cutover sets statement_timeout for every statement"),
    (
        "prefer-robust-stmts",
        "the ledger applies once; IF NOT EXISTS would hide an index that was left INVALID",
    ),
    ("prefer-bigint-over-smallint", "nobody writes smallint by accident"),
    (
        "prefer-repack",
        "it finds nothing before PostgreSQL 19; `rewrites-table` finds VACUUM FULL and CLUSTER",
    ),
    (
        "ban-concurrent-index-creation-in-transaction",
        "it passes a file of one statement; `needs-no-transaction` does not",
    ),
    ("unused-ignore", "`allow-unused` is ours"),
];

const SCAN: &str = "ACCESS EXCLUSIVE: nobody reads or writes the table until every row is checked.";
const REWRITE: &str = "ACCESS EXCLUSIVE: nobody reads or writes the table until every row is written anew.";
const BUILD: &str = "SHARE: reads go on, writes wait until the index is built.";
const BRIEF: &str =
    "ACCESS EXCLUSIVE, briefly, once every open transaction on it is done; those who come after wait too.";
const NONE: &str = "Nothing to speak of.";
const WAITS: &str = "release code that does not use it first; the migration waits as `contract` for that";

const fn taken(
    name: &'static str,
    severity: Severity,
    problem: &'static str,
    locks: &'static str,
    next: &'static str,
) -> Rule {
    Rule {
        name,
        family: Family::Squawk,
        databases: POSTGRES,
        severity,
        by_size: false,
        problem,
        locks,
        next,
        safe: "",
        check: Check::Squawk,
    }
}

const fn sized(rule: &Rule, safe: &'static str) -> Rule {
    Rule { by_size: true, safe, ..*rule }
}

/// The rules that are used.
pub(in crate::lint) static TAKEN: [Rule; 43] = [
    sized(
        &taken(
            "require-concurrent-index-creation",
            Blocks,
            "An index is built while writers wait.",
            BUILD,
            "build it CONCURRENTLY in a migration whose first line is `-- no-transaction`",
        ),
        "-- no-transaction\nCREATE INDEX CONCURRENTLY users_email ON users (email);",
    ),
    sized(
        &taken(
            "constraint-missing-not-valid",
            Blocks,
            "A constraint checks every row as it is added, or is validated in the transaction that adds it.",
            SCAN,
            "add it NOT VALID, and VALIDATE it in the next migration",
        ),
        "ALTER TABLE users ADD CONSTRAINT positive CHECK (balance >= 0) NOT VALID;\n-- next migration:\nALTER TABLE users VALIDATE CONSTRAINT positive;",
    ),
    sized(
        &taken(
            "adding-field-with-default",
            Blocks,
            "A column with a volatile default (`random()`, `gen_random_uuid()`), or a generated one, is computed for every row.",
            REWRITE,
            "add the column without a default, set the default after, and backfill",
        ),
        "ALTER TABLE users ADD COLUMN token uuid;\nALTER TABLE users ALTER COLUMN token SET DEFAULT gen_random_uuid();\n-- then backfill the rows that were there, in batches",
    ),
    sized(
        &taken(
            "adding-foreign-key-constraint",
            Blocks,
            "A foreign key checks every row of both tables as it is added.",
            "SHARE ROW EXCLUSIVE on both tables: nobody writes to either until every row is checked.",
            "add it NOT VALID, and VALIDATE it in the next migration",
        ),
        "ALTER TABLE orders ADD CONSTRAINT orders_user FOREIGN KEY (user_id) REFERENCES users (id) NOT VALID;\n-- next migration:\nALTER TABLE orders VALIDATE CONSTRAINT orders_user;",
    ),
    sized(
        &taken(
            "changing-column-type",
            Blocks,
            "Another type writes the table and its indexes anew, and old code may not read or write it.",
            REWRITE,
            "add a column of the new type, write to both, backfill, move the readers, drop the old one",
        ),
        "ALTER TABLE events ADD COLUMN id_2 bigint;",
    ),
    sized(
        &taken(
            "adding-not-nullable-field",
            Blocks,
            "SET NOT NULL reads every row, and old code may still write NULL.",
            SCAN,
            "add a CHECK (… IS NOT NULL) NOT VALID, validate it in the next migration, then SET NOT NULL after `VALIDATE` on that table",
        ),
        "ALTER TABLE users ADD CONSTRAINT email_there CHECK (email IS NOT NULL) NOT VALID;\n-- next migration; PostgreSQL 12 and later need no second scan:\nALTER TABLE users VALIDATE CONSTRAINT email_there;\nALTER TABLE users ALTER COLUMN email SET NOT NULL;\nALTER TABLE users DROP CONSTRAINT email_there;",
    ),
    sized(
        &taken(
            "adding-serial-primary-key-field",
            Blocks,
            "A primary key builds its index, and sets NOT NULL, under its lock.",
            SCAN,
            "build a unique index CONCURRENTLY, then ADD CONSTRAINT … PRIMARY KEY USING INDEX",
        ),
        "-- no-transaction\nCREATE UNIQUE INDEX CONCURRENTLY events_id ON events (id);\n-- next migration:\nALTER TABLE events ADD CONSTRAINT events_pkey PRIMARY KEY USING INDEX events_id;",
    ),
    sized(
        &taken(
            "disallowed-unique-constraint",
            Blocks,
            "A unique constraint builds its index under its lock.",
            SCAN,
            "build a unique index CONCURRENTLY, then ADD CONSTRAINT … UNIQUE USING INDEX",
        ),
        "-- no-transaction\nCREATE UNIQUE INDEX CONCURRENTLY users_email ON users (email);\n-- next migration:\nALTER TABLE users ADD CONSTRAINT users_email UNIQUE USING INDEX users_email;",
    ),
    taken(
        "renaming-column",
        Blocks,
        "A column gets another name; one of old and new code asks for a name that is not there.",
        BRIEF,
        "add the new column, write to both, backfill, move the readers, then drop the old one in a contract migration",
    ),
    taken(
        "renaming-table",
        Blocks,
        "A table gets another name; one of old and new code asks for a name that is not there.",
        BRIEF,
        "rename it and make a view under the old name in one migration, or move to a new table in steps",
    ),
    taken(
        "renaming-object",
        Blocks,
        "A view, function, schema or other object gets another name; one of old and new code asks for a name that is not there.",
        BRIEF,
        "make it under the new name, move its users, then drop the old one in a contract migration",
    ),
    taken(
        "ban-set-schema",
        Blocks,
        "An object moves to another schema; one of old and new code asks for it where it is not.",
        BRIEF,
        "make it in the new schema, move its users, then drop the old one in a contract migration",
    ),
    taken(
        "ban-drop-database",
        Blocks,
        "A database and everything in it goes.",
        "Everything.",
        "do that by hand, never in a migration",
    ),
    taken(
        "ban-drop-schema",
        Blocks,
        "A schema goes, with CASCADE everything in it.",
        "ACCESS EXCLUSIVE on all that is in it, briefly.",
        "drop what is in it one by one, each in its release's contract migration",
    ),
    taken(
        "ban-truncate-cascade",
        Blocks,
        "TRUNCATE … CASCADE empties every table that refers to this one.",
        "ACCESS EXCLUSIVE on all of them.",
        "name the tables, or delete the rows that should go",
    ),
    taken(
        "transaction-nesting",
        Blocks,
        "BEGIN, COMMIT or ROLLBACK ends the transaction that Cutover keeps its ledger row in.",
        NONE,
        "take it out; `-- no-transaction` in the first line asks for none",
    ),
    taken(
        "ban-uncommitted-transaction",
        Blocks,
        "A transaction is begun and not committed.",
        "All that its statements lock, until the connection ends.",
        "take BEGIN out: the transaction is Cutover's",
    ),
    taken(
        "require-concurrent-reindex",
        Blocks,
        "REINDEX builds an index anew while writers wait.",
        "SHARE on the table, ACCESS EXCLUSIVE on the index, until it is built.",
        "write REINDEX … CONCURRENTLY in a migration whose first line is `-- no-transaction`",
    ),
    taken(
        "require-concurrent-partition-detach",
        Blocks,
        "A partition is detached while readers of the whole table wait.",
        "ACCESS EXCLUSIVE on the parent table.",
        "write DETACH PARTITION … CONCURRENTLY in a migration whose first line is `-- no-transaction`",
    ),
    taken(
        "ban-alter-domain-with-add-constraint",
        Blocks,
        "A constraint that is added to a domain checks every row of every table that uses it.",
        "SHARE on each of those tables, until they are checked.",
        "add it NOT VALID, and validate it in the next migration",
    ),
    taken(
        "ban-duplicate-column-assignments",
        Blocks,
        "One statement assigns a column twice, which PostgreSQL refuses.",
        "Nothing: the migration fails and is taken back.",
        "take one of the assignments out",
    ),
    taken(
        "require-concurrent-index-deletion",
        Warns,
        "DROP INDEX waits for every open transaction on the table, and everybody else waits for it.",
        BRIEF,
        "write DROP INDEX CONCURRENTLY in a migration whose first line is `-- no-transaction`",
    ),
    taken(
        "ban-drop-column",
        Warns,
        "A column and what is in it go, and no rollback of the release brings it back.",
        BRIEF,
        WAITS,
    ),
    taken(
        "ban-drop-table",
        Warns,
        "A table and its rows go, and no rollback of the release brings them back.",
        BRIEF,
        WAITS,
    ),
    taken(
        "ban-drop-not-null",
        Warns,
        "A column may be NULL from now on, which old code may not expect.",
        BRIEF,
        "write no NULL until the code that can't read it is gone",
    ),
    taken(
        "ban-drop-default",
        Warns,
        "A column loses its default, and old code that leaves it out writes NULL or fails.",
        BRIEF,
        WAITS,
    ),
    taken("ban-drop-constraint", Warns, "A constraint goes, and old code may count on it.", BRIEF, WAITS),
    taken("ban-drop-view", Warns, "A view goes, and old code may read it.", BRIEF, WAITS),
    taken("ban-drop-function", Warns, "A function goes, and old code may call it.", NONE, WAITS),
    taken("ban-drop-type", Warns, "A type goes, and old code may name it.", NONE, WAITS),
    taken(
        "ban-drop-sequence",
        Warns,
        "A sequence goes, and old code may draw numbers from it.",
        BRIEF,
        WAITS,
    ),
    taken("ban-drop-domain", Warns, "A domain goes, and old code may name it.", NONE, WAITS),
    taken("ban-drop-extension", Warns, "An extension goes, with its types and functions.", NONE, WAITS),
    taken(
        "ban-drop-generated-expression",
        Warns,
        "A column is no longer computed, and old code does not write it.",
        BRIEF,
        WAITS,
    ),
    taken(
        "ban-alter-identity",
        Warns,
        "How a column gets its numbers changes, and old code may write it differently.",
        BRIEF,
        "release code that works with both first",
    ),
    taken(
        "ban-create-domain-with-constraint",
        Warns,
        "A domain with a constraint can't be changed later without checking every table that uses it.",
        NONE,
        "put the constraint on the tables",
    ),
    taken(
        "require-enum-value-ordering",
        Warns,
        "A value is added to an enumerated type without saying where, so it sorts last.",
        NONE,
        "say BEFORE or AFTER which value it stands",
    ),
    taken(
        "identifier-too-long",
        Warns,
        "A name of more than 63 bytes is cut off without a word, and two may become one.",
        NONE,
        "give it a shorter name",
    ),
    taken(
        "prefer-text-field",
        Warns,
        "A limit in the type (`varchar(n)`) can be tightened later only by writing the table anew.",
        NONE,
        "use text, with a CHECK constraint where there is a limit",
    ),
    taken(
        "prefer-identity",
        Warns,
        "`serial` keeps its sequence apart, with rights of its own.",
        NONE,
        "write GENERATED BY DEFAULT AS IDENTITY",
    ),
    taken(
        "prefer-bigint-over-int",
        Warns,
        "A 32-bit number ends at 2,147,483,647, and widening it writes the table anew.",
        NONE,
        "use bigint for keys and counters; allow it where the range is known",
    ),
    taken(
        "ban-char-field",
        Warns,
        "`char(n)` is padded with blanks and no faster than text.",
        NONE,
        "use text",
    ),
    taken(
        "prefer-timestamp-tz",
        Warns,
        "`timestamp` forgets the time zone, so what it says depends on who reads it.",
        NONE,
        "use timestamptz",
    ),
];
