//! What an artifact is made from.

use std::collections::BTreeMap;

use cutover_conductor::artifact::{identity, is_dirty};
use cutover_model::run::{Commit, Note};

use super::*;

#[tokio::test]
async fn the_commit_is_built_and_not_the_dirty_tree() {
    let project = Project::new("");
    project.write(".gitattributes", "hidden export-ignore\n");
    project.write("hidden", "not for archives");
    std::os::unix::fs::symlink("page", project.root.join("link")).unwrap();
    project.write("run.sh", "#!/bin/sh\n");
    project.git(&["add", "-A"]);
    project.git(&["update-index", "--chmod=+x", "run.sh"]);
    project.git(&["commit", "-q", "-m", "files"]);
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(project.root.join("run.sh"), std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(!is_dirty(&project.root).await.unwrap());
    project.write("page", "dirty");
    project.write("untracked", "dirty");
    project.git(&["add", "untracked"]);
    assert!(is_dirty(&project.root).await.unwrap());

    let plan = project.plan(1, |settings| settings.artifact.build = Some("cat page > built".into())).await;
    assert_eq!(plan.commit.subject, "files");
    let workshop = project.workshop();
    let note = workshop.build(&plan).await.unwrap();
    let tree = workshop.tree(&plan, plan.release);
    let read = |name: &str| std::fs::read_to_string(tree.join(name)).unwrap();
    assert_eq!((read("page"), read("built")), ("one".into(), "one".into()));
    assert_eq!(read("hidden"), "not for archives");
    assert_eq!(std::fs::read_link(tree.join("link")).unwrap(), Path::new("page"));
    assert!(!tree.join("untracked").exists() && !tree.join(".git").exists());
    assert_eq!(std::fs::metadata(tree.join("run.sh")).unwrap().permissions().mode() & 0o111, 0o111);

    let kept = workshop.releases(&"staging".parse().unwrap()).unwrap();
    let [info] = &kept[..] else { panic!("{kept:?}") };
    assert_eq!((&info.commit, &info.by, info.release), (&plan.commit, &plan.by, plan.release));
    assert_eq!(note, Note::Built { bytes: info.bytes });
    assert!(info.bytes > 0 && info.at_ms > 1_600_000_000_000);
}

#[tokio::test]
async fn a_service_in_a_folder_has_the_rest_of_its_repository_beside_it() {
    let project = Project::new("apps/shop");
    std::fs::create_dir_all(project.repository.join("lib")).unwrap();
    std::fs::write(project.repository.join("lib/shared"), "shared").unwrap();
    project.commit();
    let build =
        |settings: &mut Settings| settings.artifact.build = Some("cat page ../../lib/shared > built".into());
    let plan = project.plan(1, build).await;
    let workshop = project.workshop();
    workshop.build(&plan).await.unwrap();
    let tree = workshop.tree(&plan, plan.release);
    assert_eq!(std::fs::read_to_string(tree.join("built")).unwrap(), "oneshared");

    let elsewhere = project.repository.join("apps/new");
    std::fs::create_dir_all(&elsewhere).unwrap();
    let uncommitted = Workshop::new(&elsewhere, &project.state);
    let mut plan = plan;
    plan.release = plan.release.next();
    let (message, _) = told(&uncommitted.build(&plan).await.unwrap_err());
    assert!(message.contains("has no folder apps/new"), "{message}");
}

#[tokio::test]
async fn submodules_come_from_the_clone_or_are_asked_for() {
    let library = Project::new("");
    let project = Project::new("");
    let url = library.repository.to_str().unwrap();
    project.git(&["submodule", "--quiet", "add", "--name", "a.lib", url, "vendor/lib"]);
    project.commit();
    let plan = project.plan(1, |_| {}).await;
    let workshop = project.workshop();
    workshop.build(&plan).await.unwrap();
    let tree = workshop.tree(&plan, plan.release);
    assert_eq!(std::fs::read_to_string(tree.join("vendor/lib/page")).unwrap(), "one");

    // A clone without it.
    let clone = tempfile::tempdir().unwrap();
    git(clone.path(), &["clone", "-q", project.repository.to_str().unwrap(), "."]);
    let bare = Workshop::new(clone.path(), &clone.path().join("state"));
    let (message, help) = told(&bare.build(&plan).await.unwrap_err());
    assert!(message.contains("submodule vendor/lib at "), "{message}");
    assert!(help.contains("git submodule update --init"), "{help}");
}

/// Every file under a directory, with its content.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(snapshot(&path)),
            false => _ = found.insert(path.clone(), std::fs::read(path).unwrap()),
        }
    }
    found
}

#[tokio::test]
async fn the_user_s_repository_is_not_touched_and_git_in_a_build_speaks_of_the_commit() {
    let project = Project::new("");
    project.git(&["tag", "v1"]);
    project.git(&["config", "submodule.recurse", "true"]);
    let hook = project.repository.join(".git/hooks/post-checkout");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, "#!/bin/sh\ntouch hooked\n").unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    let released = project.plan(1, |settings| {
        settings.artifact.build = Some(
            "git status --porcelain > status; git rev-parse HEAD > head;
             git describe --tags > described; git diff --exit-code; ls -a > listed"
                .into(),
        );
    });
    let released = released.await;
    // The user goes on, with a sparse view.
    project.write("page", "two");
    project.commit();
    project.git(&["sparse-checkout", "set", "nothing"]);
    let before = snapshot(&project.repository);
    let workshop = project.workshop();
    workshop.build(&released).await.unwrap();
    assert_eq!(snapshot(&project.repository), before);
    let tree = workshop.tree(&released, released.release);
    let read = |name: &str| std::fs::read_to_string(tree.join(name)).unwrap();
    assert_eq!(read("page"), "one");
    assert_eq!(read("status"), "?? status\n");
    assert_eq!(read("head").trim(), released.commit.sha.as_str());
    assert_eq!(read("described"), "v1\n");
    assert!(!read("listed").contains("hooked"));
}

#[tokio::test]
async fn a_linked_working_tree_is_as_good_as_the_first() {
    let project = Project::new("");
    let linked = project.state.with_file_name("linked");
    project.git(&["worktree", "add", "-q", linked.to_str().unwrap()]);
    std::fs::write(linked.join("page"), "linked").unwrap();
    git(&linked, &["commit", "-q", "-a", "-m", "linked"]);
    let plan = plan(commit(&linked, "HEAD").await.unwrap(), 1, |settings| {
        settings.artifact.build = Some("git log -1 --format=%s > subject".into());
    });
    let workshop = Workshop::new(&linked, &project.state);
    workshop.build(&plan).await.unwrap();
    let tree = workshop.tree(&plan, plan.release);
    assert_eq!(std::fs::read_to_string(tree.join("page")).unwrap(), "linked");
    assert_eq!(std::fs::read_to_string(tree.join("subject")).unwrap(), "linked\n");
}

#[tokio::test]
async fn what_can_t_be_built_from_is_told_with_the_next_step() {
    let project = Project::new("");
    for revision in ["no-such-branch", "", "--help", "HEAD~7"] {
        let (message, help) = told(&commit(&project.root, revision).await.unwrap_err());
        assert!(
            message.contains(&format!("no commit `{revision}`")) && help.contains("git fetch"),
            "{message}"
        );
    }
    let mut plan = project.plan(1, |_| {}).await;
    plan.commit = Commit { sha: "b".repeat(40).parse().unwrap(), subject: String::new() };
    let (message, help) = told(&project.workshop().build(&plan).await.unwrap_err());
    assert!(message.contains("no commit bbbbbbbbbbbb") && help.contains("git fetch"), "{message}");
    assert_eq!(project.workshop().releases(&"staging".parse().unwrap()).unwrap(), []);

    let nowhere = tempfile::tempdir().unwrap();
    let workshop = Workshop::new(nowhere.path(), &nowhere.path().join("state"));
    for error in [
        commit(nowhere.path(), "HEAD").await.unwrap_err(),
        is_dirty(nowhere.path()).await.unwrap_err(),
        workshop.build(&plan).await.unwrap_err(),
        workshop.checks(&plan).await.unwrap_err(),
    ] {
        let (message, help) = told(&error);
        assert!(message.contains("is not in a git repository") && help.contains("git init"), "{message}");
    }
    git(nowhere.path(), &["init", "-q"]);
    let (message, help) = told(&commit(nowhere.path(), "HEAD").await.unwrap_err());
    assert!(message.contains("no commit `HEAD`") && help.contains("commit something"), "{message}");
}

#[test]
fn without_git_that_is_said() {
    let project = Project::new("");
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["source::child_without_git", "--exact", "--nocapture"]);
    let output = child.env("PATH", "/nowhere").env(WITHOUT_GIT, &project.root).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("git is not installed, or not on PATH"), "{text}");
}

const WITHOUT_GIT: &str = "CUTOVER_ARTIFACT_TEST_WITHOUT_GIT";

#[tokio::test]
async fn child_without_git() {
    let Some(root) = std::env::var_os(WITHOUT_GIT) else { return };
    println!("{}", commit(Path::new(&root), "HEAD").await.unwrap_err());
    // Somebody is at work all the same.
    assert!(!identity(Path::new(&root)).0.is_empty());
}

#[test]
fn who_is_at_work_is_what_git_knows_here() {
    let project = Project::new("");
    project.git(&["config", "user.email", "ada@example.org"]);
    if std::env::var_os("CUTOVER_USER").is_none() {
        assert_eq!(identity(&project.root), Identity("ada@example.org".into()));
    }
}
