//! Replicas outlive their host: killed, stopped, or dead between two instructions.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
    process::{Command, Stdio},
};

use cutover_model::fleet::ReplicaState;
use serde_json::{Value, json};

use crate::{
    load::Load,
    world::{LIVELY, World, get, pids, replicas, runs, until_gone, wanted},
};

#[tokio::test]
async fn a_killed_host_is_followed_by_one_that_adopts_every_replica() {
    let mut world = World::start().await;
    world.want(&[wanted(1, 3).with("SAY", "DATABASE_URL").with("DATABASE_URL", "env:HOST_SECRET")]).await;
    let before = world.until_ready(1, 3).await;
    let load = Load::start(world.listen, 4);
    world.kill_host();
    assert!(pids(&before).into_iter().all(runs), "they go on without a host");
    // What they were given is in their own environment; the host need not know it any more to mask it.
    world.environment("HOST_SECRET", None);
    world.start_host().await;
    let after = world.until_ready(1, 3).await;
    assert_eq!(pids(&after), pids(&before));
    let same =
        |(new, old): (&cutover_model::fleet::ObservedReplica, _)| (&new.id, new.restarts, new.port) == old;
    let old = replicas(&before).map(|replica| (&replica.id, 0, replica.port));
    assert!(replicas(&after).zip(old).all(same), "{after:#?}");
    assert_eq!(world.who().await.0, "r1");
    assert!(load.stop().await.answered > 0);
    assert!(after.version > before.version, "who waits for a change is not left behind");

    // An adopted one ends as any other, though it is no child of this host.
    world.want(&[]).await;
    world.until("gone", |observed| replicas(observed).count() == 0).await;
    for pid in pids(&before) {
        until_gone(pid).await;
    }
    let id = &replicas(&before).next().unwrap().id;
    let output = world.client.output(&world.fleet, id, 10_000).await.unwrap();
    assert!(output.contains("got SIGTERM"), "its output is read again: {output}");
    assert_eq!(world.files_with("hunter"), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn requests_wait_for_adopted_replicas_instead_of_failing() {
    let mut world = World::start().await;
    world.want(&[wanted(1, 2)]).await;
    world.until_ready(1, 2).await;
    for _ in 0..5 {
        world.kill_host();
        let pid = world.spawn_host(false);
        // The first request that is accepted at all is answered by a replica.
        let status = loop {
            match crate::world::try_get(world.listen, "/").await {
                Ok((status, _)) => break status,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(1)).await,
            }
        };
        assert_eq!(status, 200);
        world.until_answers(pid).await;
    }
}

#[tokio::test]
async fn a_host_that_is_stopped_leaves_its_replicas_to_the_next() {
    let mut world = World::start().await;
    world.want(&[wanted(1, 1)]).await;
    let before = pids(&world.until_ready(1, 1).await);
    let listen = world.listen;
    let slow = tokio::spawn(async move { get(listen, "/slow/500").await });
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    world.stop_host().await;
    assert_eq!(slow.await.unwrap().0, 200, "requests in flight are finished");
    assert!(before.iter().all(|pid| runs(*pid)));
    world.start_host().await;
    assert_eq!(pids(&world.until_ready(1, 1).await), before);
}

#[tokio::test]
async fn a_replica_that_ended_meanwhile_is_started_again() {
    let mut world = World::start().await;
    world.want(&[wanted(1, 2)]).await;
    let before = world.until_ready(1, 2).await;
    world.until_recorded(2).await;
    world.kill_host();
    crate::world::signal(pids(&before)[0], rustix::process::Signal::KILL);
    until_gone(pids(&before)[0]).await;
    world.start_host().await;
    let after = world.until_ready(1, 2).await;
    assert_eq!(pids(&after)[1], pids(&before)[1]);
    let first = replicas(&after).next().unwrap();
    assert_eq!((first.id.as_str(), first.restarts), (replicas(&before).next().unwrap().id.as_str(), 1));
}

#[tokio::test]
async fn a_host_that_died_between_start_and_record_finds_its_process() {
    let mut world = World::start().await;
    world.want(&[wanted(1, 1)]).await;
    let before = world.until_ready(1, 1).await;
    world.kill_host();
    let id = replicas(&before).next().unwrap().id.clone();
    world.edit_record(&id, |record| record["identity"] = Value::Null);
    world.start_host().await;
    let after = world.until_ready(1, 1).await;
    assert_eq!(pids(&after), pids(&before), "no orphan, no second one");
    assert_eq!(replicas(&after).count(), 1);

    // And where it died before the start, there is nothing to find: another one is started.
    world.kill_host();
    crate::world::signal(pids(&before)[0], rustix::process::Signal::KILL);
    until_gone(pids(&before)[0]).await;
    world.edit_record(&id, |record| record["identity"] = Value::Null);
    world.start_host().await;
    let after = world.until_ready(1, 1).await;
    assert_ne!(replicas(&after).next().unwrap().id, id);
}

#[tokio::test]
async fn what_a_replica_left_behind_is_ended_by_the_next_host() {
    let mut world = World::start().await;
    world.want(&[wanted(1, 1).with("CHILD", "1")]).await;
    let before = world.until_ready(1, 1).await;
    let id = replicas(&before).next().unwrap().id.clone();
    let output = world.until_output(&id, "child ").await;
    let child: u32 = output.split("child ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
    world.until_recorded(1).await;
    world.kill_host();
    crate::world::signal(pids(&before)[0], rustix::process::Signal::KILL);
    until_gone(pids(&before)[0]).await;
    assert!(runs(child), "nobody was there to end it");
    world.start_host().await;
    world
        .until("ready again", |o| replicas(o).any(|r| r.restarts == 1 && r.state == ReplicaState::Ready))
        .await;
    until_gone(child).await;
}

#[tokio::test]
async fn killed_at_any_moment_no_process_runs_unknown_and_none_is_missing() {
    let mut world = World::start().await;
    world.want(&[wanted(1, 2)]).await;
    world.until_ready(1, 2).await;
    for round in 0..30_u64 {
        // Something is always being started, and something stopped.
        let (old, new) = (1 + round, 2 + round);
        let half_way = [wanted(old, 1), wanted(new, 2)];
        if round % 3 == 0 {
            // Also while the write itself is under way, or before it.
            let put = world.try_want(&half_way);
            let _ = tokio::time::timeout(std::time::Duration::from_millis(round % 7), put).await;
        } else {
            world.want(&half_way).await;
            tokio::time::sleep(std::time::Duration::from_millis(round * 11 % 60)).await;
        }
        world.kill_host();
        world.start_host().await;
        world.want(&[wanted(new, 2)]).await;
        world.until_ready(new, 2).await;
    }
    let observed = world.until("r31 alone", |observed| observed.releases.len() == 1).await;
    let mut known = pids(&observed);
    known.sort_unstable();
    assert_eq!(world.replica_processes(), known);
}

#[tokio::test]
async fn a_stranger_with_the_same_number_is_never_signalled() {
    let mut world = World::start().await;
    world.want(&[wanted(1, 1)]).await;
    let before = world.until_ready(1, 1).await;
    let (id, pid) = (replicas(&before).next().unwrap().id.clone(), pids(&before)[0]);
    world.until_recorded(1).await;
    world.kill_host();
    crate::world::signal(pid, rustix::process::Signal::KILL);
    until_gone(pid).await;
    let mut stranger = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
    world.edit_record(&id, |record| record["identity"]["pid"] = json!(stranger.id()));
    world.start_host().await;
    let after = world.until_ready(1, 1).await;
    assert_ne!(pids(&after), [stranger.id()]);
    world.want(&[]).await;
    world.until("gone", |observed| replicas(observed).count() == 0).await;
    assert!(stranger.try_wait().unwrap().is_none(), "it was left alone");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[tokio::test]
async fn a_replica_that_was_leaving_is_the_one_that_leaves() {
    let mut world = World::start().await;
    let release = wanted(1, 2).with("IGNORE_SIGTERM", "1");
    world.want(std::slice::from_ref(&release)).await;
    world.until_ready(1, 2).await;
    world.want(&[release.clone().replicas(1)]).await;
    let leaving = world.until("stopping", |o| replicas(o).any(|r| r.state == ReplicaState::Stopping)).await;
    let stays = replicas(&leaving).find(|replica| replica.state == ReplicaState::Ready).unwrap().clone();
    world.until_recorded(2).await;
    world.kill_host();
    world.start_host().await;
    let after = world.until_ready(1, 1).await;
    let ready = replicas(&after).find(|replica| replica.state == ReplicaState::Ready).unwrap();
    assert_eq!(ready.id, stays.id, "the host remembers which one it had told to go");
}

#[tokio::test]
async fn a_socket_from_systemd_stays_open_over_a_crash() {
    let mut world = World::without_host();
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    world.listen = socket.local_addr().unwrap();
    rustix::io::fcntl_setfd(socket.as_fd(), rustix::io::FdFlags::empty()).unwrap();
    world.environment("LISTEN_FDS", Some("1".into()));
    world.environment("LISTEN_FDS_FIRST_FD", Some(socket.as_raw_fd().to_string()));
    world.start_host().await;
    world.want(&[wanted(1, 1)]).await;
    world.until_ready(1, 1).await;
    assert_eq!(world.who().await.0, "r1");
    world.kill_host();
    // Nobody is refused; the request waits for the next host.
    let listen = world.listen;
    let waiting = tokio::spawn(async move { get(listen, "/").await });
    world.start_host().await;
    let (status, _) = tokio::time::timeout(LIVELY, waiting).await.unwrap().unwrap();
    assert_eq!(status, 200);
}

impl World {
    /// Waits until the host has written down which processes it has started; a moment after they are ready at the latest.
    async fn until_recorded(&self, count: usize) {
        while self.files_with("\"start_ticks\"").len() != count {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    fn edit_record(&self, id: &str, edit: impl FnOnce(&mut Value)) {
        let path = self.fleet_dir().join("replicas").join(format!("{id}.json"));
        let mut record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        edit(&mut record);
        fs::write(path, record.to_string()).unwrap();
    }
}
