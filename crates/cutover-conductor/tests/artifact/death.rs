//! Builds that are given up or killed.

use super::*;

const CHILD: &str = "CUTOVER_ARTIFACT_TEST_CHILD";

/// The first time, waits for ever; once told so, succeeds.
async fn slow(project: &Project) -> (Plan, PathBuf) {
    let marks = project.state.with_file_name("marks");
    std::fs::create_dir_all(&marks).unwrap();
    let line = format!(
        "cd {} && if [ -e again ]; then exit 0; fi; trap ': > asked' TERM; sleep 600 & echo $! > sleeper; \
         echo $$ > shell; wait; sleep 600",
        marks.display()
    );
    let plan =
        project.plan(1, |settings| settings.artifact.build = Some(format!("echo half > half; {line}"))).await;
    (plan, marks)
}

fn process(marks: &Path, name: &str) -> PathBuf {
    PathBuf::from("/proc").join(std::fs::read_to_string(marks.join(name)).unwrap().trim())
}

fn is_running(marks: &Path) -> bool {
    std::fs::read_to_string(marks.join("shell")).is_ok_and(|text| text.ends_with('\n'))
}

async fn is_built_again(project: &Project, plan: &Plan, marks: &Path) {
    let workshop = project.workshop();
    assert_eq!(workshop.releases(&"staging".parse().unwrap()).unwrap(), []);
    std::fs::write(marks.join("again"), "").unwrap();
    workshop.build(plan).await.unwrap();
    assert_eq!(workshop.releases(&"staging".parse().unwrap()).unwrap().len(), 1);
}

#[tokio::test]
async fn a_killed_build_is_no_artifact_and_leaves_no_process() {
    let project = Project::new("");
    let (plan, marks) = slow(&project).await;
    let given = serde_json::to_string(&(&project.root, &project.state, &plan)).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["death::child_builds", "--exact", "--nocapture"])
        .env(CHILD, given)
        .spawn()
        .unwrap();
    until("a build", || is_running(&marks));
    assert!(process(&marks, "shell").exists() && process(&marks, "sleeper").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    let (shell, sleeper) = (process(&marks, "shell"), process(&marks, "sleeper"));
    until("the end of the killed build's processes", || !shell.exists() && !sleeper.exists());
    // It was not even asked: there was nobody to ask.
    assert!(!marks.join("asked").exists() && project.release("r1").exists());
    is_built_again(&project, &plan, &marks).await;
}

#[tokio::test]
async fn child_builds() {
    let Ok(given) = std::env::var(CHILD) else { return };
    let (root, state, plan): (PathBuf, PathBuf, Plan) = serde_json::from_str(&given).unwrap();
    Workshop::new(&root, &state).build(&plan).await.unwrap();
}

#[tokio::test]
async fn a_build_that_is_given_up_is_asked_to_end_and_then_killed() {
    let project = Project::new("");
    let (plan, marks) = slow(&project).await;
    {
        let workshop = project.workshop();
        let build = workshop.build(&plan);
        let started = {
            let marks = marks.clone();
            tokio::task::spawn_blocking(move || until("a build", || is_running(&marks)))
        };
        tokio::select! {
            built = build => panic!("{built:?}"),
            started = started => started.unwrap(),
        }
    }
    until("a request to end", || marks.join("asked").exists());
    let (shell, sleeper) = (process(&marks, "shell"), process(&marks, "sleeper"));
    // It ignores the request, so it still holds its room; the next attempt waits until it is killed.
    is_built_again(&project, &plan, &marks).await;
    until("the end of the build's processes", || !shell.exists() && !sleeper.exists());
}
