//! What `verify` finds in a ledger, and what `adopt` mends of it without touching an application's table.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use cutover_migrate::{
    Adoption, Dialect, FindingKind, Format, MigrateError, Options, Silent, Source, Upto, Verified, adopt, up,
    verify,
};
use support::{Backend, backends, folder, ids, journal, write};

async fn verified(backend: &Backend, dir: &std::path::Path, format: Format) -> Verified {
    let source = Source::open(dir, Some(format)).unwrap();
    let mut database = backend.connect().await;
    let verified = verify(&source, &mut database).await.unwrap();
    database.close().await;
    verified
}

async fn adopted(backend: &Backend, dir: &std::path::Path, apply: bool) -> Result<Adoption, MigrateError> {
    let source = Source::open(dir, None).unwrap();
    let mut database = backend.connect().await;
    let options = Options::new("test");
    let adoption = adopt(&source, &mut database, apply.then_some(&options)).await;
    database.close().await;
    adoption
}

async fn up_as(backend: &Backend, dir: &std::path::Path, format: Format) {
    let source = Source::open(dir, Some(format)).unwrap();
    let mut database = backend.connect().await;
    up(&source, &mut database, Upto::All, &Options::new("test"), &mut Silent).await.unwrap();
    database.close().await;
}

fn found(verified: &Verified) -> Vec<(FindingKind, &str, bool)> {
    verified.findings.iter().map(|f| (f.kind, f.migration.as_str(), f.wrong)).collect()
}

fn table(name: &str) -> String {
    format!("CREATE TABLE {name} (id int);\n")
}

#[tokio::test]
async fn a_sound_ledger_has_no_findings_whatever_its_format() {
    let (a, b) = (table("a"), table("b"));
    let up_part = |sql: &str| format!("-- migrate:up\n{sql}-- migrate:down\nDROP TABLE a;\n");
    for backend in backends() {
        let entries = journal(backend.dialect, &[("0000_a", 1), ("0001_b", 2)]);
        let (dbmate_a, dbmate_b) = (up_part(&a), up_part(&b));
        let folders = [
            (Format::Own, vec![("1_a.sql", &a), ("2_b.sql", &b)]),
            (Format::Sqlx, vec![("1_a.up.sql", &a), ("2_b.up.sql", &b)]),
            (Format::Drizzle, vec![("0000_a.sql", &a), ("0001_b.sql", &b), ("meta/_journal.json", &entries)]),
            (Format::Refinery, vec![("V1__a.sql", &a), ("V2__b.sql", &b)]),
            (Format::Diesel, vec![("1_a/up.sql", &a), ("2_b/up.sql", &b)]),
            (Format::Dbmate, vec![("1_a.sql", &dbmate_a), ("2_b.sql", &dbmate_b)]),
            (Format::GolangMigrate, vec![("1_a.up.sql", &a), ("2_b.up.sql", &b)]),
        ];
        for (format, files) in folders {
            let files: Vec<(&str, &str)> =
                files.into_iter().map(|(name, text)| (name, text.as_str())).collect();
            let dir = folder(&files);
            let empty = verified(&backend, dir.path(), format).await;
            assert_eq!((empty.pending, found(&empty)), (2, vec![]), "{format:?} {}", backend.name);
            up_as(&backend, dir.path(), format).await;
            let verified = verified(&backend, dir.path(), format).await;
            assert_eq!((verified.applied, verified.pending), (2, 0), "{format:?} {}", backend.name);
            assert_eq!(found(&verified), [], "{format:?} {}", backend.name);
            let ledger = &verified.ledger;
            backend.run(&format!("DROP TABLE {ledger}; DROP TABLE a; DROP TABLE b")).await;
        }
    }
}

#[tokio::test]
async fn changed_late_and_unknown_ones_are_found_each_with_its_next_step() {
    for backend in backends() {
        let dir =
            folder(&[("1_a.up.sql", &table("a")), ("2_b.up.sql", &table("b")), ("4_d.up.sql", &table("d"))]);
        up_as(&backend, dir.path(), Format::Sqlx).await;
        write(dir.path(), "1_a.up.sql", &table("aa"));
        std::fs::remove_file(dir.path().join("2_b.up.sql")).unwrap();
        write(dir.path(), "3_c.up.sql", &table("c"));
        let verified = verified(&backend, dir.path(), Format::Sqlx).await;
        assert_eq!(
            found(&verified),
            [
                (FindingKind::Changed, "1_a", true),
                (FindingKind::Late, "3_c", true),
                (FindingKind::Unknown, "2", true)
            ],
            "{}",
            backend.name
        );
        assert!(!verified.is_sound());
        let next: Vec<_> = verified.findings.iter().map(|finding| finding.next.as_str()).collect();
        assert!(next[0].contains("git log --") && next[1].contains("cutover migrate up"), "{next:?}");
        assert!(verified.findings[1].what.contains("sqlx applies it out of order"));
        assert!(next[2].contains("restore it from git"), "{next:?}");
    }
}

#[tokio::test]
async fn an_unfinished_one_is_found_and_left_to_a_person() {
    for backend in backends() {
        let dir = folder(&[("1_a.up.sql", &table("a"))]);
        up_as(&backend, dir.path(), Format::GolangMigrate).await;
        backend.run("UPDATE schema_migrations SET dirty = TRUE").await;
        let verified = verified(&backend, dir.path(), Format::GolangMigrate).await;
        assert_eq!(found(&verified), [(FindingKind::Unfinished, "1_a", true)], "{}", backend.name);
        assert!(verified.findings[0].next.contains("`migrate force 1`"));
        assert!(verified.unchecked[0].contains("newest version only"));
        let adoption = adopted(&backend, dir.path(), true).await.unwrap();
        assert!(adoption.mendings.is_empty() && !adoption.verified.is_sound());
        assert_eq!(backend.rows("SELECT version FROM schema_migrations WHERE dirty").await, [["1"]]);
    }
}

#[tokio::test]
async fn one_applied_late_is_history_and_worth_knowing() {
    for backend in backends() {
        let dir = folder(&[("V1__a.sql", &table("a")), ("V3__c.sql", &table("c"))]);
        up_as(&backend, dir.path(), Format::Refinery).await;
        write(dir.path(), "V2__b.sql", &table("b"));
        assert!(
            verified(&backend, dir.path(), Format::Refinery).await.findings[0]
                .what
                .contains("refuses to run")
        );
        up_as(&backend, dir.path(), Format::Refinery).await;
        let verified = verified(&backend, dir.path(), Format::Refinery).await;
        assert_eq!(found(&verified), [(FindingKind::Order, "V2__b", false)], "{}", backend.name);
        assert!(verified.is_sound() && verified.findings[0].what.contains("after V3__c"));
    }
}

#[tokio::test]
async fn one_that_waits_for_its_phase_is_not_wrong() {
    for backend in backends() {
        let dir = folder(&[("1_a.sql", &table("a"))]);
        up_as(&backend, dir.path(), Format::Own).await;
        write(dir.path(), "2_drop.sql", "DROP TABLE a;");
        write(dir.path(), "3_b.sql", &table("b"));
        let source = Source::open(dir.path(), None).unwrap();
        let mut database = backend.connect().await;
        let mut options = Options::new("test");
        options.carried = ["2_drop".parse().unwrap()].into();
        up(&source, &mut database, Upto::Expand, &options, &mut Silent).await.unwrap();
        let verified = verified(&backend, dir.path(), Format::Own).await;
        assert_eq!(found(&verified), [(FindingKind::Late, "2_drop", false)], "{}", backend.name);
    }
}

/// What a drizzle ledger looks like after years: a bundled migrator that wrote no hash, two runners at once, a journal whose
/// `when` was rewritten, and an entry merged late.
#[tokio::test]
async fn drizzle_is_taken_over_in_place() {
    for backend in backends() {
        let tags = [("0000_a", 1000), ("0001_b", 2000), ("0003_d", 4000)];
        let dir = folder(&[
            ("0000_a.sql", &table("a")),
            ("0001_b.sql", &table("b")),
            ("0003_d.sql", &table("d")),
            ("meta/_journal.json", &journal(backend.dialect, &tags)),
        ]);
        up_as(&backend, dir.path(), Format::Drizzle).await;
        backend.run("INSERT INTO a VALUES (7)").await;
        let ledger = if backend.dialect == Dialect::Postgres {
            "drizzle.__drizzle_migrations"
        } else {
            "__drizzle_migrations"
        };
        let rows = format!("SELECT hash, created_at FROM {ledger} ORDER BY created_at");
        let right = backend.rows(&rows).await;
        backend.run(&format!("UPDATE {ledger} SET hash = '' WHERE created_at = 1000")).await;
        backend.run(&format!("UPDATE {ledger} SET created_at = 2222 WHERE created_at = 2000")).await;
        let again = format!("INSERT INTO {ledger} (hash, created_at) VALUES ('{}', 4000)", right[2][0]);
        backend.run(&again).await;
        backend.run(&again).await;
        let tags = [("0000_a", 1000), ("0001_b", 2000), ("0002_c", 3000), ("0003_d", 4000)];
        write(dir.path(), "0002_c.sql", &table("c"));
        write(dir.path(), "meta/_journal.json", &journal(backend.dialect, &tags));
        let wrong = backend.rows(&rows).await;

        let report = adopted(&backend, dir.path(), false).await.unwrap();
        assert_eq!(
            found(&report.verified),
            [
                (FindingKind::Unhashed, "0000_a", false),
                (FindingKind::Misplaced, "0001_b", true),
                (FindingKind::Late, "0002_c", true),
                (FindingKind::Twice, "0003_d", true),
                (FindingKind::Twice, "0003_d", true),
            ],
            "{}",
            backend.name
        );
        assert!(report.verified.findings[2].what.contains("drizzle-kit skips it for ever"));
        assert_eq!(backend.rows(&rows).await, wrong, "a report changes nothing");

        let done = adopted(&backend, dir.path(), true).await.unwrap();
        assert!(done.applied && done.mendings.len() == 4, "{}: {:?}", backend.name, done.mendings);
        assert_eq!(backend.rows(&rows).await, right, "{}", backend.name);
        assert_eq!(found(&done.verified), [(FindingKind::Late, "0002_c", true)], "{}", backend.name);
        assert_eq!(backend.rows("SELECT id FROM a").await, [["7"]], "no application table is touched");
        assert_eq!(ids(&backend.up(dir.path(), Upto::Expand).await.unwrap()), ["0002_c"]);
        let again = adopted(&backend, dir.path(), true).await.unwrap();
        assert!(again.mendings.is_empty() && again.verified.is_sound(), "{}: {again:?}", backend.name);
    }
}

/// sqlx and refinery compare checksums to the byte; a repository that turned to CRLF would stop them.
#[tokio::test]
async fn line_ends_are_mended_for_the_tools_that_compare_them() {
    for (format, name, query) in [
        (Format::Sqlx, "1_a.up.sql", "SELECT checksum FROM _sqlx_migrations"),
        (Format::Refinery, "V1__a.sql", "SELECT checksum FROM refinery_schema_history"),
    ] {
        for backend in backends() {
            let dir = folder(&[(name, &table("a"))]);
            up_as(&backend, dir.path(), format).await;
            let before = backend.rows(query).await;
            write(dir.path(), name, &table("a").replace('\n', "\r\n"));
            let report = adopted(&backend, dir.path(), false).await.unwrap();
            assert_eq!(report.verified.findings[0].kind, FindingKind::Respelled, "{}", backend.name);
            assert!(report.verified.is_sound() && report.mendings.len() == 1);
            let done = adopted(&backend, dir.path(), true).await.unwrap();
            assert_eq!(found(&done.verified), [], "{}", backend.name);
            assert_ne!(backend.rows(query).await, before);
            assert!(backend.up(dir.path(), Upto::Expand).await.unwrap().migrations.is_empty());
        }
    }
}

#[tokio::test]
async fn who_has_the_lock_is_not_disturbed() {
    for backend in backends() {
        let dir = folder(&[("V1__a.sql", &table("a"))]);
        up_as(&backend, dir.path(), Format::Refinery).await;
        write(dir.path(), "V1__a.sql", &table("a").replace('\n', "\r\n"));
        // A lease of another runner that has no session lock, as behind a pooler.
        backend
            .run("UPDATE _cutover_lock SET holder = 'ana', token = 'x', by_session = 0, expires = 9000000000000000")
            .await;
        let error = adopted(&backend, dir.path(), true).await.unwrap_err().to_string();
        assert!(error.starts_with("ana has been migrating"), "{}: {error}", backend.name);
        assert_eq!(
            adopted(&backend, dir.path(), false).await.unwrap().mendings.len(),
            1,
            "looking needs no lock"
        );
    }
}
