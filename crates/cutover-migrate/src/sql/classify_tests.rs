//! The classification table.

use super::*;

fn read(sql: &str, syntax: Syntax) -> PhaseReading {
    classify(&split(sql, syntax, 1), syntax)
}

fn word(sql: &str, syntax: Syntax) -> &'static str {
    match read(sql, syntax) {
        PhaseReading::Clear { phase, .. } => phase.as_str(),
        PhaseReading::Mixed { .. } => "mixed",
        PhaseReading::Unclear { .. } => "unclear",
        PhaseReading::Unsafe { .. } => "unsafe",
    }
}

#[test]
fn postgres_statements() {
    let table = [
        ("CREATE TABLE t (id int)", "expand"),
        ("CREATE UNLOGGED TABLE IF NOT EXISTS s.t (id int)", "expand"),
        ("CREATE INDEX CONCURRENTLY i ON t (a)", "expand"),
        ("CREATE UNIQUE INDEX i ON t (a)", "contract"),
        ("ALTER TABLE t ADD COLUMN a int; CREATE UNIQUE INDEX i ON t (a)", "expand"),
        ("CREATE TABLE t (a int); CREATE UNIQUE INDEX i ON t USING btree (a)", "expand"),
        ("CREATE EXTENSION IF NOT EXISTS pgcrypto", "expand"),
        ("CREATE OR REPLACE VIEW v AS SELECT 1", "expand"),
        ("ALTER TABLE t ADD a int", "expand"),
        ("ALTER TABLE t ADD COLUMN a int NOT NULL DEFAULT 0, ADD b text", "expand"),
        ("ALTER TABLE t ADD COLUMN a int GENERATED ALWAYS AS IDENTITY NOT NULL", "expand"),
        ("ALTER TABLE t ADD COLUMN a bigserial NOT NULL", "expand"),
        ("ALTER TABLE t ADD COLUMN a int NOT NULL", "unsafe"),
        ("ALTER TABLE t ADD COLUMN b text, ADD COLUMN \"a\" text NOT NULL CHECK (a <> '')", "unsafe"),
        ("CREATE TABLE t (); ALTER TABLE t ADD COLUMN a int NOT NULL", "expand"),
        ("ALTER TABLE t ALTER COLUMN a DROP NOT NULL", "expand"),
        ("ALTER TABLE t ALTER a SET DEFAULT 1", "expand"),
        ("ALTER TABLE t ALTER a SET NOT NULL", "contract"),
        ("ALTER TABLE t ALTER a DROP DEFAULT", "contract"),
        ("ALTER TABLE t ALTER COLUMN a TYPE bigint USING a::bigint", "contract"),
        ("ALTER TABLE t ALTER COLUMN a SET DATA TYPE bigint", "contract"),
        ("ALTER TABLE t DROP COLUMN a", "contract"),
        ("ALTER TABLE t DROP a", "contract"),
        ("ALTER TABLE ONLY public.\"T\" RENAME a TO b", "contract"),
        ("ALTER TABLE t RENAME TO u", "contract"),
        ("ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES u (id)", "contract"),
        (
            "ALTER TABLE t ADD COLUMN a int; ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES u (id)",
            "expand",
        ),
        ("ALTER TABLE t VALIDATE CONSTRAINT f", "expand"),
        ("ALTER TABLE t ADD CHECK (a > 0) NOT VALID", "contract"),
        ("ALTER TABLE t OWNER TO x", "expand"),
        ("ALTER TABLE t ENABLE ROW LEVEL SECURITY", "contract"),
        ("ALTER TABLE t SET SCHEMA s", "contract"),
        ("ALTER TABLE t SET (fillfactor = 70)", "expand"),
        ("ALTER TYPE e ADD VALUE 'x'", "expand"),
        ("ALTER TYPE e RENAME VALUE 'x' TO 'y'", "contract"),
        ("ALTER SEQUENCE s RESTART", "expand"),
        ("DROP TABLE t", "contract"),
        ("DROP VIEW v", "contract"),
        ("DROP INDEX CONCURRENTLY i", "contract"),
    ];
    for (sql, expected) in table {
        assert_eq!(word(sql, Syntax::Postgres), expected, "{sql}");
    }
}

#[test]
fn postgres_data_and_blocks() {
    let table = [
        ("TRUNCATE t", "contract"),
        ("DELETE FROM t WHERE a", "contract"),
        ("UPDATE t SET a = 1", "backfill"),
        ("INSERT INTO t (a) SELECT a FROM u", "backfill"),
        ("INSERT INTO t VALUES (1), ((SELECT 2))", "expand"),
        ("INSERT INTO t (a) VALUES (1) ON CONFLICT DO NOTHING", "expand"),
        ("WITH x AS (DELETE FROM t RETURNING *) INSERT INTO u SELECT * FROM x", "contract"),
        ("WITH x AS (SELECT 1) UPDATE t SET a = 1", "backfill"),
        ("COMMENT ON TABLE t IS 'x'; GRANT SELECT ON t TO r; SELECT setval('s', 1)", "expand"),
        ("REVOKE ALL ON t FROM r", "contract"),
        ("CALL p()", "unclear"),
        ("DO $$ BEGIN EXECUTE 'drop table t'; END $$", "unclear"),
        (
            "DO $$ BEGIN CREATE TYPE e AS ENUM ('a;b'); EXCEPTION WHEN duplicate_object THEN null; END $$",
            "expand",
        ),
        ("DO $x$ BEGIN IF true THEN ALTER TABLE t DROP COLUMN a; END IF; END $x$", "contract"),
        ("ALTER TABLE t ADD COLUMN a int; ALTER TABLE t DROP COLUMN b", "mixed"),
        ("ALTER TABLE t ADD COLUMN a int; UPDATE t SET a = 1", "mixed"),
        ("ALTER TABLE t ADD COLUMN a int, DROP COLUMN b", "contract"),
        ("-- only a comment", "expand"),
        ("SELECT 'DROP TABLE t'", "expand"),
    ];
    for (sql, expected) in table {
        assert_eq!(word(sql, Syntax::Postgres), expected, "{sql}");
    }
}

#[test]
fn mysql_statements() {
    let table = [
        ("ALTER TABLE `t` ADD COLUMN `a` INT, ADD INDEX `i` (`a`), ALGORITHM=INPLACE, LOCK=NONE", "expand"),
        ("ALTER TABLE t ADD (a INT, b INT NOT NULL)", "unsafe"),
        ("ALTER TABLE t ADD COLUMN a INT NOT NULL AUTO_INCREMENT", "expand"),
        ("ALTER TABLE t MODIFY COLUMN a BIGINT", "contract"),
        ("ALTER TABLE t CHANGE a b INT", "contract"),
        ("ALTER TABLE t ADD UNIQUE KEY k (a)", "contract"),
        ("ALTER TABLE t ENGINE=InnoDB", "expand"),
        ("RENAME TABLE a TO b", "contract"),
        ("ALTER TABLE t DROP FOREIGN KEY f", "contract"),
        ("REPLACE INTO t SELECT 1", "backfill"),
        ("INSERT INTO t SET a = 1", "expand"),
        ("CREATE OR REPLACE TABLE t (a INT)", "contract"),
        ("LOAD DATA INFILE 'x' INTO TABLE t", "unclear"),
        ("/*!40101 SET NAMES utf8 */; CREATE TABLE t (a INT)", "expand"),
    ];
    for (sql, expected) in table {
        assert_eq!(word(sql, Syntax::Mysql), expected, "{sql}");
    }
}

#[test]
fn sqlite_rebuild_of_a_table_is_one_contract() {
    let rebuild = "PRAGMA foreign_keys=OFF; CREATE TABLE `__new_t` (`id` integer); INSERT INTO `__new_t`(`id`) SELECT `id` FROM `t`; \
        DROP TABLE `t`; ALTER TABLE `__new_t` RENAME TO `t`; PRAGMA foreign_keys=ON; CREATE UNIQUE INDEX `i` ON `t` (`id`)";
    assert_eq!(word(rebuild, Syntax::Sqlite), "contract");
    assert_eq!(word("INSERT OR IGNORE INTO t SELECT 1", Syntax::Sqlite), "backfill");
    assert_eq!(word("CREATE VIRTUAL TABLE t USING fts5(a)", Syntax::Sqlite), "expand");
}

#[test]
fn a_required_column_names_the_safe_way() {
    let PhaseReading::Unsafe { line, instead, .. } =
        read("SELECT 1;\n\nALTER TABLE t ADD a int NOT NULL", Syntax::Postgres)
    else {
        panic!("not unsafe");
    };
    assert_eq!(line, 3);
    assert!(instead.contains("without NOT NULL"));
}

#[test]
fn headers_are_read_from_the_leading_comments_only() {
    assert_eq!(header_phase("-- phase: contract\nSELECT 1").unwrap(), Some(Phase::Contract));
    assert_eq!(header_phase("\u{feff}-- why\r\n\r\n--phase:backfill\r\n").unwrap(), Some(Phase::Backfill));
    assert_eq!(header_phase("SELECT 1;\n-- phase: contract").unwrap(), None);
    assert_eq!(header_phase("-- the phase: later").unwrap(), None);
    let (line, error) = header_phase("-- x\n-- phase: later").unwrap_err();
    assert_eq!((line, error.to_string().contains("expand, backfill or contract")), (2, true));
}
