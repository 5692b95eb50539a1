//! What lint says against what the databases do: how large tables are, and what they refuse.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test file")]

mod support;

use cutover_migrate::{
    Dialect, Source, Upto,
    lint::{SMALL_ROWS, Severity, Sizes, lint, sizes},
};
use support::backends;

/// 16,384 rows, by doubling: each database knows `INSERT … SELECT`.
const DOUBLINGS: usize = 14;

#[tokio::test]
async fn sizes_are_read_from_every_database() {
    for backend in backends() {
        backend.run("CREATE TABLE tiny (n INTEGER)").await;
        backend.run("CREATE TABLE large (n INTEGER)").await;
        backend.run("INSERT INTO tiny VALUES (1)").await;
        backend.run("INSERT INTO large VALUES (1)").await;
        for _ in 0..DOUBLINGS {
            backend.run("INSERT INTO large SELECT n + 1 FROM large").await;
        }
        if backend.dialect == Dialect::Mysql {
            backend.run("ANALYZE TABLE large").await;
        }
        let mut database = backend.connect().await;
        let sizes = sizes(&mut database).await.unwrap();
        database.close().await;
        let (tiny, large) = (sizes.rows("tiny").unwrap(), sizes.rows("large").unwrap());
        assert!(tiny < SMALL_ROWS && large >= SMALL_ROWS, "{}: {tiny} and {large} rows", backend.name);
        assert_eq!(sizes.rows("absent"), None);
    }
}

/// Findings that say the database refuses the statement.
const REFUSALS: [&str; 5] = [
    "sqlite-cannot-alter",
    "sqlite-cannot-add",
    "needs-no-transaction",
    "enum-value-used-at-once",
    "required-column",
];

const BASE: &str = "CREATE TABLE parents (id INTEGER PRIMARY KEY);\n\
    CREATE TABLE orders (id INTEGER PRIMARY KEY, state VARCHAR(20));\n\
    INSERT INTO orders VALUES (1, 'a');\n";

const POSTGRES_BASE: &str = "CREATE TYPE e AS ENUM ('a');\nCREATE TABLE orders_e (e e DEFAULT 'a');\nCREATE INDEX there ON orders (state);\n";

const EVERY: [&str; 4] = [
    "ALTER TABLE orders ADD COLUMN a VARCHAR(9);",
    "ALTER TABLE orders ADD COLUMN a VARCHAR(9) NOT NULL DEFAULT 'x';",
    "ALTER TABLE orders ADD COLUMN a INTEGER REFERENCES parents (id);",
    "CREATE INDEX i ON orders (id);",
];

const SQLITE: [&str; 12] = [
    "ALTER TABLE orders ADD COLUMN a TEXT NOT NULL;",
    "ALTER TABLE orders ADD COLUMN a TEXT UNIQUE;",
    "ALTER TABLE orders ADD COLUMN a INTEGER PRIMARY KEY;",
    "ALTER TABLE orders ADD COLUMN a TEXT DEFAULT CURRENT_TIMESTAMP;",
    "ALTER TABLE orders ADD COLUMN a TEXT DEFAULT (hex(randomblob(4)));",
    "ALTER TABLE orders ADD COLUMN a INTEGER AS (id + 1) STORED;",
    "ALTER TABLE orders ADD COLUMN a INTEGER AS (id + 1) VIRTUAL;",
    "ALTER TABLE orders ADD COLUMN a INTEGER DEFAULT 1 REFERENCES parents (id);",
    "ALTER TABLE orders ADD COLUMN a INTEGER DEFAULT NULL REFERENCES parents (id);",
    "ALTER TABLE orders ADD COLUMN a TEXT, ADD COLUMN b TEXT;",
    "ALTER TABLE orders MODIFY state TEXT;",
    "ALTER TABLE orders ADD CONSTRAINT c UNIQUE (state);",
];

const POSTGRES: [&str; 9] = [
    "ALTER TABLE orders ADD COLUMN a TEXT NOT NULL;",
    "VACUUM orders;",
    "CREATE INDEX CONCURRENTLY i ON orders (id);",
    "DROP INDEX CONCURRENTLY there;",
    "REINDEX TABLE CONCURRENTLY orders;",
    "ALTER SYSTEM SET work_mem = '4MB';",
    "CREATE TYPE s AS ENUM ('a');\nCREATE TABLE t (s s DEFAULT 'a');",
    "ALTER TYPE e ADD VALUE 'b' AFTER 'a';\nALTER TABLE orders_e ALTER COLUMN e SET DEFAULT 'b';",
    "ALTER TYPE e ADD VALUE 'b' AFTER 'a';",
];

/// Rules that say a database refuses something are held against that database: refused where they find something, done
/// where they don't. The header keeps Cutover from refusing first.
#[tokio::test]
async fn what_is_said_to_be_refused_is_refused() {
    for backend in backends() {
        let (own, base): (&[&str], String) = match backend.dialect {
            Dialect::Sqlite => (&SQLITE, BASE.to_owned()),
            Dialect::Postgres => (&POSTGRES, format!("{BASE}{POSTGRES_BASE}")),
            Dialect::Mysql => (&[], BASE.to_owned()),
        };
        for sql in EVERY.iter().chain(own) {
            let dir = support::folder(&[("0002_tried.sql", &format!("-- phase: expand\n{sql}\n"))]);
            let source = Source::open(dir.path(), None).unwrap();
            let report = lint(&source, backend.dialect, &Sizes::default(), |_, _| true);
            let refused = report
                .findings
                .iter()
                .any(|found| found.severity == Severity::Blocks && REFUSALS.contains(&found.rule));
            support::write(dir.path(), "0001_base.sql", &format!("-- phase: expand\n{base}"));
            reset(&backend).await;
            let done = backend.up(dir.path(), Upto::All).await;
            assert_eq!(done.is_err(), refused, "{}: {sql}: {done:?}", backend.name);
        }
    }
}

/// An empty database again.
async fn reset(backend: &support::Backend) {
    match backend.dialect {
        Dialect::Postgres => backend.run("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await,
        Dialect::Mysql | Dialect::Sqlite => {
            for table in ["orders", "parents", "_cutover_migrations", "_cutover_lock", "_cutover_progress"] {
                backend.run(&format!("DROP TABLE IF EXISTS {table}")).await;
            }
        }
    }
}
