//! The splitter against each database's quoting and body rules, by table and by property.

use proptest::prelude::*;

use super::*;

fn pieces(sql: &str, syntax: Syntax) -> Vec<String> {
    split(sql, syntax, 1).into_iter().map(|s| s.sql).collect()
}

const ALL: [Syntax; 3] = [Syntax::Postgres, Syntax::Mysql, Syntax::Sqlite];

#[test]
fn plain_statements_and_their_lines() {
    for syntax in ALL {
        let got = split("-- a; b\nSELECT 1;\n\n/* ; */ SELECT ';' , \"a;\"\n;;\n  SELECT 2 -- ;", syntax, 1);
        let lines: Vec<_> = got.iter().map(|s| (s.sql.as_str(), s.line)).collect();
        assert_eq!(lines, [("SELECT 1", 2), ("SELECT ';' , \"a;\"", 4), ("SELECT 2", 6)], "{syntax:?}");
    }
}

#[test]
fn postgres_quotes() {
    let one = [
        "SELECT E'a\\';b'",
        "SELECT e'x\\\\', ';'",
        "SELECT 'a\\', ';'",
        "SELECT 'it''s;'",
        "SELECT $$a;b$$",
        "SELECT $t$ $$;$$ $x$;$x$ $t$",
        "SELECT $ü$;$ü$",
        "SELECT /* a /* b; */ c; */ 1",
        "SELECT E'a\\''\n  'b\\';'",
        "SELECT U&'\\0061;', B'1', X'1F'",
        "CREATE RULE r AS ON INSERT TO t DO (INSERT INTO a VALUES (1); INSERT INTO b VALUES (2))",
        "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 1 ELSE 2 END; END",
        "CREATE FUNCTION f(a int DEFAULT CASE WHEN true THEN 1 END) RETURNS int RETURN a",
        "CREATE FUNCTION f() RETURNS trigger AS $$ BEGIN a; IF b THEN c; END IF; END $$ LANGUAGE plpgsql",
    ];
    for sql in one {
        assert_eq!(pieces(&format!("{sql}; SELECT 2"), Syntax::Postgres), [sql, "SELECT 2"]);
    }
    assert_eq!(pieces("SELECT $1; SELECT foo$a$; SELECT b$a$", Syntax::Postgres).len(), 3);
    assert_eq!(pieces("BEGIN; SELECT 1; END; SELECT 2", Syntax::Postgres).len(), 4);
    assert_eq!(pieces("SELECT E'a' ';'; SELECT 1", Syntax::Postgres).len(), 2);
}

#[test]
fn mysql_quotes_comments_and_bodies() {
    let one = [
        "SELECT 'a\\';b', \"c\\\";d\", `e;``f`",
        "SELECT 1 # ; x\n + 1",
        "SELECT 1 -- ; x\n + 1",
        "CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW BEGIN SET NEW.x = 1; IF NEW.y THEN SET NEW.z = 2; END IF; END",
        "CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW IF NEW.y THEN SET NEW.z = 2; END IF",
        "CREATE DEFINER=`root`@`localhost` PROCEDURE p(IN n INT) BEGIN DECLARE i INT; l: LOOP SET i = 1; LEAVE l; END LOOP; WHILE i DO SET i = 0; END WHILE; REPEAT SET i = 1; UNTIL i END REPEAT; CASE i WHEN 1 THEN SELECT 1; ELSE BEGIN END; END CASE; SELECT CASE i WHEN 1 THEN IF(i,1,2) ELSE IF(i,3,4) END; END",
        "CREATE FUNCTION f() RETURNS INT DETERMINISTIC RETURN IF(1, REPEAT('a', 3), 2)",
        "BEGIN NOT ATOMIC SELECT 1; SELECT 2; END",
    ];
    for sql in one {
        assert_eq!(pieces(&format!("{sql}; SELECT 2"), Syntax::Mysql), [sql, "SELECT 2"]);
    }
    assert_eq!(pieces("SELECT 5--1; SELECT 2", Syntax::Mysql).len(), 2);
    assert_eq!(pieces("/*!40101 SET NAMES utf8 */; SELECT 2", Syntax::Mysql).len(), 2);
    assert_eq!(pieces("BEGIN; SELECT 1; COMMIT", Syntax::Mysql).len(), 3);
    assert_eq!(pieces("DROP TRIGGER IF EXISTS t; SELECT 2", Syntax::Mysql).len(), 2);
    assert_eq!(pieces("CREATE TABLE t (`trigger` INT, x INT); SELECT 2", Syntax::Mysql).len(), 2);
}

#[test]
fn sqlite_triggers_and_brackets() {
    let one = [
        "CREATE TEMP TRIGGER IF NOT EXISTS t AFTER UPDATE ON a BEGIN UPDATE b SET x = CASE WHEN 1 THEN 2 END; DELETE FROM c; END",
        "SELECT [a;b], `c;d`, \"e;f\"",
        "CREATE TABLE t (a TEXT DEFAULT 'x;y')",
    ];
    for sql in one {
        assert_eq!(pieces(&format!("{sql}; SELECT 2"), Syntax::Sqlite), [sql, "SELECT 2"]);
    }
    assert_eq!(pieces("SELECT /* /* ; */ 1; SELECT 2", Syntax::Sqlite).len(), 2);
}

#[test]
fn summaries_show_no_literal() {
    let statement = |sql: &str| Statement { sql: sql.into(), line: 1, start: 0 };
    assert_eq!(
        statement("INSERT INTO \"t\".x VALUES ('s3cret')").summary(Syntax::Postgres),
        "INSERT INTO \"t\".x VALUES"
    );
    assert_eq!(statement("SET x 's3cret' AND 17").summary(Syntax::Mysql), "SET x … AND …");
}

proptest! {
    #[test]
    fn any_text_is_split_without_panic_into_pieces_in_order(text in "\\PC{0,200}", which in 0usize..3) {
        let mut from = 0;
        for statement in split(&text, ALL[which], 1) {
            let at = text[from..].find(&statement.sql);
            prop_assert!(at.is_some());
            from += at.unwrap() + statement.sql.len();
        }
    }

    #[test]
    fn any_soup_of_sql_tokens_is_split_without_panic(
        words in prop::collection::vec(prop::sample::select(vec![
            "CREATE", "TRIGGER", "FUNCTION", "BEGIN", "ATOMIC", "END", "CASE", "IF", ";", "'", "''", "\"", "$$", "$a$",
            "/*", "*/", "--", "\n", "`", "[", "]", "(", ")", "E'", "\\", "#", "x", ":",
        ]), 0..60),
        which in 0usize..3,
    ) {
        let text = words.join(" ");
        let total: usize = split(&text, ALL[which], 1).iter().map(|s| s.sql.len()).sum();
        prop_assert!(total <= text.len());
    }

    #[test]
    fn well_formed_statements_come_back_whole(
        literals in prop::collection::vec("[a-z;'\"\\-/*$ \n]{0,20}", 1..6),
        which in 0usize..3,
    ) {
        let written: Vec<_> = literals.iter().map(|l| format!("SELECT '{}'", l.replace('\'', "''"))).collect();
        let text = written.join(";\n");
        prop_assert_eq!(pieces(&text, ALL[which]), written);
    }

    #[test]
    fn dollar_bodies_come_back_whole(body in "[a-z;'\"\\-/*$ \n]{0,40}") {
        prop_assume!(!body.contains("$q$") && !body.ends_with("$q"));
        let written = format!("DO $q${body}$q$");
        prop_assert_eq!(pieces(&format!("{written}; SELECT 1"), Syntax::Postgres), vec![written, "SELECT 1".to_owned()]);
    }
}
