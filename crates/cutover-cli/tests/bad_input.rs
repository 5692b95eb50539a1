//! Bad input, bad surroundings and bad replicas: each has a message that names the cause and the next step, its documented
//! exit code, and leaves what was serving as it was.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr, reason = "a test file")]

mod support;

use support::{PASSWORD, World, eventually, found_below};

/// A world in which r1 serves.
fn serving(change: impl FnOnce(String) -> String) -> World {
    let mut world = World::new(change);
    world.host();
    world.run(&["release", "test"]).expect(0, &["r1 serves"]);
    assert_eq!(world.answering().as_deref(), Some("r1"));
    world
}

/// r1 still answers, no run is open, and only its two replicas are there.
#[track_caller]
fn unchanged(world: &World) {
    assert_eq!(world.answering().as_deref(), Some("r1"));
    let status = world.status();
    assert_eq!(status["serving"], 1, "{status}");
    assert!(status["run"].is_null(), "{status}");
    assert_eq!(world.pids().len(), 2, "{status}");
}

#[test]
fn a_broken_or_unknown_description_is_a_usage_error_with_its_place() {
    let world = World::new(|text| text);
    for (from, to, told) in [
        ("[service]", "[service", "1:"),
        ("[artifact]", "[artefact]", "unknown field `artefact`"),
        ("replicas = 2", "replicas = 0", "outside 1 to 1000"),
        ("listen = ", "lisen = ", "unknown field `lisen`"),
    ] {
        let good = std::fs::read_to_string(world.repository().join("cutover.toml")).unwrap();
        world.edit("cutover.toml", from, to);
        world.run(&["release", "test"]).expect(2, &[told, "nothing was changed", "next:"]);
        world.write("cutover.toml", &good);
    }
    assert!(!world.state().exists(), "a command that did nothing left a state directory");
}

#[test]
fn a_literal_secret_is_refused_and_not_shown() {
    let world = World::new(|text| {
        let secret = format!("postgres://shop:{PASSWORD}@db/shop");
        text.replace("DATABASE_URL = \"file:", &format!("OTHER_URL = \"{secret}\", DATABASE_URL = \"file:"))
    });
    world.run(&["release", "test"]).expect(2, &["URL with a password", "env:NAME"]);
    world.run(&["release", "test", "--json"]).expect(2, &["\"kind\": \"usage\""]);
}

#[test]
fn an_unknown_environment_names_the_known_ones() {
    let world = World::new(|text| text);
    world.run(&["release", "production"]).expect(2, &["no environment `production`", "name one of: test"]);
}

#[test]
fn uncommitted_changes_are_not_released_by_accident() {
    let world = serving(|text| text);
    world.write("behaviour.json", r#"{ "error_every": 1 }"#);
    world.commit("x");
    world.write("notes.txt", "not yet");
    world.run(&["release", "test"]).expect(3, &["uncommitted changes", "--allow-dirty"]);
    unchanged(&world);
}

#[test]
fn a_host_that_is_not_there_is_named_with_the_next_step() {
    let world = World::new(|text| text);
    world.run(&["doctor"]).expect(1, &["host", "cutover host"]);
}

#[test]
fn a_missing_secret_stops_the_run_before_anything_starts() {
    let world = serving(|text| text);
    world.edit("cutover.toml", "environment = { ", "environment = { API_TOKEN = \"env:NOBODY_SET_THIS\", ");
    world.commit("Need a token");
    world.run(&["release", "test"]).expect(1, &["NOBODY_SET_THIS", "r1 serves"]);
    unchanged(&world);
}

#[test]
fn an_unreachable_database_stops_the_run_without_a_word_about_its_password() {
    let world = serving(|text| text);
    let url = format!("postgres://shop:{PASSWORD}@127.0.0.1:1/shop");
    std::fs::write(world.path("elsewhere"), url).unwrap();
    let (from, to) = (world.path("database-url"), world.path("elsewhere"));
    let described = format!("database = \"file:{}\"", from.display());
    world.edit("cutover.toml", &described, &format!("database = \"file:{}\"", to.display()));
    world.commit("Move the database");
    world.run(&["release", "test"]).expect(1, &["127.0.0.1", "r1 serves"]);
    unchanged(&world);
    assert_eq!(found_below(&world.state(), PASSWORD), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_taken_port_is_named_and_nothing_is_started() {
    let mut world = World::new(|text| text);
    let _taken = std::net::TcpListener::bind(("127.0.0.1", world.port)).unwrap();
    world.host();
    world.run(&["doctor"]).expect(1, &["port", &world.port.to_string()]);
    world.run(&["release", "test"]).expect(1, &[&world.port.to_string()]);
    assert!(world.pids().is_empty());
}

#[test]
fn a_second_run_at_the_same_time_is_refused_by_name() {
    let world = serving(|text| text);
    world.edit("cutover.toml", "[health]", "[checks]\nslow = \"sleep 60\"\n\n[health]");
    world.commit("More");
    let mut first = world.command_as("ada", &["release", "test"]).spawn().unwrap();
    eventually("the first run is open", || !world.status()["run"].is_null());
    world.run_as("bob", &["release", "test"]).expect(3, &["ada", "test"]);
    world.run_as("bob", &["abort", "test", "--reason", "enough"]).expect(0, &["r1 serves"]);
    assert_eq!(first.wait().unwrap().code(), Some(1));
    unchanged(&world);
}

#[test]
fn a_damaged_journal_is_not_believed() {
    let world = serving(|text| text);
    // One byte of a record's text, wherever SQLite keeps it by now.
    let flipped = ["journal.db", "journal.db-wal"].into_iter().any(|name| {
        let file = world.state().join(name);
        let Ok(mut bytes) = std::fs::read(&file) else { return false };
        let Some(at) = bytes.windows(11).rposition(|window| window == b"Take orders") else { return false };
        bytes[at] = b'B';
        std::fs::write(&file, bytes).is_ok()
    });
    assert!(flipped);
    world.commit("More");
    world.run(&["release", "test"]).expect(1, &["damaged at event", "mend-journal"]);
    assert_eq!(world.answering().as_deref(), Some("r1"));
}

/// Releases a change of the `run` line, which has to fail and leave r1 serving.
#[track_caller]
fn bad_replica(world: &World, run: &str, told: &[&str]) {
    let exe = support::cutover();
    world.edit("cutover.toml", &format!("run = \"{exe} demo-service\""), &format!("run = {run:?}"));
    world.commit("A bad replica");
    world.run(&["release", "test"]).expect(1, &[told, &["r1 serves", "next:"]].concat());
    unchanged(world);
}

#[test]
fn a_replica_that_exits_at_once_is_told_with_its_last_words() {
    bad_replica(
        &serving(|text| text),
        "sh -c 'echo no configuration >&2; exit 3'",
        &["exited", "3", "no configuration"],
    );
}

#[test]
fn a_replica_that_is_never_ready_is_given_up() {
    let world = serving(|text| text.replace("start_within = \"10s\"", "start_within = \"1s\""));
    bad_replica(&world, "sleep 1000", &["ready"]);
}

#[test]
fn a_program_that_is_not_there_is_named() {
    bad_replica(&serving(|text| text), "./no-such-program --serve", &["no-such-program"]);
}

#[test]
fn a_replica_that_ignores_sigterm_is_killed_after_its_time() {
    let exe = support::cutover();
    let stubborn = format!(r#"run = "sh -c 'trap : TERM; {exe} demo-service & while :; do sleep 1; done'""#);
    let world = serving(|text| text.replace(&format!("run = \"{exe} demo-service\""), &stubborn));
    let before = world.pids();
    world.edit("cutover.toml", &stubborn, &format!("run = \"{exe} demo-service\""));
    world.edit("cutover.toml", "watch = \"2m\"", "watch = \"0s\"");
    world.commit("Listen to signals");
    world.run(&["release", "test"]).expect(0, &["r2 serves"]);
    assert_eq!(world.answering().as_deref(), Some("r2"));
    for pid in before {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "{pid} is still there");
    }
}

#[test]
fn a_replica_that_writes_its_database_url_gives_nothing_away() {
    let exe = support::cutover();
    let mut world = World::new(|text| {
        let talkative = format!(r#"run = "sh -c 'echo url is $SECRET_URL >&2; exec {exe} demo-service'""#);
        text.replace(&format!("run = \"{exe} demo-service\""), &talkative)
            .replace("environment = { ", "environment = { SECRET_URL = \"file:../secret-url\", ")
    });
    std::fs::write(world.path("secret-url"), format!("postgres://shop:{PASSWORD}@db/shop")).unwrap();
    world.host();
    world.run(&["release", "test"]).expect(0, &["r1 serves"]);
    eventually("the output is written", || !found_below(&world.state(), "url is").is_empty());
    assert_eq!(found_below(&world.state(), PASSWORD), Vec::<std::path::PathBuf>::new());
    assert!(!world.host_log().contains(PASSWORD));
}

/// A file system of its own, two megabytes small; gone with the test.
struct Small(std::path::PathBuf);

impl Small {
    fn mount(at: std::path::PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&at).unwrap();
        let mut mount = std::process::Command::new("mount");
        let mounted =
            mount.args(["-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs"]).arg(&at).output().unwrap();
        if mounted.status.success() {
            return Some(Self(at));
        }
        let why = String::from_utf8_lossy(&mounted.stderr).into_owned();
        assert!(std::env::var_os("CI").is_none(), "nothing may be skipped here: {why}");
        eprintln!("skipped: a full disk needs the right to mount one: {why}");
        None
    }

    fn fill(&self) -> std::path::PathBuf {
        use std::io::Write;
        let ballast = self.0.join("ballast");
        let mut file = std::fs::File::create(&ballast).unwrap();
        while file.write_all(&[0; 512]).is_ok() {}
        ballast
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_under_the_journal_stops_the_run_and_nothing_else() {
    let mut world = World::new(|text| text.replace("watch = \"2m\"", "watch = \"0s\""));
    let Some(disk) = Small::mount(world.path("small")) else { return };
    world.host();
    let (state, socket) =
        (disk.0.display().to_string(), world.state().join("host/host.sock").display().to_string());
    let cutover = |command: &[&str]| world.run(&[&["--state", &state, "--host", &socket], command].concat());
    cutover(&["release", "test"]).expect(0, &["r1 serves"]);
    world.commit("More");
    let ballast = disk.fill();
    cutover(&["release", "test"]).expect(1, &["no space left for the journal", "make room", "next:"]);
    assert_eq!(world.answering().as_deref(), Some("r1"));
    std::fs::remove_file(ballast).unwrap();
    cutover(&["release", "test"]).expect(0, &["r2 serves"]);
    assert_eq!(world.answering().as_deref(), Some("r2"));
}
