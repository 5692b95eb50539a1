//! Checks, builds and kept releases, from real git repositories.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod commands;
mod death;
mod keeping;
mod source;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use cutover_conductor::{
    artifact::{Workshop, commit},
    ports::{Commands, PortError},
};
use cutover_model::{
    ReleaseNumber,
    config::{Config, Settings},
    run::{Identity, Kind, Plan},
};

/// A repository with a service, and a state directory beside it.
struct Project {
    _dir: tempfile::TempDir,
    repository: PathBuf,
    root: PathBuf,
    state: PathBuf,
}

impl Project {
    /// The service's folder may be a folder of the repository.
    fn new(folder: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        let repository = base.join("repository");
        let root = repository.join(folder);
        std::fs::create_dir_all(&root).unwrap();
        let project = Self { _dir: dir, repository, root, state: base.join("state") };
        project.git(&["init", "-q", "-b", "main"]);
        project.write("page", "one");
        project.commit();
        project
    }

    fn git(&self, arguments: &[&str]) -> String {
        git(&self.repository, arguments)
    }

    /// A file in the service's folder.
    fn write(&self, name: &str, text: &str) {
        let path = self.root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn commit(&self) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", "a change\n\nand why"]);
    }

    fn workshop(&self) -> Workshop {
        Workshop::new(&self.root, &self.state)
    }

    async fn plan(&self, release: u64, change: impl FnOnce(&mut Settings)) -> Plan {
        let commit = commit(&self.root, "HEAD").await.unwrap();
        plan(commit, release, change)
    }

    fn release(&self, name: &str) -> PathBuf {
        self.state.join("staging/releases").join(name)
    }
}

fn git(directory: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args([
        "-c",
        "user.name=ada",
        "-c",
        "user.email=ada@example.org",
        "-c",
        "protocol.file.allow=always",
    ]);
    let output = command.args(arguments).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn plan(commit: cutover_model::run::Commit, release: u64, change: impl FnOnce(&mut Settings)) -> Plan {
    let text = r#"
        [service]
        name = "shop"
        [artifact]
        run = "./shop"
        [health]
        live = "/live"
        ready = "/ready"
        [environments.staging]
        target = "host"
        listen = "0.0.0.0:8123"
        "#;
    let mut settings = Config::parse(text).unwrap().environment(&"staging".parse().unwrap()).unwrap();
    change(&mut settings);
    Plan {
        kind: Kind::Release,
        release: ReleaseNumber::new(release).unwrap(),
        from: None,
        commit,
        by: Identity("ada@build-1".into()),
        settings,
    }
}

/// Waits for something that must come to pass; generous, since it only ends a test that has failed.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(60), "{what} never came to pass");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn told(error: &PortError) -> (String, String) {
    match error {
        PortError::Broken { message, help } | PortError::Refused { message, help } => {
            (message.clone(), help.clone())
        }
        PortError::Unreachable(message) => (message.clone(), String::new()),
    }
}
