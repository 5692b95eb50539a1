//! A host that is replaced while it works.

use std::time::Duration;

use cutover_model::fleet::ReplicaState;

use crate::{
    load::Load,
    world::{LIVELY, World, get, pids, replicas, runs, wanted},
};

#[tokio::test]
async fn a_host_is_replaced_under_load_without_a_failed_request() {
    let mut world = World::start().await;
    world.want(&[wanted(1, 2)]).await;
    let before = world.until_ready(1, 2).await;
    let load = Load::start(world.listen, 8);
    for round in 0..3 {
        let listen = world.listen;
        let slow = tokio::spawn(async move { get(listen, "/slow/700").await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut old = world.take_over().await;
        let old_pid = old.id();
        assert_eq!(slow.await.unwrap().0, 200, "a request in flight is finished by the host that began it");
        let status = tokio::task::spawn_blocking(move || old.wait()).await.unwrap().unwrap();
        assert!(status.success(), "{status}");
        assert_ne!(world.client.status().await.unwrap().pid, old_pid);
        assert_eq!(pids(&world.until_ready(1, 2).await), pids(&before), "round {round}");
    }
    let outcome = load.stop().await;
    assert_eq!(outcome.failed, Vec::<String>::new(), "of {} requests", outcome.answered);
    assert!(outcome.answered > 0);
    // The new one is in charge.
    world.want(&[wanted(2, 1)]).await;
    world
        .until("r2 alone", |o| o.releases.len() == 1 && replicas(o).all(|r| r.state == ReplicaState::Ready))
        .await;
    assert_eq!(world.who().await.0, "r2");
    assert!(pids(&before).into_iter().all(|pid| !runs(pid)));
}

#[tokio::test]
async fn a_replica_that_drains_is_not_stopped_while_the_old_host_still_uses_it() {
    let mut world = World::start().await;
    world.want(&[wanted(1, 1)]).await;
    let pid = pids(&world.until_ready(1, 1).await)[0];
    let listen = world.listen;
    let slow = tokio::spawn(async move { get(listen, "/slow/3000").await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    world.want(&[wanted(2, 1)]).await;
    world.until_ready(2, 1).await;
    let mut old = world.take_over().await;
    // The new host's own gate knows nothing of the request.
    let (status, body) = slow.await.unwrap();
    assert_eq!((status, body.contains(&pid.to_string())), (200, true));
    let _ = tokio::task::spawn_blocking(move || old.wait()).await.unwrap();
    world.until("r1 gone", |observed| observed.releases.len() == 1).await;
    assert!(!runs(pid));
}

#[tokio::test]
async fn a_successor_that_fails_leaves_the_old_host_in_charge() {
    let mut world = World::start().await;
    world.want(&[wanted(1, 1)]).await;
    let before = world.until_ready(1, 1).await;
    let path = world.fleet_dir().join("desired.json");
    let content = std::fs::read(&path).unwrap();
    std::fs::write(&path, "{").unwrap();
    let mut failing = world.command(true);
    let failed = tokio::task::spawn_blocking(move || failing.output()).await.unwrap().unwrap();
    assert!(!failed.status.success());
    std::fs::write(&path, content).unwrap();
    assert_eq!(world.who().await.0, "r1");
    tokio::time::timeout(LIVELY, async {
        while world.try_want(&[wanted(1, 2)]).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("it goes on");
    let after = world.until_ready(1, 2).await;
    assert!(pids(&after).contains(&pids(&before)[0]));
    // And the next one may try again.
    let mut old = world.take_over().await;
    let _ = tokio::task::spawn_blocking(move || old.wait()).await.unwrap();
    assert_eq!(pids(&world.until_ready(1, 2).await), pids(&after));
}
