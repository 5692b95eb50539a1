//! The history that `history.sh` makes is the one that it says it makes.

use std::{
    path::Path,
    process::{Command, Output},
};

use cutover_model::config::Config;

use crate::replica::example;

pub(crate) fn make(dir: &Path, listen: &str) -> Output {
    Command::new("bash").arg(example().join("history.sh")).arg(dir).arg(listen).output().unwrap()
}

/// The content of a file in a commit.
fn at(dir: &Path, tag: &str, file: &str) -> String {
    let output =
        Command::new("git").arg("-C").arg(dir).args(["show", &format!("{tag}:{file}")]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_history_has_seven_releases() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("shop");
    let made = make(&dir, "127.0.0.1:18080");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

    for tag in ["v1", "v2", "v3", "v4", "v5", "v6", "v7"] {
        let config = Config::parse(&at(&dir, tag, "cutover.toml")).unwrap();
        let place = &config.environments[&"production".parse().unwrap()];
        assert_eq!(place.listen.port(), 18080);
    }
    let told = |tag: &str| {
        let text = at(&dir, tag, "behaviour.toml");
        let keys = text.lines().filter(|line| line.contains(" = "));
        keys.filter(|line| !line.ends_with("= false") && !line.ends_with("= 0.0") && !line.ends_with("= 0"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(told("v1"), [""; 0]);
    assert_eq!(told("v2"), ["order_notes = true"]);
    assert_eq!(told("v3"), ["order_notes = true", "error_share = 0.1"]);
    assert_eq!(told("v4"), ["order_notes = true", "slow_share = 0.05", "slow_ms = 600"]);
    assert_eq!(told("v5"), told("v2"));
    assert_eq!(told("v6"), told("v2"));
    assert_eq!(told("v7"), ["order_notes = true", "print_database_url = true"]);
    let migrations = |tag: &str| at(&dir, tag, "migrations").matches(".sql").count();
    assert_eq!(["v1", "v2", "v5", "v6"].map(migrations), [1, 2, 3, 2]);
}

#[test]
fn the_history_is_made_only_in_an_empty_folder() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mine"), "").unwrap();
    let made = make(folder.path(), "127.0.0.1:8080");
    assert!(!made.status.success());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was added");
}
