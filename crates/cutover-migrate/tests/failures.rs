//! What goes wrong, what is left, what is said, and that the next `up` goes on.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use cutover_migrate::{
    Database, Dialect, ErrorKind, Format, LockState, MigrateError, OnInterrupted, Options, Refusal, Silent,
    Source, Upto, check_lock, status, up,
};
use cutover_model::migration::{MigrationState, OrderRefused, Phase};
use secrecy::SecretString;
use support::{Backend, backends, folder, ids, journal, mysql, write};

async fn free(backend: &Backend) {
    let mut database = backend.connect().await;
    assert_eq!(check_lock(&mut database).await.unwrap(), LockState::Free, "{}", backend.name);
}

#[tokio::test]
async fn a_failing_migration_leaves_the_earlier_ones_and_goes_on_after_the_fix() {
    for backend in backends() {
        let dir = folder(&[
            ("0001_a.sql", "CREATE TABLE a (id int);"),
            ("0002_b.sql", "CREATE TABLE b (id int);\n\nCREATE TABLE a (id int);"),
            ("0003_c.sql", "CREATE TABLE c (id int);"),
        ]);
        let error = backend.up(dir.path(), Upto::Expand).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Failed);
        let text = error.to_string();
        for part in [
            "0002_b",
            "statement 2 of 2",
            "line 3",
            "CREATE TABLE a",
            "already exists",
            "kept: 0001_a",
            "cutover migrate up",
        ] {
            assert!(text.contains(part), "{}: no `{part}` in: {text}", backend.name);
        }
        let taken_back = backend.dialect != Dialect::Mysql;
        assert_eq!(text.contains("Nothing of it was kept"), taken_back, "{text}");
        assert_eq!(text.contains("first 1 statements are done"), !taken_back, "{text}");
        free(&backend).await;
        assert_eq!(backend.column("SELECT id FROM _cutover_migrations").await, ["0001_a"]);

        write(dir.path(), "0002_b.sql", "CREATE TABLE b (id int);\n\nCREATE TABLE b2 (id int);");
        let applied = backend.up(dir.path(), Upto::Expand).await.unwrap();
        assert_eq!(ids(&applied), ["0002_b", "0003_c"], "{}", backend.name);
        backend.rows("SELECT * FROM b2").await;
    }
}

#[tokio::test]
async fn an_interrupted_first_install_is_still_a_first_install() {
    for backend in backends() {
        // Contract before expand: fine where no code was ever live.
        let dir = folder(&[
            ("0001_a.sql", "CREATE TABLE a (id int, old int);"),
            ("0002_drop.sql", "ALTER TABLE a DROP COLUMN old;"),
            ("0003_bad.sql", "CREATE TABL b (id int);"),
            ("0004_c.sql", "CREATE TABLE c (id int);\nDROP TABLE a;"),
        ]);
        backend.up(dir.path(), Upto::Expand).await.unwrap_err();
        write(dir.path(), "0003_bad.sql", "ALTER TABLE a ADD COLUMN d int NOT NULL DEFAULT 1;");
        let applied = backend.up(dir.path(), Upto::Expand).await.unwrap();
        assert_eq!(ids(&applied), ["0003_bad", "0004_c"], "{}", backend.name);
        // From now on there is old code.
        write(dir.path(), "0005_drop.sql", "DROP TABLE c;");
        write(dir.path(), "0006_new.sql", "CREATE TABLE d (id int);");
        let error = backend.up(dir.path(), Upto::Expand).await.unwrap_err();
        assert!(
            matches!(&error, MigrateError::Refused(Refusal::Order(OrderRefused::OutOfOrder { .. }))),
            "{error}"
        );
        assert_eq!(error.kind(), ErrorKind::Refused);
        let mut options = Options::new("test");
        options.carried.insert("0005_drop".parse().unwrap());
        let source = Source::open(dir.path(), None).unwrap();
        let mut database = backend.connect().await;
        let applied = up(&source, &mut database, Upto::Expand, &options, &mut Silent).await.unwrap();
        assert_eq!(ids(&applied), ["0006_new"]);
        let drop = &applied.status.migrations[4];
        assert_eq!((drop.id.as_str(), drop.state), ("0005_drop", MigrationState::Held));
        let applied =
            up(&source, &mut database, Upto::All, &Options::new("test"), &mut Silent).await.unwrap();
        assert_eq!(ids(&applied), ["0005_drop"]);
    }
}

#[tokio::test]
async fn a_database_that_was_there_before_is_no_first_install() {
    for backend in backends() {
        backend.run("CREATE TABLE legacy (id int, old int)").await;
        let dir = folder(&[
            ("0001_new.sql", "CREATE TABLE new (id int);"),
            ("0002_drop.sql", "ALTER TABLE legacy DROP COLUMN old;"),
        ]);
        let applied = backend.up(dir.path(), Upto::Expand).await.unwrap();
        assert_eq!(ids(&applied), ["0001_new"], "{}", backend.name);
        assert_eq!(applied.status.migrations[1].state, MigrationState::Held);
    }
}

#[tokio::test]
async fn rebuilding_a_sqlite_table_keeps_the_rows_that_refer_to_it() {
    let backend = support::sqlite();
    let dir = folder(&[(
        "0001_a.sql",
        "CREATE TABLE a (id integer PRIMARY KEY); CREATE TABLE b (a integer REFERENCES a (id) ON DELETE CASCADE); \
         INSERT INTO a VALUES (1); INSERT INTO b VALUES (1);",
    )]);
    backend.up(dir.path(), Upto::Expand).await.unwrap();
    let rebuild = "PRAGMA foreign_keys=OFF;\nCREATE TABLE __new_a (id integer PRIMARY KEY, n int);\n\
        INSERT INTO __new_a (id) SELECT id FROM a;\nDROP TABLE a;\nALTER TABLE __new_a RENAME TO a;\nPRAGMA foreign_keys=ON;\n";
    write(dir.path(), "0002_rebuild.sql", rebuild);
    assert_eq!(ids(&backend.up(dir.path(), Upto::All).await.unwrap()), ["0002_rebuild"]);
    assert_eq!(backend.rows("SELECT b.a, a.n FROM b JOIN a ON a.id = b.a").await, [["1", "NULL"]]);
    // One that loses a row that is referred to is taken back.
    write(dir.path(), "0003_lose.sql", &rebuild.replace("SELECT id FROM a", "SELECT id FROM a WHERE id > 1"));
    let error = backend.up(dir.path(), Upto::All).await.unwrap_err().to_string();
    assert!(error.contains("foreign keys would point at rows that are gone"), "{error}");
    assert_eq!(backend.rows("SELECT count(*) FROM a").await, [["1"]]);
}

#[tokio::test]
async fn phases_are_kept_apart_and_required_columns_refused() {
    for backend in backends() {
        let dir = folder(&[("0001_a.sql", "CREATE TABLE a (id int, old int);")]);
        backend.up(dir.path(), Upto::Expand).await.unwrap();
        write(
            dir.path(),
            "0002_mixed.sql",
            "ALTER TABLE a ADD COLUMN b int;\nALTER TABLE a DROP COLUMN old;",
        );
        let error = backend.up(dir.path(), Upto::Expand).await.unwrap_err().to_string();
        assert!(error.contains("mixes phases") && error.contains("line 2 is contract"), "{error}");

        write(dir.path(), "0002_mixed.sql", "ALTER TABLE a ADD COLUMN b int NOT NULL;");
        for upto in [Upto::Expand, Upto::All] {
            let error = backend.up(dir.path(), upto).await.unwrap_err().to_string();
            assert!(error.contains("without NOT NULL"), "{error}");
        }
        write(dir.path(), "0002_mixed.sql", "-- phase: contract\nALTER TABLE a DROP COLUMN old;");
        assert!(backend.up(dir.path(), Upto::Expand).await.unwrap().migrations.is_empty());
        assert_eq!(ids(&backend.up(dir.path(), Upto::All).await.unwrap()), ["0002_mixed"]);
        assert_eq!(
            backend.column("SELECT phase FROM _cutover_migrations ORDER BY id").await,
            ["expand", "contract"]
        );
    }
}

#[tokio::test]
async fn a_changed_file_is_refused_and_an_unknown_row_is_not() {
    for backend in backends() {
        let dir =
            folder(&[("0001_a.sql", "CREATE TABLE a (id int);"), ("0002_b.sql", "CREATE TABLE b (id int);")]);
        backend.up(dir.path(), Upto::Expand).await.unwrap();
        // The older release's folder: rollback must not be poisoned.
        std::fs::remove_file(dir.path().join("0002_b.sql")).unwrap();
        let applied = backend.up(dir.path(), Upto::Expand).await.unwrap();
        let states: Vec<_> = applied.status.migrations.iter().map(|m| (m.id.as_str(), m.state)).collect();
        assert_eq!(states, [("0001_a", MigrationState::Applied), ("0002_b", MigrationState::Unknown)]);
        // The ledger remembers the phase, for the floor.
        let phase = applied.status.migrations[1].phase.as_ref().and_then(|phase| phase.clear());
        assert_eq!(phase, Some(Phase::Expand));
        // Line ends are no change; words are.
        write(dir.path(), "0001_a.sql", "CREATE TABLE a (id int, more int);");
        let error = backend.up(dir.path(), Upto::Expand).await.unwrap_err();
        assert!(matches!(&error, MigrateError::Refused(Refusal::Changed { .. })), "{error}");
        assert!(error.to_string().contains("put the change into a new migration"));
        let source = Source::open(dir.path(), None).unwrap();
        let status = status(&source, &mut backend.connect().await).await.unwrap();
        assert_eq!(status.migrations[0].state, MigrationState::Changed);
        assert!(status.refused.is_some());
    }
}

#[tokio::test]
async fn a_late_drizzle_entry_is_applied_and_said() {
    for backend in backends() {
        let dir = folder(&[
            ("0000_a.sql", "CREATE TABLE a (id int);"),
            ("0002_c.sql", "CREATE TABLE c (id int);"),
            ("meta/_journal.json", &journal(backend.dialect, &[("0000_a", 1000), ("0002_c", 3000)])),
        ]);
        backend.up(dir.path(), Upto::Expand).await.unwrap();
        write(dir.path(), "0001_b.sql", "CREATE TABLE b (id int);");
        let entries = [("0000_a", 1000), ("0001_b", 2000), ("0002_c", 3000)];
        write(dir.path(), "meta/_journal.json", &journal(backend.dialect, &entries));
        let source = Source::open(dir.path(), None).unwrap();
        let mut database = backend.connect().await;
        let mut late = Vec::new();
        let mut observer = |notice: cutover_migrate::Notice<'_>| {
            if let cutover_migrate::Notice::Late { id } = notice {
                late.push(id.to_string());
            }
        };
        let applied =
            up(&source, &mut database, Upto::Expand, &Options::new("test"), &mut observer).await.unwrap();
        assert_eq!((ids(&applied), late), (vec!["0001_b"], vec!["0001_b".to_owned()]), "{}", backend.name);
    }
}

#[tokio::test]
async fn a_transaction_of_the_file_s_own_is_refused_and_no_transaction_runs_alone() {
    for backend in backends() {
        let dir = folder(&[("0001_a.sql", "CREATE TABLE a (id int);\nCOMMIT;\nCREATE TABLE b (id int);")]);
        let error = backend.up(dir.path(), Upto::Expand).await.unwrap_err();
        assert!(matches!(&error, MigrateError::Refused(Refusal::Transaction { line: 2, .. })), "{error}");
        let alone = match backend.dialect {
            Dialect::Postgres => "CREATE INDEX CONCURRENTLY a_id ON a (id)",
            Dialect::Mysql => "CREATE INDEX a_id ON a (id)",
            Dialect::Sqlite => "VACUUM",
        };
        write(
            dir.path(),
            "0001_a.sql",
            &format!("-- no-transaction\nCREATE TABLE a (id int);\nINSERT INTO a VALUES (1);\n{alone};"),
        );
        assert_eq!(ids(&backend.up(dir.path(), Upto::Expand).await.unwrap()), ["0001_a"], "{}", backend.name);
        assert_eq!(backend.rows("SELECT count(*) FROM _cutover_progress").await, [["0"]]);
        free(&backend).await;
    }
}

#[tokio::test]
async fn a_statement_cut_off_in_the_middle_is_asked_about() {
    for backend in backends() {
        let dir = folder(&[(
            "0001_a.sql",
            "-- no-transaction\nCREATE TABLE a (id int);\nCREATE TABLE b (id int);",
        )]);
        backend.up(dir.path(), Upto::Expand).await.unwrap();
        // As a kill -9 leaves it: the second statement was running.
        let source = Source::open(dir.path(), None).unwrap();
        let prefix = "CREATE TABLE a (id int)\0";
        let prefix = {
            use sha2::Digest;
            sha2::Sha256::digest(prefix).iter().map(|b| format!("{b:02x}")).collect::<String>()
        };
        for (on, b_exists) in [(OnInterrupted::Done, true), (OnInterrupted::NotDone, false)] {
            backend.run("DELETE FROM _cutover_migrations").await;
            backend.run(&format!("INSERT INTO _cutover_progress VALUES ('0001_a', 1, 1, '{prefix}')")).await;
            if !b_exists {
                backend.run("DROP TABLE b").await;
            }
            let error = backend.up(dir.path(), Upto::Expand).await.unwrap_err();
            let MigrateError::Refused(Refusal::Interrupted(interrupted)) = &error else { panic!("{error}") };
            assert_eq!((interrupted.done, interrupted.of, interrupted.running_line), (Some(1), 2, Some(3)));
            assert!(error.to_string().contains("--interrupted done"), "{error}");
            let options = Options { on_interrupted: on, ..Options::new("test") };
            let mut database = backend.connect().await;
            let applied = up(&source, &mut database, Upto::Expand, &options, &mut Silent).await.unwrap();
            assert_eq!(ids(&applied), ["0001_a"], "{}", backend.name);
            backend.rows("SELECT * FROM b").await;
        }
    }
}

#[tokio::test]
async fn mysql_shows_sqlx_a_half_done_file_as_dirty() {
    let Some(backend) = mysql() else { return };
    let dir = folder(&[("1_a.sql", "CREATE TABLE a (id int);\nCREATE TABLE a (id int);"), ("sqlx.toml", "")]);
    backend.up(dir.path(), Upto::Expand).await.unwrap_err();
    assert_eq!(
        backend.column("SELECT CASE WHEN success THEN 'true' ELSE 'false' END FROM _sqlx_migrations").await,
        ["false"]
    );
    write(dir.path(), "1_a.sql", "CREATE TABLE a (id int);\nCREATE TABLE b (id int);");
    backend.up(dir.path(), Upto::Expand).await.unwrap();
    assert_eq!(
        backend.column("SELECT CASE WHEN success THEN 'true' ELSE 'false' END FROM _sqlx_migrations").await,
        ["true"]
    );
    let migrator = sqlx::migrate::Migrator::new(dir.path()).await.unwrap();
    let pool = sqlx::MySqlPool::connect(&backend.url).await.unwrap();
    migrator.run(&pool).await.unwrap();
}

#[tokio::test]
async fn a_row_s_data_is_not_shown() {
    for backend in backends() {
        let dir = folder(&[
            (
                "0001_a.sql",
                "CREATE TABLE a (email varchar(50)); INSERT INTO a VALUES ('ann@private.example'), ('ann@private.example');",
            ),
            ("0002_u.sql", "CREATE UNIQUE INDEX a_email ON a (email);"),
        ]);
        let error = backend.up(dir.path(), Upto::Expand).await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("0002_u") && !shown.contains("private"), "{}: {shown}", backend.name);
    }
}

#[tokio::test]
async fn another_tool_s_ledger_is_not_run_over() {
    for backend in backends() {
        let dir = folder(&[("1_a.sql", "CREATE TABLE a (id int);")]);
        backend.up(dir.path(), Upto::Expand).await.unwrap();
        let source = Source::open(dir.path(), Some(Format::Sqlx)).unwrap();
        let mut database = backend.connect().await;
        let error =
            up(&source, &mut database, Upto::All, &Options::new("test"), &mut Silent).await.unwrap_err();
        assert!(error.to_string().contains("set `format = \"cutover\"`"), "{error}");
    }
}

#[tokio::test]
async fn the_lock_is_waited_for_as_long_as_was_said() {
    for backend in backends() {
        let dir = folder(&[("0001_a.sql", "CREATE TABLE a (id int);")]);
        backend.up(dir.path(), Upto::Expand).await.unwrap();
        write(dir.path(), "0002_b.sql", "CREATE TABLE b (id int);");
        let far = "9000000000000";
        backend
            .run(&format!(
                "UPDATE _cutover_lock SET token = 'x', holder = 'ann, run 7', by_session = 0, expires = {far}"
            ))
            .await;
        let source = Source::open(dir.path(), None).unwrap();
        let mut database = backend.connect().await;
        let held = check_lock(&mut database).await.unwrap();
        assert!(matches!(&held, LockState::Held { holder, .. } if holder == "ann, run 7"), "{held:?}");
        let options = Options { lock_wait: std::time::Duration::ZERO, ..Options::new("test") };
        let error = up(&source, &mut database, Upto::Expand, &options, &mut Silent).await.unwrap_err();
        assert!(
            matches!(&error, MigrateError::Refused(Refusal::Locked { holder, .. }) if holder == "ann, run 7"),
            "{error}"
        );
        // The owner's lease ends, or its session does where sessions have locks.
        backend.run("UPDATE _cutover_lock SET expires = 1").await;
        assert_eq!(ids(&backend.up(dir.path(), Upto::Expand).await.unwrap()), ["0002_b"]);
        free(&backend).await;
    }
}

#[tokio::test]
async fn an_unreachable_database_shows_no_secret() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut urls: Vec<String> = ["postgres", "mysql"]
        .iter()
        .flat_map(|scheme| {
            ["s3cr3t", "s3cr3t%40x", "s3@cr3t", "s3/cr3t", "s3#cr3t", "s3?cr3t", "s3%zzcr3t"].map(
                |password| {
                    format!("{scheme}://anns3cr3t:{password}@127.0.0.1:{port}/shop?application_name=s3cr3t")
                },
            )
        })
        .collect();
    urls.extend(support::postgres().map(|b| b.url.replace("postgres:postgres@", "nos3cr3tuser:s3cr3t@")));
    urls.extend(mysql().map(|b| b.url.replace("cutover:cutover@", "nos3cr3tuser:s3cr3t@")));
    urls.push("postgres://u:s3cr3t@127.0.0.1:s3cr3t/shop".into());
    urls.push("sqlite:///nonexistent-dir/x.db?mode=s3cr3t".into());
    urls.push("s3cr3t".into());
    for url in urls {
        let error = Database::connect(&SecretString::from(url.as_str())).await.unwrap_err();
        let mut shown = format!("{error} {error:?}");
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            shown += &inner.to_string();
            cause = inner.source();
        }
        for secret in ["s3cr3t", "cr3t", "application_name"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
