//! MySQL and MariaDB: what is accepted and does not do what it says, or outlives the migration.

use super::{Check, Rule};
use crate::{
    lint::{
        Sink,
        rule::{Family, MYSQL, Severity},
        script::{Script, option},
    },
    sql::Word,
};

pub(super) static INLINE_REFERENCE: Rule = Rule {
    name: "mysql-inline-reference",
    family: Family::Mysql,
    databases: MYSQL,
    severity: Severity::Warns,
    by_size: false,
    problem: "`REFERENCES` behind a column is read and ignored by MySQL: there is no foreign key afterwards. (MariaDB obeys it.)",
    locks: "Nothing. The constraint is missing.",
    next: "write the foreign key as a constraint of its own",
    safe: "CREATE TABLE orders (id bigint PRIMARY KEY, user_id bigint, FOREIGN KEY (user_id) REFERENCES users (id));",
    check: Check::Own(inline_reference),
};

fn inline_reference(script: &Script<'_>, sink: &mut Sink<'_>) {
    for column in script.added_columns().into_iter().filter(|column| column.words.any(&["REFERENCES"])) {
        let message = format!("MySQL ignores the reference of `{}`", column.name);
        sink.find(column.at, Some(&column.table), message);
    }
    for (statement, rest) in script.beginning(&["CREATE", "TABLE"]) {
        let inside = crate::lint::script::in_first_parentheses(rest).by_commas().into_iter();
        let mut columns =
            inside.filter(|part| part.any(&["REFERENCES"]) && !part.has_run(&["FOREIGN", "KEY"]));
        if let Some(mut column) = columns.next() {
            let message = format!("MySQL ignores the reference of `{}`", column.name().unwrap_or_default());
            sink.find(statement.start, None, message);
        }
    }
}

pub(super) static ENGINE: Rule = Rule {
    name: "mysql-engine-without-transactions",
    family: Family::Mysql,
    databases: MYSQL,
    severity: Severity::Warns,
    by_size: false,
    problem: "A table of an engine without transactions (MyISAM, MEMORY, CSV, Aria): a failed request leaves half of what it \
              wrote, and a crash may lose the table.",
    locks: "Each write locks the whole table from then on.",
    next: "leave ENGINE out, or write ENGINE=InnoDB",
    safe: "CREATE TABLE audit (id bigint PRIMARY KEY, at datetime NOT NULL) ENGINE=InnoDB;",
    check: Check::Own(engine),
};

fn engine(script: &Script<'_>, sink: &mut Sink<'_>) {
    for (statement, rest) in script.beginning(&["CREATE", "TABLE"]) {
        if let Some(engine @ ("MYISAM" | "MEMORY" | "CSV" | "ARIA" | "ARCHIVE")) = option(rest, "ENGINE") {
            sink.find(statement.start, None, format!("engine {engine} has no transactions"));
        }
    }
}

pub(super) static CHARSET: Rule = Rule {
    name: "mysql-utf8mb3",
    family: Family::Mysql,
    databases: MYSQL,
    severity: Severity::Warns,
    by_size: false,
    problem: "`utf8` is `utf8mb3` here: three bytes a character, so text with emoji and many names is refused.",
    locks: "Nothing now; changing it later copies the table.",
    next: "write utf8mb4",
    safe: "CREATE TABLE notes (id bigint PRIMARY KEY, body text) DEFAULT CHARSET=utf8mb4;",
    check: Check::Own(charset),
};

fn charset(script: &Script<'_>, sink: &mut Sink<'_>) {
    for statement in
        script.statements.iter().filter(|s| matches!(s.words().first(), Some("CREATE" | "ALTER")))
    {
        let three_bytes = statement.words().0.windows(3).any(|words| match words {
            [Word::Plain(a), Word::Mark(b'='), Word::Plain(c)] => is_charset(a) && is_utf8(c),
            [Word::Plain(a), Word::Plain(b), _] if a != "CHARACTER" => is_charset(a) && is_utf8(b),
            [Word::Plain(a), Word::Plain(b), Word::Plain(c)] => a == "CHARACTER" && b == "SET" && is_utf8(c),
            _ => false,
        });
        let ends =
            statement.words().0.ends_with(&[Word::Plain("CHARSET".into()), Word::Plain("UTF8".into())]);
        if three_bytes || ends {
            sink.find(statement.start, None, "this utf8 has three bytes a character");
        }
    }
}

fn is_charset(word: &str) -> bool {
    matches!(word, "CHARSET" | "SET")
}

fn is_utf8(word: &str) -> bool {
    matches!(word, "UTF8" | "UTF8MB3")
}

pub(super) static LOCK_TABLES: Rule = Rule {
    name: "mysql-lock-tables",
    family: Family::Mysql,
    databases: MYSQL,
    severity: Severity::Blocks,
    by_size: false,
    problem: "`LOCK TABLES` and `FLUSH TABLES WITH READ LOCK` keep everybody out by hand, end the transaction that is open, and \
              lock the ledger out too.",
    locks: "READ or WRITE on the named tables (all of them for FLUSH), until UNLOCK TABLES or the connection ends.",
    next: "leave it to the statements to lock what they need; dumps write it, so take it out of what came from one",
    safe: "",
    check: Check::Own(lock_tables),
};

fn lock_tables(script: &Script<'_>, sink: &mut Sink<'_>) {
    for statement in &script.statements {
        let locks = statement.after(&["LOCK", "TABLES"]).or_else(|| statement.after(&["LOCK", "TABLE"]));
        let flushes = statement.after(&["FLUSH"]).filter(|rest| rest.has_run(&["READ", "LOCK"]));
        if locks.or(flushes).is_some() {
            sink.find(statement.start, None, "tables are locked by hand");
        }
    }
}

pub(super) static DROP_CONSTRAINT: Rule = Rule {
    name: "mysql-drops-constraint",
    family: Family::Mysql,
    databases: MYSQL,
    severity: Severity::Warns,
    by_size: false,
    problem: "A foreign key, check or constraint goes. Old code may count on the database to refuse what it guards against.",
    locks: "A metadata lock, briefly.",
    next: "release code that does not count on it first; the migration waits as `contract` for that",
    safe: "",
    check: Check::Own(drop_constraint),
};

fn drop_constraint(script: &Script<'_>, sink: &mut Sink<'_>) {
    for action in script.actions() {
        let mut words = action.words;
        if words.eat(&["DROP"]) && matches!(words.first(), Some("FOREIGN" | "CONSTRAINT" | "CHECK")) {
            sink.find(action.at, Some(&action.table), format!("`{}` is guarded by less", action.table));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Dialect::Mysql, lint::found_in};

    #[test]
    fn traps_are_found() {
        let cases = [
            ("ALTER TABLE a ADD COLUMN b bigint REFERENCES c (d);", "mysql-inline-reference"),
            ("CREATE TABLE a (b bigint REFERENCES c (d));", "mysql-inline-reference"),
            ("CREATE TABLE a (b int) ENGINE=MyISAM;", "mysql-engine-without-transactions"),
            ("CREATE TABLE a (b text) DEFAULT CHARSET=utf8;", "mysql-utf8mb3"),
            ("CREATE TABLE a (b text CHARACTER SET utf8mb3);", "mysql-utf8mb3"),
            ("LOCK TABLES a WRITE;", "mysql-lock-tables"),
            ("ALTER TABLE a DROP FOREIGN KEY f;", "mysql-drops-constraint"),
        ];
        for (sql, rule) in cases {
            assert_eq!(found_in(sql, Mysql), [rule], "{sql}");
        }
        let good = "CREATE TABLE a (b bigint, FOREIGN KEY (b) REFERENCES c (d)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;";
        assert!(found_in(good, Mysql).is_empty());
    }
}
