//! The formats of refinery, golang-migrate, dbmate and diesel on each database: applied once, then nothing to do, down parts
//! never run, and the ledger's rows are the tool's own, to the byte.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use cutover_migrate::{Dialect, Format, Options, Refusal, Silent, Source, SourceError, Upto, status, up};
use cutover_model::migration::MigrationState;
use sqlx::Connection;
use support::{Backend, backends, folder, ids, mysql, postgres, write};

const USERS: &str = "CREATE TABLE users (id int NOT NULL PRIMARY KEY, email varchar(100));\n";
const ORDERS: &str = "CREATE TABLE orders (id int NOT NULL PRIMARY KEY);\n-- found by; id\nCREATE INDEX orders_id ON orders (id);";
/// By refinery-core 0.10.1, `load_sql_migrations`: in 32 bits, and in 64 built with `int8-versions`.
const CHECKSUM_USERS: &str = "14158460313412411263";
const CHECKSUM_ORDERS: &str = "2489785081613030728";
const CHECKSUM_WIDE_USERS: &str = "5051799644435899941";
const CHECKSUM_WIDE_ORDERS: &str = "3225774617119604056";
const DROP: &str = "DROP TABLE users;";

async fn up_as(backend: &Backend, dir: &std::path::Path, format: Format) -> Vec<String> {
    let source = Source::open(dir, Some(format)).unwrap();
    let mut database = backend.connect().await;
    let applied = up(&source, &mut database, Upto::Expand, &Options::new("test"), &mut Silent).await;
    database.close().await;
    ids(&applied.unwrap()).into_iter().map(str::to_owned).collect()
}

async fn applies_once(backend: &Backend, dir: &std::path::Path, format: Format, expected: [&str; 2]) {
    assert_eq!(Source::open(dir, None).unwrap().format(), format);
    assert_eq!(ids(&backend.up(dir, Upto::Expand).await.unwrap()), expected, "{}", backend.name);
    let second = backend.up(dir, Upto::Expand).await.unwrap();
    assert!(second.migrations.is_empty(), "{}", backend.name);
    assert_eq!(second.status.format, format);
    assert_eq!(
        backend.rows("SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM orders)").await,
        [["0"]]
    );
}

#[tokio::test]
async fn refinery() {
    let dir = folder(&[
        ("V1__users.sql", USERS),
        ("later/V2__add_orders.sql", ORDERS),
        ("README.md", ""),
        ("seed.sql", "not SQL"),
    ]);
    for backend in backends() {
        applies_once(&backend, dir.path(), Format::Refinery, ["V1__users", "V2__add_orders"]).await;
        let rows = backend
            .rows("SELECT version, name, checksum, CASE WHEN applied_on LIKE '20__-__-__T__:__:__%Z' THEN 'yes' ELSE applied_on END FROM refinery_schema_history ORDER BY version")
            .await;
        assert_eq!(
            rows,
            [["1", "users", CHECKSUM_USERS, "yes"], ["2", "add_orders", CHECKSUM_ORDERS, "yes"]],
            "{}",
            backend.name
        );
        write(dir.path(), "V1__users.sql", "CREATE TABLE people (id int);");
        let error = backend.up(dir.path(), Upto::Expand).await.unwrap_err().to_string();
        assert!(error.contains("changed after migration V1__users was applied"), "{}: {error}", backend.name);
        write(dir.path(), "V1__users.sql", USERS);
    }
}

#[tokio::test]
async fn refinery_with_wide_versions() {
    let dir = folder(&[("V20261120093000__users.sql", USERS), ("U20261121000001__orders.sql", ORDERS)]);
    for backend in backends() {
        let names = ["V20261120093000__users", "U20261121000001__orders"];
        applies_once(&backend, dir.path(), Format::Refinery, names).await;
        let rows =
            backend.rows("SELECT version, checksum FROM refinery_schema_history ORDER BY version").await;
        let expected = [["20261120093000", CHECKSUM_WIDE_USERS], ["20261121000001", CHECKSUM_WIDE_ORDERS]];
        assert_eq!(rows, expected, "{}", backend.name);
    }
}

#[tokio::test]
async fn diesel() {
    let dir = folder(&[
        ("2026-11-20-093000_users/up.sql", USERS),
        ("2026-11-20-093000_users/down.sql", DROP),
        ("2026-11-21-000001_orders/up.sql", ORDERS),
        ("2026-11-21-000001_orders/down.sql", "DROP TABLE orders"),
        ("2026-11-21-000001_orders/metadata.toml", "run_in_transaction = false"),
        (".hidden/note", ""),
        ("README.md", ""),
    ]);
    for backend in backends() {
        let names = ["2026-11-20-093000_users", "2026-11-21-000001_orders"];
        applies_once(&backend, dir.path(), Format::Diesel, names).await;
        let rows = backend
            .rows("SELECT version, CASE WHEN run_on IS NULL THEN 'no' ELSE 'yes' END FROM __diesel_schema_migrations ORDER BY version")
            .await;
        assert_eq!(rows, [["20261120093000", "yes"], ["20261121000001", "yes"]], "{}", backend.name);
    }
}

#[tokio::test]
async fn dbmate() {
    let users = format!("-- migrate:up\n{USERS}\n-- migrate:down\n{DROP}\n");
    let orders =
        format!("-- migrate:up transaction:false\n{ORDERS}\n\n-- migrate:down\nDROP TABLE orders;\n");
    let dir = folder(&[
        ("20261120093000_users.sql", users.as_str()),
        ("20261121000001_orders.sql", orders.as_str()),
        ("notes.sql", "not SQL"),
    ]);
    for backend in backends() {
        let names = ["20261120093000_users", "20261121000001_orders"];
        applies_once(&backend, dir.path(), Format::Dbmate, names).await;
        let rows = backend.rows("SELECT * FROM schema_migrations ORDER BY version").await;
        assert_eq!(rows, [["20261120093000"], ["20261121000001"]], "{}", backend.name);
    }
}

fn golang() -> tempfile::TempDir {
    folder(&[
        ("000001_users.up.sql", USERS),
        ("000001_users.down.sql", DROP),
        ("000002_orders.up.sql", ORDERS),
        ("000002_orders.down.sql", "DROP TABLE orders"),
    ])
}

const LEDGER: &str = "SELECT version, CASE WHEN dirty THEN 'dirty' ELSE 'clean' END FROM schema_migrations";

#[tokio::test]
async fn golang_migrate() {
    for backend in backends() {
        let dir = golang();
        let names = ["000001_users", "000002_orders"];
        assert_eq!(up_as(&backend, dir.path(), Format::GolangMigrate).await, names, "{}", backend.name);
        assert_eq!(backend.rows(LEDGER).await, [["2", "clean"]], "{}", backend.name);
        // Now the database says whose folder it is.
        write(dir.path(), "000003_more.up.sql", "CREATE TABLE more (id int);");
        let third = backend.up(dir.path(), Upto::Expand).await.unwrap();
        assert_eq!((ids(&third), third.status.format), (vec!["000003_more"], Format::GolangMigrate));
        assert_eq!(backend.rows(LEDGER).await, [["3", "clean"]], "{}", backend.name);
        assert!(backend.up(dir.path(), Upto::Expand).await.unwrap().migrations.is_empty());
    }
}

/// golang-migrate's number for what it names its lock by (`database/util.go`).
fn golang_lock(named: &str) -> u32 {
    let crc = named.bytes().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
    });
    (!crc).wrapping_mul(1_486_364_155)
}

/// Opened by a URL, golang-migrate names a PostgreSQL database by the URL's path, else by its name.
fn golang_locks(backend: &Backend) -> Vec<String> {
    let name = backend.url.rsplit('/').next().unwrap().split('?').next().unwrap().to_owned();
    match backend.dialect {
        Dialect::Postgres => ["/", ""]
            .map(|slash| golang_lock(&format!("public\0schema_migrations\0{slash}{name}")))
            .map(|number| format!("SELECT pg_advisory_lock({number})"))
            .into(),
        _ => vec![format!("SELECT GET_LOCK('{}', 10)", golang_lock(&format!("{name}:schema_migrations")))],
    }
}

#[tokio::test]
async fn golang_migrate_s_lock_keeps_us_out() {
    sqlx::any::install_default_drivers();
    for backend in [postgres(), mysql()].into_iter().flatten() {
        let dir = golang();
        let source = Source::open(dir.path(), Some(Format::GolangMigrate)).unwrap();
        for take in golang_locks(&backend) {
            let mut holder = sqlx::AnyConnection::connect(&backend.url).await.unwrap();
            sqlx::raw_sql(sqlx::AssertSqlSafe(take)).execute(&mut holder).await.unwrap();
            let mut database = backend.connect().await;
            let options = Options { lock_wait: std::time::Duration::ZERO, ..Options::new("test") };
            let error = up(&source, &mut database, Upto::Expand, &options, &mut Silent).await.unwrap_err();
            let error = error.to_string();
            assert!(error.starts_with("golang-migrate has been migrating"), "{}: {error}", backend.name);
            holder.close().await.unwrap();
        }
        let names = ["000001_users", "000002_orders"];
        assert_eq!(up_as(&backend, dir.path(), Format::GolangMigrate).await, names, "{}", backend.name);
    }
}

#[tokio::test]
async fn a_dirty_row_is_explained_and_nothing_runs() {
    for backend in backends() {
        let dir = golang();
        up_as(&backend, dir.path(), Format::GolangMigrate).await;
        backend.run("UPDATE schema_migrations SET dirty = TRUE").await;
        write(dir.path(), "000003_more.up.sql", "CREATE TABLE more (id int);");
        let error = backend.up(dir.path(), Upto::Expand).await.unwrap_err().to_string();
        for part in ["dirty at migration 000002_orders", "`migrate force 000002`", "cutover migrate up"] {
            assert!(error.contains(part), "{}: no `{part}` in: {error}", backend.name);
        }
        assert_eq!(backend.rows(LEDGER).await, [["2", "dirty"]], "{}", backend.name);
    }
}

/// MySQL can't take shape back, so the row is dirty while a file runs; a first statement that fails leaves the row before.
#[tokio::test]
async fn a_failed_first_statement_leaves_the_version_before() {
    for backend in backends() {
        let dir = golang();
        write(dir.path(), "000003_bad.up.sql", "CREATE TABLE users (id int);");
        let source = Source::open(dir.path(), Some(Format::GolangMigrate)).unwrap();
        let mut database = backend.connect().await;
        up(&source, &mut database, Upto::Expand, &Options::new("test"), &mut Silent).await.unwrap_err();
        assert_eq!(backend.rows(LEDGER).await, [["2", "clean"]], "{}", backend.name);
    }
    if let Some(backend) = mysql() {
        let dir = golang();
        write(dir.path(), "000003_half.up.sql", "CREATE TABLE half (id int);\nCREATE TABLE users (id int);");
        let source = Source::open(dir.path(), Some(Format::GolangMigrate)).unwrap();
        let mut database = backend.connect().await;
        up(&source, &mut database, Upto::Expand, &Options::new("test"), &mut Silent).await.unwrap_err();
        assert_eq!(backend.rows(LEDGER).await, [["3", "dirty"]]);
        write(dir.path(), "000003_half.up.sql", "CREATE TABLE half (id int);\nCREATE TABLE half2 (id int);");
        assert_eq!(ids(&backend.up(dir.path(), Upto::Expand).await.unwrap()), ["000003_half"]);
        assert_eq!(backend.rows(LEDGER).await, [["3", "clean"]]);
    }
}

#[tokio::test]
async fn nothing_is_applied_past_one_that_waits_where_only_the_newest_is_kept() {
    for backend in backends() {
        let dir = golang();
        up_as(&backend, dir.path(), Format::GolangMigrate).await;
        write(dir.path(), "000003_drop.up.sql", "DROP TABLE users;");
        write(dir.path(), "000004_more.up.sql", "CREATE TABLE more (id int);");
        let source = Source::open(dir.path(), Some(Format::GolangMigrate)).unwrap();
        let mut database = backend.connect().await;
        let mut options = Options::new("test");
        options.carried = ["000003_drop".parse().unwrap()].into();
        let done = up(&source, &mut database, Upto::Expand, &options, &mut Silent).await;
        let refused = done.unwrap_err().to_string();
        assert!(refused.starts_with("000003_drop waits and 000004_more would run"), "{refused}");
        assert_eq!(backend.rows(LEDGER).await, [["2", "clean"]], "{}", backend.name);
        let options = Options::new("test");
        let all = up(&source, &mut database, Upto::All, &options, &mut Silent).await.unwrap();
        assert_eq!(ids(&all), ["000003_drop", "000004_more"], "{}", backend.name);
    }
}

#[tokio::test]
async fn ledgers_of_one_name_are_not_mixed_up() {
    for backend in backends() {
        let dir = golang();
        up_as(&backend, dir.path(), Format::GolangMigrate).await;
        let other =
            folder(&[("1_users.sql", "-- migrate:up\nCREATE TABLE again (id int);\n-- migrate:down\n")]);
        let mut database = backend.connect().await;
        let found = |source: &Source, refused: Option<Refusal>| match refused {
            Some(Refusal::OtherLedger { found, .. }) => found,
            other => panic!("{:?}: {other:?}", source.format()),
        };
        let source = Source::open(other.path(), None).unwrap();
        let said = status(&source, &mut database).await.unwrap();
        assert_eq!(found(&source, said.refused), "golang-migrate", "{}", backend.name);

        backend.run("DROP TABLE schema_migrations").await;
        backend.run("CREATE TABLE schema_migrations (version varchar(100) PRIMARY KEY)").await;
        backend.run("INSERT INTO schema_migrations VALUES ('1')").await;
        let source = Source::open(dir.path(), Some(Format::GolangMigrate)).unwrap();
        let said = status(&source, &mut database).await.unwrap();
        assert_eq!(found(&source, said.refused), "dbmate", "{}", backend.name);
        // A folder of another shape with that version: dbmate's. Without it: nobody's that matters here (Rails).
        let own = folder(&[("1_users.sql", USERS)]);
        let source = Source::open(own.path(), None).unwrap();
        let said = status(&source, &mut database).await.unwrap();
        assert_eq!(found(&source, said.refused), "dbmate", "{}", backend.name);
        let own = folder(&[("2_users.sql", USERS)]);
        let source = Source::open(own.path(), None).unwrap();
        assert_eq!(status(&source, &mut database).await.unwrap().refused, None, "{}", backend.name);
    }
}

#[tokio::test]
async fn one_merged_late_is_applied_and_said() {
    let late = [
        (Format::Refinery, "V1__a.sql", "V2__b.sql", "V3__c.sql", "CREATE TABLE {} (id int);"),
        (Format::Diesel, "1_a/up.sql", "2_b/up.sql", "3_c/up.sql", "CREATE TABLE {} (id int);"),
        (Format::Dbmate, "1_a.sql", "2_b.sql", "3_c.sql", "-- migrate:up\nCREATE TABLE {} (id int);"),
    ];
    for (format, a, b, c, sql) in late {
        for backend in backends() {
            let sql = |table| sql.replace("{}", table);
            let dir = folder(&[(a, sql("a").as_str()), (c, sql("c").as_str())]);
            up_as(&backend, dir.path(), format).await;
            write(dir.path(), b, &sql("b"));
            let source = Source::open(dir.path(), None).unwrap();
            let mut database = backend.connect().await;
            let before = status(&source, &mut database).await.unwrap();
            assert_eq!(before.migrations[1].state, MigrationState::Pending);
            assert!(before.migrations[1].notes[0].contains("out of order"), "{format:?}");
            let applied = up_as(&backend, dir.path(), format).await;
            assert_eq!(applied.len(), 1, "{format:?} {}", backend.name);
            backend.rows("SELECT * FROM b").await;
        }
    }
}

#[test]
fn what_the_tool_would_leave_out_or_refuse_is_refused_with_the_way_out() {
    let said = |files: &[(&str, &str)], format| {
        let dir = folder(files);
        Source::open(dir.path(), Some(format)).map(|source| source.ids()).unwrap_err()
    };
    let text = |files: &[(&str, &str)], format| said(files, format).to_string();
    assert!(text(&[("V1__a.rs", "")], Format::Refinery).contains("written in Rust"));
    assert!(text(&[("V1.5__a.sql", "")], Format::Refinery).contains("whole numbers"));
    assert!(text(&[("1_a/up.sql", ""), ("2_b/down.sql", "")], Format::Diesel).contains("up.sql"));
    assert!(
        text(&[("1_a/up.sql", ""), ("1_a/metadata.toml", "run_in =")], Format::Diesel)
            .contains("metadata.toml")
    );
    assert!(text(&[("1_a.sql", "SELECT 1;")], Format::Dbmate).contains("-- migrate:up"));
    assert!(text(&[("1_a.up.json", "{}")], Format::GolangMigrate).contains(".up.sql"));
    let twice = [
        said(&[("V1__a.sql", ""), ("x/V1__b.sql", "")], Format::Refinery),
        said(&[("1-0_a/up.sql", ""), ("10_b/up.sql", "")], Format::Diesel),
        said(&[("1_a.sql", "-- migrate:up"), ("1b.sql", "-- migrate:up")], Format::Dbmate),
        said(&[("1_a.up.sql", ""), ("01_b.up.sql", "")], Format::GolangMigrate),
    ];
    assert!(twice.iter().all(|error| matches!(error, SourceError::Duplicate { .. })), "{twice:?}");
}
