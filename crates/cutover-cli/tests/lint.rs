//! `cutover migrate lint` at a terminal, in CI and against a database, without a `cutover.toml`.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test file")]

use std::{path::Path, process::Command};

use serde_json::Value;

const DANGEROUS: &str = "-- phase: contract\n  ALTER TABLE orders RENAME COLUMN mail TO email;\n";
const SAFE: &str = "ALTER TABLE orders ADD COLUMN note TEXT;\n";
const PASSWORD: &str = "correct-horse-battery";

struct Folder(tempfile::TempDir);

struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir_all(folder.path("db/migrations")).unwrap();
        files.iter().for_each(|(name, sql)| folder.write(name, sql));
        folder
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, sql: &str) {
        std::fs::write(self.path("db/migrations").join(name), sql).unwrap();
    }

    fn cutover(&self, args: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cutover"));
        command.current_dir(self.0.path()).args(["migrate"]).args(args);
        let done =
            command.env("DB", format!("sqlite:{}?mode=rwc", self.path("a.db").display())).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { code: done.status.code().unwrap(), out: text(done.stdout), err: text(done.stderr) }
    }

    fn lint(&self, args: &[&str]) -> Said {
        self.cutover(&[&["lint", "--dir", "db/migrations"], args].concat())
    }

    fn git(&self, args: &[&str]) {
        let identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"];
        let git = Command::new("git").current_dir(self.0.path()).args(identity).args(args).output().unwrap();
        assert!(git.status.success(), "{}", String::from_utf8_lossy(&git.stderr));
    }
}

#[test]
fn what_blocks_is_refused_with_place_and_next_step_in_every_form() {
    let folder = Folder::new(&[("0001_a.sql", SAFE), ("0002_b.sql", DANGEROUS)]);
    let people = folder.lint(&["--dialect", "sqlite"]);
    assert_eq!(people.code, 3, "{}", people.err);
    assert!(people.out.contains("db/migrations/0002_b.sql:2:3: blocks: "), "{}", people.out);
    assert!(
        people.out.contains("[renames-column]") && people.out.contains("next: add the new column"),
        "{}",
        people.out
    );
    assert!(
        people.err.contains("nothing was changed") && people.err.contains("cutover: allow"),
        "{}",
        people.err
    );

    let json = folder.lint(&["--dialect", "sqlite", "--json"]);
    let document: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((json.code, &document["blocks"]), (3, &Value::Bool(true)));
    let finding = &document["findings"][0];
    assert_eq!((&finding["rule"], &finding["line"]), (&"renames-column".into(), &2.into()), "{document}");
    assert_eq!(finding["severity"], "blocks");

    let sarif: Value =
        serde_json::from_str(&folder.lint(&["--dialect=sqlite", "--format=sarif"]).out).unwrap();
    let result = &sarif["runs"][0]["results"][0];
    assert_eq!((&sarif["version"], &result["ruleId"]), (&"2.1.0".into(), &"renames-column".into()));
    let github = folder.lint(&["--dialect=sqlite", "--format=github"]);
    assert!(
        github.out.starts_with("::error file=db/migrations/0002_b.sql,line=2,col=3,title=renames-column::")
    );
}

#[test]
fn what_is_safe_or_allowed_with_a_reason_passes() {
    let allowed = format!("-- cutover: allow renames-column: nothing reads it yet\n{DANGEROUS}");
    let folder = Folder::new(&[("0001_a.sql", SAFE), ("0002_b.sql", &allowed)]);
    let said = folder.lint(&["--dialect", "mysql"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(said.out.contains("2 migrations read as mysql: 0 block, 0 warn, 1 allowed"), "{}", said.out);
}

#[test]
fn since_a_revision_only_what_changed_is_read() {
    let folder = Folder::new(&[("0001_a.sql", DANGEROUS)]);
    folder.git(&["init", "--quiet"]);
    folder.git(&["add", "."]);
    folder.git(&["commit", "--quiet", "-m", "first"]);
    folder.write("0002_b.sql", SAFE);
    let said = folder.lint(&["--dialect", "sqlite", "--since", "HEAD"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(said.out.contains("1 migration read"), "{}", said.out);
    folder.write("0001_a.sql", &format!("{DANGEROUS}-- changed\n"));
    assert_eq!(folder.lint(&["--dialect", "sqlite", "--since", "HEAD"]).code, 3);
    let unknown = folder.lint(&["--dialect", "sqlite", "--since", "--output=x"]);
    assert_eq!(unknown.code, 2, "{}", unknown.err);
    assert!(!Path::new(&folder.path("x")).exists());
}

#[test]
fn with_a_database_what_it_has_is_left_out_and_small_tables_are_small() {
    let folder =
        Folder::new(&[("0001_a.sql", "CREATE TABLE orders (id INTEGER PRIMARY KEY, state TEXT);\n")]);
    folder.write("0002_b.sql", DANGEROUS.replace("mail TO email", "state TO status").as_str());
    let up = folder.cutover(&["up", "--all", "--dir", "db/migrations", "--database", "env:DB"]);
    assert_eq!(up.code, 0, "{}", up.err);
    folder.write("0003_c.sql", "UPDATE orders SET status = 'new';\n");
    assert_eq!(folder.lint(&["--dialect", "sqlite"]).code, 3);
    let said = folder.lint(&["--database", "env:DB"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(
        said.out.contains("1 migration read") && said.out.contains("`orders` has about 0 rows"),
        "{}",
        said.out
    );
    assert_eq!(folder.lint(&["--database", "env:DB", "--all"]).code, 3);
}

#[test]
fn secrets_are_found_and_never_shown() {
    let url = format!("-- psql postgres://shop:{PASSWORD}@db/shop\n");
    let role = format!("CREATE ROLE a PASSWORD '{PASSWORD}';\n");
    let people =
        format!("INSERT INTO u VALUES ('{PASSWORD}@a.de'), ('{PASSWORD}@b.de'), ('{PASSWORD}@c.de');\n");
    let folder = Folder::new(&[("0001_a.sql", &url), ("0002_b.sql", &role), ("0003_c.sql", &people)]);
    for form in ["--format=people", "--format=sarif", "--format=github", "--json"] {
        let said = folder.lint(&["--dialect", "postgres", form]);
        assert_eq!(said.code, 3, "{}", said.err);
        assert!(
            said.out.contains("secret-in-migration") && said.out.contains("password-in-migration"),
            "{}",
            said.out
        );
        assert!(said.out.contains("copied-data"), "{}", said.out);
        assert!(!said.out.contains(PASSWORD) && !said.err.contains(PASSWORD), "{form} shows the secret");
    }
}

#[test]
fn a_rule_explains_itself_and_bad_usage_says_what_is_right() {
    let folder = Folder::new(&[("0001_a.sql", SAFE)]);
    let page = folder.cutover(&["lint", "--explain", "mysql-copies-table"]);
    assert!(
        page.code == 0 && page.out.contains("**Locks.**") && page.out.contains("**The safe way.**"),
        "{}",
        page.out
    );
    let unknown = folder.cutover(&["lint", "--explain", "nonsense"]);
    assert!(unknown.code == 2 && unknown.err.contains("releases"), "{}", unknown.err);
    let which = folder.lint(&[]);
    assert!(which.code == 2 && which.err.contains("--dialect postgres"), "{}", which.err);
}
