//! The corpus: small migrations, dangerous and safe, and what must be found in each. `corpus/*.sql`, a case from one line
//! `-- case:` to the next; `-- expect:` names the rules, or `nothing`.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

struct Case {
    dialect: Dialect,
    title: String,
    expected: BTreeSet<String>,
    sql: String,
}

/// Dangers that are not found, and safe things that are: (case, rule). Each is a promise to do better.
const KNOWN: &[(&str, &str)] = &[
    ("a password in a setting", "password-in-migration"),
    ("a renamed index whose header says so", "header-hides-contract"),
];

fn corpus() -> Vec<Case> {
    let files = [
        (Dialect::Postgres, include_str!("corpus/postgres.sql")),
        (Dialect::Mysql, include_str!("corpus/mysql.sql")),
        (Dialect::Sqlite, include_str!("corpus/sqlite.sql")),
    ];
    let mut cases = Vec::new();
    for (dialect, text) in files {
        for case in text.split("-- case: ").skip(1) {
            let (title, rest) = case.split_once('\n').unwrap();
            let (expected, sql) = rest.strip_prefix("-- expect: ").unwrap().split_once('\n').unwrap();
            let rules = expected.split(',').map(|rule| rule.trim().to_owned());
            let expected = rules.filter(|rule| rule != "nothing").collect();
            cases.push(Case { dialect, title: title.into(), expected, sql: sql.into() });
        }
    }
    cases
}

#[test]
fn the_corpus_is_found_as_expected() {
    let (mut right, mut missed, mut too_many, mut wrong) = (0usize, 0usize, 0usize, Vec::new());
    let cases = corpus();
    for case in &cases {
        let found: BTreeSet<String> =
            found_in(&case.sql, case.dialect).into_iter().map(str::to_owned).collect();
        right += found.intersection(&case.expected).count();
        for rule in case.expected.symmetric_difference(&found) {
            let missing = case.expected.contains(rule);
            *(if missing { &mut missed } else { &mut too_many }) += 1;
            if !KNOWN.contains(&(case.title.as_str(), rule.as_str())) {
                let how = if missing { "missed" } else { "found without reason" };
                wrong.push(format!("{:?}, {}: {rule} {how}", case.dialect, case.title));
            }
        }
    }
    let share = |of: usize| right as f64 / (right + of) as f64;
    let (recall, precision) = (share(missed), share(too_many));
    println!("{} migrations, {right} findings: recall {recall:.4}, precision {precision:.4}", cases.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases.len() >= 200 && recall >= 0.98 && precision >= 0.98);
    assert_eq!(missed + too_many, KNOWN.len(), "what is found by now leaves the list of what is not");
}

#[test]
fn no_rule_is_without_a_case() {
    let expected: BTreeSet<String> = corpus().into_iter().flat_map(|case| case.expected).collect();
    let untested: Vec<_> = REGISTRY.iter().filter(|rule| !expected.contains(rule.name)).collect();
    assert!(untested.is_empty(), "in no case of the corpus: {untested:?}");
    let names: BTreeSet<_> = REGISTRY.iter().map(|rule| rule.name).collect();
    assert_eq!(names.len(), REGISTRY.len(), "two rules have one name");
    assert!(
        expected.iter().all(|rule| names.contains(rule.as_str())),
        "the corpus expects a rule that is not there"
    );
}

/// A safe way is several migrations where a line of prose stands between them.
fn migrations_of(safe: &str) -> Vec<String> {
    let prose = |line: &str| {
        let headers = ["-- no-transaction", "-- phase:", "-- cutover:"];
        line.starts_with("--") && !headers.iter().any(|header| line.starts_with(header))
    };
    let mut migrations = vec![String::new()];
    for line in safe.lines() {
        if prose(line) {
            migrations.push(String::new());
        } else if let Some(migration) = migrations.last_mut() {
            migration.push_str(line);
            migration.push('\n');
        }
    }
    migrations
}

/// The safe way that a rule shows must be safe: it is linted as well.
#[test]
fn no_rule_advises_what_it_forbids() {
    let mut wrong = Vec::new();
    for rule in REGISTRY.iter().filter(|rule| !rule.safe.is_empty()) {
        for dialect in rule.databases {
            for migration in migrations_of(rule.safe) {
                if found_in(&migration, *dialect).contains(&rule.name) {
                    wrong.push(format!("{rule:?} finds itself in {migration}, on {dialect:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_finding_shows_a_literal() {
    for case in corpus() {
        for finding in lint_text(&case.sql, case.dialect, &Sizes::default()) {
            assert!(!finding.message.contains("correct-horse"), "{}", finding.message);
        }
    }
}

#[test]
fn places_are_those_of_the_statements() {
    let sql = "\u{feff}-- ü\nSELECT 1;\n  ALTER TABLE ä RENAME COLUMN b TO c; DROP TABLE d;\n";
    let findings = lint_text(sql, Dialect::Sqlite, &Sizes::default());
    let places: Vec<_> = findings.iter().map(|f| (f.rule, f.line, f.column)).collect();
    assert_eq!(places, [("renames-column", 3, 3), ("drops-table", 3, 39)]);
}

#[test]
fn squawk_s_places_hold_with_breakpoints_and_a_bom() {
    let mut migration = Migration::of_text(
        "\u{feff}ALTER TABLE a ADD COLUMN b text\n--> statement-breakpoint\nALTER TABLE a DROP COLUMN c",
    );
    migration.breakpoints = true;
    let (findings, _) = lint_one(&migration, Dialect::Postgres, &Sizes::default());
    let column = findings.iter().find(|f| f.rule == "ban-drop-column").unwrap();
    assert_eq!((column.line, column.column), (3, 15));
}

/// Pieces of SQL, quotes that may stay open, markers and comments that lint itself reads.
const PIECES: [&str; 44] = [
    "CREATE",
    "ALTER",
    "DROP",
    "TABLE",
    "INDEX",
    "ADD",
    "COLUMN",
    "CONSTRAINT",
    "TYPE",
    "UPDATE",
    "DELETE",
    "FROM",
    "SET",
    "WHERE",
    "INSERT INTO",
    "VALUES",
    "DO",
    "$$",
    "$a$",
    "'",
    "\"",
    "`",
    "(",
    ")",
    ",",
    ";",
    ".",
    "=",
    ":",
    "{{",
    "}}",
    "é",
    "a",
    "1",
    "\n",
    "--",
    "/*",
    "*/",
    "-- cutover: allow json-column: why\n",
    "postgres://a:b@c",
    "DEFAULT",
    "RENAME TO",
    "PASSWORD 'x'",
    "CONCURRENTLY",
];

proptest! {
    #[test]
    fn no_text_makes_it_panic_and_places_are_in_the_text(
        pieces in prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..40),
        separator in prop::sample::select(vec![" ", "", "\n"]),
    ) {
        let sql = pieces.join(separator);
        for dialect in [Dialect::Postgres, Dialect::Mysql, Dialect::Sqlite] {
            for finding in lint_text(&sql, dialect, &Sizes::default()) {
                let line = sql.split('\n').nth(finding.line as usize - 1);
                prop_assert!(line.is_some_and(|line| finding.column as usize <= line.chars().count() + 1));
            }
        }
    }
}
