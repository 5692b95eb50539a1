//! The ways of a release as a person walks them: approval, abort, rollback, the floor, history, migrations by hand.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr, reason = "a test file")]

mod support;

use support::{World, eventually};

fn unwatched(text: &str) -> String {
    text.replace("watch = \"2m\"", "watch = \"0s\"")
}

fn serving(change: impl FnOnce(String) -> String) -> World {
    let mut world = World::new(|text| change(unwatched(&text)));
    world.host();
    world.run(&["release", "test"]).expect(0, &["r1 serves"]);
    world
}

#[test]
fn a_release_is_the_commit_and_not_the_tree() {
    let world = serving(|text| text);
    world.write("behaviour.json", r#"{ "error_every": 1 }"#);
    world.run(&["release", "test", "--allow-dirty"]).expect(0, &["r1 is this commit"]);
    world.git(&["checkout", "--", "behaviour.json"]);
    world.run(&["release", "test"]).expect(0, &["r1 is this commit, and serves already"]);
    assert_eq!(world.answering().as_deref(), Some("r1"));
}

#[test]
fn schema_comes_before_code_and_a_rollback_brings_the_old_code_back() {
    let world = serving(|text| text);
    world.write(
        "migrations/0002_discount.sql",
        "alter table orders add column discount integer not null default 0;\n",
    );
    world.write("behaviour.json", r#"{ "discounts": true }"#);
    world.commit("Give discounts");
    let said = world.run(&["release", "test", "--json"]);
    let document = said.expect(0, &[]).json();
    assert_eq!((&document["release"], &document["serving"]), (&2.into(), &2.into()), "{document}");
    assert_eq!(document["outcome"]["outcome"], "done");
    assert_eq!(world.answering().as_deref(), Some("r2"));
    world.run(&["rollback", "test"]).expect(0, &["r1 serves"]);
    assert_eq!(world.answering().as_deref(), Some("r1"));
    // Back again means forward by name.
    world.run(&["rollback", "test", "--to", "r2"]).expect(0, &["r2 serves"]);
    assert_eq!(world.answering().as_deref(), Some("r2"));
    let history = world.run(&["history", "test", "--json"]).json();
    let ended: Vec<_> =
        history["runs"].as_array().unwrap().iter().map(|run| run["kind"].as_str().unwrap()).collect();
    assert_eq!(ended, ["rollback", "rollback", "release", "release"]);
    assert!(history["runs"][3]["subject"] == "Take orders" && history["runs"][3]["by"] == "ada", "{history}");
}

#[test]
fn nobody_approves_their_own_release() {
    let mut world =
        World::new(|text| unwatched(&text).replace("canary =", "approval = \"another-person\"\ncanary ="));
    world.host();
    world.run(&["release", "test", "--no-wait"]).expect(4, &["waits", "cutover approve test"]);
    world.run(&["approve", "test"]).expect(3, &["ada began this run; another person has to approve it"]);
    world.run_as("bob", &["approve", "test"]).expect(0, &["approved by bob"]);
    world.run_as("bob", &["approve", "test"]).expect(3, &["nothing waits for an approval"]);
    world.run(&["release", "test", "--resume"]).expect(0, &["r1 serves"]);
}

#[test]
fn an_approval_reaches_a_command_that_waits() {
    let mut world =
        World::new(|text| unwatched(&text).replace("canary =", "approval = \"anyone\"\ncanary ="));
    world.host();
    let waiting =
        world.command_as("ada", &["release", "test"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    eventually("the run waits", || {
        world.status()["run"]["next"].as_str().is_some_and(|next| next.contains("waiting for approval"))
    });
    world.run_as("bob", &["approve", "test"]).expect(0, &[]);
    support::said(&waiting.wait_with_output().unwrap()).expect(0, &["r1 serves"]);
}

#[test]
fn an_abort_without_a_driver_goes_back_by_itself() {
    let mut world =
        World::new(|text| unwatched(&text).replace("canary =", "approval = \"anyone\"\ncanary ="));
    world.host();
    world.run(&["abort", "test"]).expect(3, &["no run is open in test"]);
    world.run(&["release", "test", "--no-wait"]).expect(4, &[]);
    world.run(&["abort", "test", "--reason", "second thoughts"]).expect(0, &["nothing serves"]);
    world.run(&["release", "test", "--resume"]).expect(3, &["no run is open"]);
    let history = world.run(&["history", "test", "--json"]).json();
    assert_eq!(history["runs"][0]["outcome"]["cause"]["reason"], "second thoughts", "{history}");
}

#[test]
fn a_watch_without_traffic_holds_and_asks() {
    let world = {
        let mut world = World::new(|text| text.replace("watch = \"2m\"", "watch = \"1s\""));
        world.host();
        world.run(&["release", "test"]).expect(0, &["r1 serves"]);
        world
    };
    world.commit("More");
    let said = world.run(&["release", "test", "--no-wait"]);
    said.expect(4, &["no verdict", "cutover approve test", "r1 and r2 are both running"]);
    assert!(world.answering().is_some());
    world.run_as("bob", &["approve", "test"]).expect(0, &[]);
    world.run(&["release", "test", "--resume", "--no-wait"]).expect(4, &["no verdict"]);
    world.run(&["abort", "test"]).expect(0, &["r1 serves"]);
    assert_eq!(world.answering().as_deref(), Some("r1"));
}

#[test]
fn nobody_returns_below_the_floor() {
    let world = serving(|text| text);
    world.write("migrations/0002_drop.sql", "-- phase: contract\nalter table orders drop column item;\n");
    world.commit("Drop the item, without code for it");
    // The conductor leaves the contract migration waiting; a person applies it by hand.
    world.run(&["release", "test"]).expect(0, &["waiting for later: 0002_drop"]);
    world.run(&["migrate", "plan"]).expect(0, &["0002_drop"]);
    world.run(&["migrate", "up", "--all"]).expect(0, &["1 applied"]);
    world.run(&["rollback", "test"]).expect(3, &["can't run on the present schema", "nothing was changed"]);
    assert_eq!(world.status()["serving"], 2);
}

#[test]
fn a_failed_migration_leaves_the_old_release_serving_and_is_mended_by_the_next_commit() {
    let world = serving(|text| text);
    world.write("migrations/0002_note.sql", "alter table ordrs add column note text;\n");
    world.commit("Take notes");
    world.run(&["release", "test"]).expect(1, &["0002_note", "no such table", "r1 serves, as before"]);
    assert_eq!(world.answering().as_deref(), Some("r1"));
    world.write("migrations/0002_note.sql", "alter table orders add column note text;\n");
    world.commit("Take notes on orders");
    world.run(&["release", "test"]).expect(0, &["applied 0002_note", "r3 serves"]);
}

#[test]
fn a_failing_check_blocks_with_its_output() {
    let world = serving(|text| text);
    world.edit(
        "cutover.toml",
        "[artifact]",
        "[checks]\nlint = \"echo seven problems; exit 7\"\nunit = \"true\"\n\n[artifact]",
    );
    world.commit("Check");
    world.run(&["release", "test"]).expect(1, &["lint", "seven problems", "r1 serves, as before"]);
    assert!(world.state().join("test/releases/r1").is_dir());
    assert!(!world.state().join("test/releases/r2").exists());
}

#[test]
fn old_artifacts_go_and_the_declared_number_stays() {
    let world = serving(|text| text.replace("[migrations]", "keep = 2\n\n[migrations]"));
    for number in 2..=4 {
        world.commit("More");
        world.run(&["release", "test"]).expect(0, &[&format!("r{number} serves")]);
    }
    let mut kept: Vec<_> = std::fs::read_dir(world.state().join("test/releases"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('r'))
        .collect();
    kept.sort();
    assert_eq!(kept, ["r3", "r4"]);
    world.run(&["rollback", "test"]).expect(0, &["r3 serves"]);
    // One that is gone is built again from its commit.
    world.run(&["rollback", "test", "--to", "r1"]).expect(0, &["r1 serves"]);
    assert_eq!(world.answering().as_deref(), Some("r1"));
}

#[test]
fn migrations_run_alone_without_a_description() {
    let world = World::new(|text| text);
    let (dir, url) = (world.repository().join("migrations"), world.path("database-url"));
    let (dir, url) = (dir.to_str().unwrap(), format!("file:{}", url.display()));
    std::fs::remove_file(world.repository().join("cutover.toml")).unwrap();
    let at = ["--dir", dir, "--database", &url];
    let migrate = |command: &str| world.run(&[&["migrate", command][..], &at[..]].concat());
    migrate("status").expect(0, &["pending", "0001_orders"]);
    assert!(!world.path("orders.db").exists(), "looking made a database");
    migrate("up").expect(0, &["1 applied"]);
    migrate("up").expect(0, &["nothing to do"]);
    migrate("status").expect(0, &["applied", "0001_orders"]);
    migrate("verify").expect(0, &["1 applied, 0 pending", "nothing is wrong"]);
    world.edit("migrations/0001_orders.sql", "create table", "create  table");
    migrate("verify").expect(1, &["wrong: 0001_orders", "is not what was applied", "next: restore it"]);
}

#[test]
fn a_database_is_taken_over_from_another_tool() {
    let world = World::new(|text| text);
    std::fs::create_dir(world.repository().join("theirs")).unwrap();
    let folder = |name: &str, sql: &str| world.write(&format!("theirs/{name}"), sql);
    folder("V1__a.sql", "create table a (id int);\n");
    folder("V3__c.sql", "create table c (id int);\n");
    let (dir, url) = (world.repository().join("theirs"), world.path("database-url"));
    let (dir, url) = (dir.to_str().unwrap(), format!("file:{}", url.display()));
    let migrate = |args: &[&str]| {
        let (command, rest) = args.split_first().unwrap();
        world.run(&[&["migrate", command, "--dir", dir, "--database", &url][..], rest].concat())
    };
    migrate(&["up"]).expect(0, &["2 applied"]);
    folder("V1__a.sql", "create table a (id int);\r\n");
    folder("V2__b.sql", "create table b (id int);\n");
    let said =
        ["note: V1__a", "wrong: V2__b", "refinery refuses to run", "would mend: V1__a", "adopt --apply"];
    migrate(&["adopt"]).expect(1, &said);
    migrate(&["adopt", "--apply"]).expect(1, &["mended: V1__a", "wrong: V2__b", "cutover migrate up"]);
    migrate(&["up"]).expect(0, &["1 applied"]);
    migrate(&["adopt"]).expect(0, &["note: V2__b: was applied after V3__c", "no row needs mending"]);
    let wrong = migrate(&["status", "--folder-format", "liquibase"]);
    wrong.expect(2, &["not a migration format", "golang-migrate"]);
}

#[test]
fn doctor_is_content_with_what_works_and_changes_nothing() {
    let world = serving(|text| text);
    // SQLite's own notes of who reads come and go with the readers.
    let files = || {
        let all = support::found_below(&world.state(), "").into_iter();
        all.filter(|file| !file.to_string_lossy().contains("journal.db-")).collect::<Vec<_>>()
    };
    let before = files();
    world.run(&["doctor"]).expect(0, &["git", "journal", "host", "database"]);
    let checks = world.run(&["doctor", "--json"]).json();
    assert_eq!(checks["ok"], true, "{checks}");
    assert_eq!(files(), before);
}

#[test]
fn on_a_terminal_there_is_colour_and_in_a_pipe_there_is_none() {
    let mut world = World::new(|text| unwatched(&text));
    world.host();
    let piped = world.run(&["release", "test"]);
    assert!(!piped.expect(0, &["✓ build"]).err.contains('\u{1b}'), "{}", piped.err);
    world.commit("More");
    // script(1) gives the command a terminal of its own.
    let mut script = std::process::Command::new("script");
    script
        .args(["--quiet", "--return", "--command"])
        .arg(format!("{} release test", support::cutover()))
        .arg("/dev/null");
    script
        .current_dir(world.repository())
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .stdin(std::process::Stdio::null());
    let shown = support::said(&script.output().unwrap());
    shown.expect(0, &["\u{1b}[32m✓\u{1b}[0m build", "r2 serves"]);
}
