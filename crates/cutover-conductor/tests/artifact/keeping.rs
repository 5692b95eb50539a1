//! Releases that are kept, and those that are not any more.

use cutover_model::EnvironmentName;

use super::*;

fn staging() -> EnvironmentName {
    "staging".parse().unwrap()
}

fn names(workshop: &Workshop) -> Vec<String> {
    workshop.releases(&staging()).unwrap().iter().map(|info| info.release.to_string()).collect()
}

#[tokio::test]
async fn a_kept_release_is_taken_as_it_is() {
    let project = Project::new("");
    let build = |settings: &mut Settings| settings.artifact.build = Some("date +%N > stamp".into());
    let plan = project.plan(1, build).await;
    let workshop = project.workshop();
    let first = workshop.build(&plan).await.unwrap();
    let stamp = std::fs::read(project.release("r1/tree/stamp")).unwrap();
    assert_eq!(workshop.build(&plan).await.unwrap(), first);
    assert_eq!(std::fs::read(project.release("r1/tree/stamp")).unwrap(), stamp);
    // The same number for another commit is not the same release.
    project.write("page", "two");
    project.commit();
    let other = project.plan(1, build).await;
    let (message, _) = told(&workshop.build(&other).await.unwrap_err());
    assert!(message.contains("r1 is kept already"), "{message}");
    assert_eq!(std::fs::read(project.release("r1/tree/stamp")).unwrap(), stamp);
}

#[tokio::test]
async fn two_that_build_the_same_release_at_once_get_one_artifact() {
    let project = Project::new("");
    let plan =
        project.plan(1, |settings| settings.artifact.build = Some("echo x >> ../built; sleep 0.3".into()));
    let plan = plan.await;
    let (one, two) = (project.workshop(), project.workshop());
    let (one, two) = tokio::join!(one.build(&plan), two.build(&plan));
    assert_eq!(one.unwrap(), two.unwrap());
    assert_eq!(std::fs::read_to_string(project.release("r1/built")).unwrap(), "x\n");
}

#[tokio::test]
async fn pruning_keeps_what_it_is_told_to_and_what_is_in_use() {
    let project = Project::new("");
    let workshop = project.workshop();
    for release in 1..=4 {
        let plan = project.plan(release, |settings| {
            settings.artifact.build =
                Some("mkdir -p ro/deep && touch ro/deep/file && chmod -R a-w ro".into());
        });
        workshop.build(&plan.await).await.unwrap();
    }
    // Left by a kill: a release without its description, a checks tree, half a removal.
    std::fs::create_dir_all(project.release("r9/source")).unwrap();
    std::fs::create_dir_all(project.release(".checks-r8/source")).unwrap();
    std::fs::create_dir_all(project.release(".trash-x/source")).unwrap();
    let log = |release: u64| project.state.join(format!("staging/logs/r{release}-build.log"));
    assert!(log(1).exists());

    let started = project.release("r10/started");
    let building = project.plan(10, |settings| {
        settings.artifact.build = Some("touch ../started; until [ -e ../go ]; do sleep 0.02; done".into());
    });
    let building = building.await;
    let (one, plan) = (project.workshop(), building.clone());
    let builder = tokio::spawn(async move { one.build(&plan).await });
    tokio::task::spawn_blocking(move || until("a build", || started.exists())).await.unwrap();

    let mut plan = building;
    plan.release = ReleaseNumber::new(22).unwrap();
    let keep = [3, 4].map(|number| ReleaseNumber::new(number).unwrap());
    workshop.prune(&plan, &keep).await.unwrap();
    assert_eq!(names(&workshop), ["r3", "r4"]);
    let mut left: Vec<_> = std::fs::read_dir(project.release(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, [".lock", "r10", "r3", "r4"]);
    assert!(!log(1).exists() && !log(2).exists() && log(3).exists());
    // Doing it twice is doing it once.
    workshop.prune(&plan, &keep).await.unwrap();

    std::fs::write(project.release("r10/go"), "").unwrap();
    builder.await.unwrap().unwrap();
    assert_eq!(names(&workshop), ["r3", "r4", "r10"]);
    // Whoever wants to keep r3 alone has not heard of r4 and r10.
    workshop.prune(&plan, &keep[..1]).await.unwrap();
    assert_eq!(names(&workshop), ["r3", "r4", "r10"]);
    workshop.prune(&plan, &[keep[0], ReleaseNumber::new(10).unwrap()]).await.unwrap();
    assert_eq!(names(&workshop), ["r3", "r10"]);
}

#[tokio::test]
async fn nothing_kept_is_nothing_to_prune() {
    let project = Project::new("");
    let plan = project.plan(1, |_| {}).await;
    project.workshop().prune(&plan, &[]).await.unwrap();
    assert_eq!(names(&project.workshop()), [""; 0]);
    assert!(!project.state.exists());
}
