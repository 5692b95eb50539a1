//! sqlx's own migrator and Cutover take turns on one database; each finds nothing wrong.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use cutover_migrate::{Dialect, Options, Silent, Source, Upto, up};
use sqlx::{
    Connection,
    migrate::{Migrate, Migrator},
};
use support::{Backend, folder, ids, mysql, postgres, sqlite, write};

async fn sqlx_runs(backend: &Backend, dir: &std::path::Path) -> usize {
    let migrator = Migrator::new(dir).await.unwrap();
    match backend.dialect {
        Dialect::Postgres => migrator.run(&sqlx::PgPool::connect(&backend.url).await.unwrap()).await.unwrap(),
        Dialect::Mysql => migrator.run(&sqlx::MySqlPool::connect(&backend.url).await.unwrap()).await.unwrap(),
        Dialect::Sqlite => {
            let url = format!("{}?mode=rwc", backend.url);
            migrator.run(&sqlx::SqlitePool::connect(&url).await.unwrap()).await.unwrap();
        }
    }
    backend.column("SELECT version FROM _sqlx_migrations").await.len()
}

const HARD: &str = "\u{feff}-- a; comment\r\nCREATE TABLE hard (id int, t varchar(50));\r\nINSERT INTO hard VALUES (1, 'it''s; so');\r\n";

#[tokio::test]
async fn turns_are_taken_both_ways() {
    for backend in [Some(sqlite()), postgres(), mysql()].into_iter().flatten() {
        let dir = folder(&[("1_a_b.sql", "CREATE TABLE a (id int);"), ("sqlx.toml", "")]);
        assert_eq!(ids(&backend.up(dir.path(), Upto::Expand).await.unwrap()), ["1_a_b"]);
        assert_eq!(sqlx_runs(&backend, dir.path()).await, 1, "{}", backend.name);
        write(dir.path(), "2_b.sql", "CREATE TABLE b (id int);");
        assert_eq!(sqlx_runs(&backend, dir.path()).await, 2);
        assert!(backend.up(dir.path(), Upto::Expand).await.unwrap().migrations.is_empty());
        write(dir.path(), "3_hard.sql", HARD.strip_prefix('\u{feff}').unwrap());
        write(dir.path(), "4_alone.sql", "-- no-transaction\nCREATE TABLE alone (id int);");
        assert_eq!(
            ids(&backend.up(dir.path(), Upto::Expand).await.unwrap()),
            ["3_hard", "4_alone"],
            "{}",
            backend.name
        );
        assert_eq!(sqlx_runs(&backend, dir.path()).await, 4);
    }
}

/// Cutover while somebody else's connection holds sqlx's own lock.
async fn is_kept_out(backend: &Backend) {
    let dir = folder(&[("1_a.sql", "CREATE TABLE a (id int);"), ("sqlx.toml", "")]);
    let source = Source::open(dir.path(), None).unwrap();
    let mut database = backend.connect().await;
    let options = Options { lock_wait: std::time::Duration::ZERO, ..Options::new("test") };
    let done = up(&source, &mut database, Upto::Expand, &options, &mut Silent).await;
    let error = done.expect_err(backend.name);
    assert!(error.to_string().starts_with("sqlx has been migrating"), "{}: {error}", backend.name);
}

#[tokio::test]
async fn sqlx_s_lock_keeps_us_out() {
    if let Some(backend) = postgres() {
        let mut holder = sqlx::PgConnection::connect(&backend.url).await.unwrap();
        holder.lock().await.unwrap();
        is_kept_out(&backend).await;
    }
    if let Some(backend) = mysql() {
        let mut holder = sqlx::MySqlConnection::connect(&backend.url).await.unwrap();
        holder.lock().await.unwrap();
        // MariaDB answers the endless wait that sqlx asks for with NULL: there its migrator has no lock. Then take by name
        // what MySQL would have given it.
        let name = lock_name(backend.url.rsplit('/').next().unwrap());
        let free: i64 = sqlx::query_scalar("SELECT CAST(IS_FREE_LOCK(?) AS SIGNED)")
            .bind(&name)
            .fetch_one(&mut holder)
            .await
            .unwrap();
        if free == 1 {
            let got: i64 = sqlx::query_scalar("SELECT CAST(GET_LOCK(?, 0) AS SIGNED)")
                .bind(&name)
                .fetch_one(&mut holder)
                .await
                .unwrap();
            assert_eq!(got, 1);
        }
        is_kept_out(&backend).await;
    }
}

/// sqlx-core 0.9, `generate_lock_id` for MySQL.
fn lock_name(database: &str) -> String {
    let crc = database.bytes().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
    });
    format!("{:x}", 0x3d32_ad9e_i64 * i64::from(!crc))
}

#[tokio::test]
async fn our_lock_keeps_sqlx_out() {
    let Some(backend) = postgres() else { return };
    let dir = folder(&[("1_a.sql", "SELECT pg_sleep(1);\nCREATE TABLE a (id int);"), ("sqlx.toml", "")]);
    let ours = backend.up(dir.path(), Upto::Expand);
    let theirs = async {
        // Begin when ours is in the middle.
        while backend.rows("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND datname = current_database()").await == [["0"]] {}
        sqlx_runs(&backend, dir.path()).await
    };
    let (ours, theirs) = tokio::join!(ours, theirs);
    assert_eq!((ids(&ours.unwrap()), theirs), (vec!["1_a"], 1));
}
