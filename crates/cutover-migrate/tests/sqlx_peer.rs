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
        let name = backend.url.rsplit('/').next().unwrap();
        // MariaDB gives no lock for the endless wait that sqlx asks for; then sqlx itself has none either.
        let got: Option<i64> =
            sqlx::query_scalar("SELECT GET_LOCK(?, -1)").bind(name).fetch_one(&mut holder).await.unwrap();
        if got == Some(1) {
            is_kept_out(&backend).await;
        }
    }
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
