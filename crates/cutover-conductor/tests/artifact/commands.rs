//! How the team's commands are run.

use std::sync::{Arc, Mutex};

use cutover_model::{
    config::{Span, Value},
    run::Note,
};

use super::*;

fn with_checks(checks: &[(&str, &str)]) -> impl FnOnce(&mut Settings) {
    let checks = checks.iter().map(|(name, line)| ((*name).to_owned(), (*line).to_owned())).collect();
    |settings| settings.checks = checks
}

#[tokio::test]
async fn every_check_runs_and_all_that_fail_are_told() {
    let project = Project::new("");
    let out = project.state.with_file_name("ran");
    let ran = format!("echo ran > {}", out.display());
    let checks = [
        ("lint", "echo bad line 7; echo and more >&2; exit 3"),
        ("unit", "kill -9 $$"),
        ("types", ran.as_str()),
        ("own-git", "git diff --exit-code && echo x > page"),
    ];
    let plan = project.plan(1, with_checks(&checks)).await;
    let (message, help) = told(&project.workshop().checks(&plan).await.unwrap_err());
    assert!(message.contains("check lint failed (exit status: 3)\n  bad line 7\n  and more"), "{message}");
    assert!(message.contains("check unit failed (signal: 9"), "{message}");
    assert!(!message.contains("types") && message.contains("nothing was changed"), "{message}");
    let by_hand = format!("cd {} && sh -c 'echo bad line 7;", project.root.display());
    assert!(help.contains(&by_hand) && help.contains("sh -c 'kill -9 $$'"), "{help}");
    assert_eq!(std::fs::read_to_string(out).unwrap(), "ran\n");
    let log = project.state.join("staging/logs/r1-check-lint.log");
    assert_eq!(std::fs::read_to_string(log).unwrap(), "bad line 7\nand more\n");
    // Nothing of it is left, and what checks wrote is not what is built.
    assert!(!project.release(".checks-r1").exists());
    let plan = project.plan(1, |settings| settings.artifact.build = Some("cat page > built".into())).await;
    project.workshop().build(&plan).await.unwrap();
    assert_eq!(std::fs::read_to_string(project.release("r1/tree/built")).unwrap(), "one");
}

#[tokio::test]
async fn checks_run_at_the_same_time() {
    let project = Project::new("");
    // Each waits for the other.
    let meet = |mine: &str, other: &str| format!("touch {mine}; until [ -e {other} ]; do sleep 0.02; done");
    let (one, two) = (meet("one", "two"), meet("two", "one"));
    let plan = project.plan(1, with_checks(&[("one", &one), ("two", &two)])).await;
    let done =
        tokio::time::timeout(Duration::from_secs(60), async { project.workshop().checks(&plan).await });
    assert_eq!(done.await.unwrap().unwrap(), Note::None);
}

#[tokio::test]
async fn secrets_show_nowhere() {
    let project = Project::new("");
    project.write("secret", "postgres://shop:hunter2-hunter2@db/shop\n");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let watcher = {
        let seen = Arc::clone(&seen);
        Arc::new(move |name: &str, line: &str| seen.lock().unwrap().push(format!("{name}: {line}")))
    };
    let plan = project.plan(1, |settings| {
        let file = Value::File("secret".into());
        settings.place.environment.insert("DATABASE_URL".into(), file);
        let line = format!("cat {0}/secret; echo hunter2-hunter2; exit 1", project.root.display());
        settings.checks.insert("leak".into(), line);
        settings.checks.insert("args".into(), "false hunter2-hunter2".into());
    });
    let plan = plan.await;
    let error = project.workshop().watched_by(watcher).checks(&plan).await.unwrap_err();
    let log = std::fs::read_to_string(project.state.join("staging/logs/r1-check-leak.log")).unwrap();
    let seen = seen.lock().unwrap().join("\n");
    assert!(seen.contains("check leak: [redacted]"), "{seen}");
    for text in [format!("{error:?}"), log, seen] {
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn a_command_knows_what_it_runs_for() {
    let project = Project::new("");
    let plan = project.plan(4, |settings| {
        settings.artifact.build = Some("env > environment; pwd -P > place".into());
        settings.smoke = Some("env > smoke-environment".into());
    });
    let plan = plan.await;
    let workshop = project.workshop();
    workshop.build(&plan).await.unwrap();
    assert_eq!(workshop.smoke(&plan).await.unwrap(), Note::None);
    let tree = workshop.tree(&plan, plan.release);
    let read = |name: &str| std::fs::read_to_string(tree.join(name)).unwrap();
    for name in ["environment", "smoke-environment"] {
        let lines = read(name);
        for line in ["CUTOVER_RELEASE=r4", "CUTOVER_ENVIRONMENT=staging"] {
            assert!(lines.lines().any(|found| found == line), "{lines}");
        }
        assert!(
            lines.contains(&format!("CUTOVER_SHA={}", plan.commit.sha)) && lines.contains("PATH="),
            "{lines}"
        );
    }
    assert!(read("smoke-environment").contains("CUTOVER_URL=http://127.0.0.1:8123"));
    // It was built where it stands, so a path that the build wrote down still holds.
    assert_eq!(read("place").trim(), tree.canonicalize().unwrap().to_str().unwrap());
}

#[tokio::test]
async fn a_build_that_takes_too_long_is_stopped() {
    let project = Project::new("");
    let plan = project.plan(1, |settings| {
        settings.artifact.build = Some("echo begun; sleep 600".into());
        settings.artifact.build_within = Span::from_millis(700);
    });
    let plan = plan.await;
    let (message, help) = told(&project.workshop().build(&plan).await.unwrap_err());
    assert!(message.contains("build took longer than 700ms and was stopped\n  begun"), "{message}");
    assert!(help.contains("r1-build.log"), "{help}");
    assert_eq!(project.workshop().releases(&"staging".parse().unwrap()).unwrap(), []);
}

#[tokio::test]
async fn what_a_command_leaves_running_ends_with_it() {
    let project = Project::new("");
    let plan = project.plan(1, |settings| {
        settings.artifact.build = Some("sleep 600 & echo $! > ../left; echo done".into());
    });
    let plan = plan.await;
    project.workshop().build(&plan).await.unwrap();
    let left = std::fs::read_to_string(project.release("r1/left")).unwrap();
    let process = PathBuf::from("/proc").join(left.trim());
    until("the end of what was left", || !process.exists());
}
