//! Each format on each database: applied once, then nothing to do, and the ledger's rows are the tool's own, to the byte.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use cutover_migrate::{Dialect, Format, Source, Upto};
use support::{Backend, backends, folder, ids, journal};

const USERS: &str = "CREATE TABLE users (id int NOT NULL PRIMARY KEY, email varchar(100));\n";
const ORDERS: &str = "CREATE TABLE orders (id int NOT NULL PRIMARY KEY);\n-- found by; id\nCREATE INDEX orders_id ON orders (id);";
const ORDERS_DIVIDED: &str = "CREATE TABLE orders (id int NOT NULL PRIMARY KEY);\n--> statement-breakpoint\nCREATE INDEX orders_id ON orders (id);";

/// SHA-256 of the files, by `sha256sum`.
const USERS_SHA256: &str = "eced243d6b812b0e106201b032188f0b4000f35d9ad3df8034f700c04be0a0c7";
const ORDERS_SHA256: &str = "b36773adac63b13aeb179655d43ae1a6c6e9d41aacf8f2b19a7364a4cbbced91";
const ORDERS_DIVIDED_SHA256: &str = "c2d15ea99546b104dbc38ced3b04f7fefc75be79f455bcc7b621c0a460da87b4";
/// SHA-384, by `sha384sum`.
const USERS_SHA384: &str =
    "0338dda5c1345add54b4254517acc56678f9cbfddbfbae52bdc8f20f3f0a8ddec24c86778cc72d4eafa8f5a92bd557b0";
const ORDERS_SHA384: &str =
    "5af141995cda9aca9200ffda0114d302e4bb46677333f1a8fd4404a754a83cef18c45cff6060d267eda04bd57f0cd58a";

async fn applies_once(backend: &Backend, dir: &std::path::Path, format: Format, expected: [&str; 2]) {
    assert_eq!(Source::open(dir, None).unwrap().format(), format);
    let first = backend.up(dir, Upto::Expand).await.unwrap();
    assert_eq!(ids(&first), expected, "{}", backend.name);
    assert_eq!(first.status.head.as_ref().map(|id| id.as_str()), Some(expected[1]));
    let second = backend.up(dir, Upto::Expand).await.unwrap();
    assert!(second.migrations.is_empty(), "{}", backend.name);
    assert_eq!(backend.rows("SELECT count(*) FROM orders").await, [["0"]]);
}

#[tokio::test]
async fn cutover() {
    let dir = folder(&[("0001_users.sql", USERS), ("0002_orders.sql", ORDERS), ("notes.md", "")]);
    for backend in backends() {
        applies_once(&backend, dir.path(), Format::Own, ["0001_users", "0002_orders"]).await;
        let rows = backend
            .rows("SELECT id, checksum, phase, applied_by, CASE WHEN took_ms >= 0 THEN 'yes' ELSE 'no' END FROM _cutover_migrations ORDER BY id")
            .await;
        assert_eq!(
            rows,
            [
                ["0001_users", USERS_SHA256, "expand", "test", "yes"],
                ["0002_orders", ORDERS_SHA256, "expand", "test", "yes"]
            ],
            "{}",
            backend.name
        );
    }
}

#[tokio::test]
async fn drizzle() {
    for backend in backends() {
        let tags = [("0000_users", 1_700_000_000_123), ("0001_orders", 1_700_000_100_456)];
        let journal = journal(backend.dialect, &tags);
        let dir = folder(&[
            ("0000_users.sql", USERS),
            ("0001_orders.sql", ORDERS_DIVIDED),
            ("meta/_journal.json", &journal),
            ("meta/0000_snapshot.json", "{}"),
        ]);
        applies_once(&backend, dir.path(), Format::Drizzle, ["0000_users", "0001_orders"]).await;
        let (table, ids) = match backend.dialect {
            Dialect::Postgres => ("drizzle.__drizzle_migrations", ["1", "2"]),
            Dialect::Mysql => ("__drizzle_migrations", ["1", "2"]),
            // `SERIAL PRIMARY KEY` is no rowid in SQLite: drizzle leaves it NULL too.
            Dialect::Sqlite => ("__drizzle_migrations", ["NULL", "NULL"]),
        };
        let rows =
            backend.rows(&format!("SELECT id, hash, created_at FROM {table} ORDER BY created_at")).await;
        assert_eq!(
            rows,
            [[ids[0], USERS_SHA256, "1700000000123"], [ids[1], ORDERS_DIVIDED_SHA256, "1700000100456"]],
            "{}",
            backend.name
        );
    }
}

#[tokio::test]
async fn drizzle_folders() {
    let dir = folder(&[
        ("20261120093000_users/migration.sql", USERS),
        ("20261120093000_users/snapshot.json", "{}"),
        ("20261121000001_orders/migration.sql", ORDERS_DIVIDED),
    ]);
    for backend in backends() {
        let names = ["20261120093000_users", "20261121000001_orders"];
        applies_once(&backend, dir.path(), Format::DrizzleFolders, names).await;
        let table = if backend.dialect == Dialect::Postgres {
            "drizzle.__drizzle_migrations"
        } else {
            "__drizzle_migrations"
        };
        let query = format!(
            "SELECT id, hash, created_at, name, CASE WHEN applied_at IS NULL THEN 'no' ELSE 'yes' END FROM {table} ORDER BY id"
        );
        // `date -u -d '2026-11-20 09:30:00' +%s` and `'2026-11-21 00:00:01'`
        assert_eq!(
            backend.rows(&query).await,
            [
                ["1", USERS_SHA256, "1795167000000", names[0], "yes"],
                ["2", ORDERS_DIVIDED_SHA256, "1795219201000", names[1], "yes"]
            ],
            "{}",
            backend.name
        );
    }
}

#[tokio::test]
async fn sqlx_reversible() {
    let dir = folder(&[
        ("1_add_users.up.sql", USERS),
        ("1_add_users.down.sql", "DROP TABLE users"),
        ("2_orders.up.sql", ORDERS),
        ("2_orders.down.sql", "DROP TABLE orders"),
    ]);
    for backend in backends() {
        applies_once(&backend, dir.path(), Format::Sqlx, ["1_add_users", "2_orders"]).await;
        let checksum = match backend.dialect {
            Dialect::Postgres => "encode(checksum, 'hex')",
            _ => "lower(hex(checksum))",
        };
        let query = format!(
            "SELECT version, description, CASE WHEN success THEN 'yes' ELSE 'no' END, {checksum}, \
             CASE WHEN execution_time > 0 THEN 'yes' ELSE 'no' END FROM _sqlx_migrations ORDER BY version"
        );
        assert_eq!(
            backend.rows(&query).await,
            [["1", "add users", "yes", USERS_SHA384, "yes"], ["2", "orders", "yes", ORDERS_SHA384, "yes"]],
            "{}",
            backend.name
        );
    }
}

#[tokio::test]
async fn an_unmarked_folder_is_sqlx_where_the_database_says_so() {
    let dir = folder(&[("1_users.sql", USERS)]);
    for backend in backends() {
        let source = Source::open(dir.path(), Some(Format::Sqlx)).unwrap();
        let mut database = backend.connect().await;
        let options = cutover_migrate::Options::new("test");
        cutover_migrate::up(&source, &mut database, Upto::All, &options, &mut cutover_migrate::Silent)
            .await
            .unwrap();
        support::write(dir.path(), "2_orders.sql", ORDERS);
        let unmarked = Source::open(dir.path(), None).unwrap();
        assert_eq!(unmarked.format(), Format::Own);
        let status = cutover_migrate::status(&unmarked, &mut database).await.unwrap();
        assert_eq!((status.format, status.refused), (Format::Sqlx, None));
        assert_eq!(
            ids(&backend.up(dir.path(), Upto::Expand).await.unwrap()),
            ["2_orders"],
            "{}",
            backend.name
        );
        std::fs::remove_file(dir.path().join("2_orders.sql")).unwrap();
    }
}

#[tokio::test]
async fn looking_makes_nothing() {
    let dir = folder(&[("0001_users.sql", USERS)]);
    for backend in backends() {
        let source = Source::open(dir.path(), None).unwrap();
        let mut database = backend.connect().await;
        let status = cutover_migrate::status(&source, &mut database).await.unwrap();
        assert!(status.first_install && status.head.is_none());
        let plan =
            cutover_migrate::plan(&source, &mut database, Upto::Expand, &Default::default()).await.unwrap();
        assert_eq!(plan.run.len(), 1);
        assert_eq!(
            cutover_migrate::check_lock(&mut database).await.unwrap(),
            cutover_migrate::LockState::Free
        );
        database.close().await;
        let tables = match backend.dialect {
            Dialect::Postgres => {
                "SELECT count(*) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
            }
            Dialect::Mysql => {
                "SELECT count(*) FROM information_schema.tables WHERE table_schema = DATABASE()"
            }
            Dialect::Sqlite => {
                assert!(!std::path::Path::new(&backend.url["sqlite://".len()..]).exists());
                continue;
            }
        };
        assert_eq!(backend.rows(tables).await, [["0"]], "{}", backend.name);
    }
}

#[tokio::test]
async fn an_old_drizzle_ledger_is_left_to_drizzle() {
    for backend in backends() {
        let dir = folder(&[
            ("0000_users.sql", USERS),
            ("meta/_journal.json", &journal(backend.dialect, &[("0000_users", 1)])),
        ]);
        backend.up(dir.path(), Upto::Expand).await.unwrap();
        let new = folder(&[("20261120093000_users/migration.sql", USERS)]);
        let error = backend.up(new.path(), Upto::Expand).await.unwrap_err().to_string();
        assert!(error.contains("run `drizzle-kit migrate` once"), "{}: {error}", backend.name);
    }
}

#[tokio::test]
async fn a_folder_for_another_database_is_refused() {
    for backend in backends() {
        let other = if backend.dialect == Dialect::Mysql { Dialect::Sqlite } else { Dialect::Mysql };
        let dir = folder(&[
            ("0000_users.sql", USERS),
            ("meta/_journal.json", &journal(other, &[("0000_users", 1)])),
        ]);
        let error = backend.up(dir.path(), Upto::Expand).await.unwrap_err().to_string();
        assert!(error.contains(&format!("the migration folder is for {}", other.as_str())), "{error}");
    }
}
