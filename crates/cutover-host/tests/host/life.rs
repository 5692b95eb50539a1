//! A replica's life under one host: start, traffic, drain, end, and the ways it goes wrong.

use std::time::Duration;

use cutover_model::{ReleaseNumber, config::Span, fleet::ReplicaState};

use crate::load::Load;
use crate::world::{SECRET, World, get, pids, replicas, runs, try_get, until_gone, wanted};

#[tokio::test]
async fn replicas_start_and_get_the_traffic_their_release_is_given() {
    let mut world = World::start().await;
    world.want(&[wanted(1, 2)]).await;
    let observed = world.until_ready(1, 2).await;
    let first: Vec<&str> = replicas(&observed).map(|replica| replica.id.as_str()).collect();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let (release, replica, _) = world.who().await;
        assert_eq!(release, "r1");
        assert!(first.contains(&replica.as_str()));
        seen.insert(replica);
    }
    assert_eq!(seen.len(), 2, "both get some");

    // Warm: it runs, is ready, and gets nothing.
    world.want(&[wanted(1, 2), wanted(2, 1).weight(0.0)]).await;
    world.until_ready(2, 1).await;
    for _ in 0..20 {
        assert_eq!(world.who().await.0, "r1");
    }
    // When the answer is there, every new request goes where the state says.
    for round in 0..5 {
        let (to, away) = if round % 2 == 0 { ((1, 0.0), (2, 1.0)) } else { ((1, 1.0), (2, 0.0)) };
        let put = world.want(&[wanted(to.0, 2).weight(to.1), wanted(away.0, 1).weight(away.1)]).await;
        let share = |release| put.release(ReleaseNumber::new(release).unwrap()).unwrap().share;
        assert_eq!((share(1), share(2)), (to.1, away.1));
        for _ in 0..10 {
            assert_eq!(world.who().await.0, if round % 2 == 0 { "r2" } else { "r1" });
        }
    }
    assert_eq!(replicas(&world.observe().await).filter(|replica| replica.restarts > 0).count(), 0);
    let measures = world.client.measures(&world.fleet).await.unwrap();
    assert!(measures.releases[&ReleaseNumber::FIRST].total().requests >= 40);
    let metrics = world.client.metrics().await.unwrap();
    assert!(
        metrics.contains("cutover_host_replicas{fleet=\"shop.test\",release=\"r1\",state=\"ready\"} 2"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_request_in_flight_is_finished_before_its_replica_ends() {
    let mut world = World::start().await;
    world.want(&[wanted(1, 1)]).await;
    let pid = pids(&world.until_ready(1, 1).await)[0];
    let listen = world.listen;
    let slow = tokio::spawn(async move { get(listen, "/slow/1500").await });
    world.until_in_flight(1).await;
    world.want(&[]).await;
    let draining = world.until("draining", |o| replicas(o).any(|r| r.state == ReplicaState::Draining)).await;
    assert_eq!(replicas(&draining).next().unwrap().in_flight, 1);
    assert_eq!(world.get("/").await.0, 503, "it gets nothing new");
    let (status, body) = slow.await.unwrap();
    assert_eq!((status, body.contains(&pid.to_string())), (200, true));
    world.until("gone", |observed| replicas(observed).count() == 0).await;
    until_gone(pid).await;
    while !world.files_with("\"identity\"").is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn requests_that_outlast_the_drain_are_cut() {
    let mut world = World::start().await;
    let mut release = wanted(1, 1);
    release.drain = Duration::from_millis(200);
    world.want(&[release]).await;
    world.until_ready(1, 1).await;
    let listen = world.listen;
    let slow = tokio::spawn(async move { get(listen, "/slow/600000").await });
    world.until_in_flight(1).await;
    world.want(&[]).await;
    assert!(matches!(slow.await.unwrap().0, 502 | 504));
    world.until("gone", |observed| replicas(observed).count() == 0).await;
}

#[tokio::test]
async fn a_warm_replica_that_drains_is_taken_back() {
    let mut world = World::start().await;
    world.want(&[wanted(1, 1)]).await;
    let pid = pids(&world.until_ready(1, 1).await)[0];
    let listen = world.listen;
    let slow = tokio::spawn(async move { get(listen, "/slow/1000").await });
    world.until_in_flight(1).await;
    world.want(&[wanted(1, 0)]).await;
    world.until("draining", |o| replicas(o).any(|r| r.state == ReplicaState::Draining)).await;
    world.want(&[wanted(1, 1)]).await;
    assert_eq!(world.who().await.2, pid, "at once, without a start");
    assert_eq!(slow.await.unwrap().0, 200);
    assert_eq!(world.who().await.2, pid, "also after its old requests are done");
}

#[tokio::test]
async fn ignoring_sigterm_ends_in_sigkill_with_all_that_it_started() {
    let mut world = World::start().await;
    let mut release = wanted(1, 1).with("IGNORE_SIGTERM", "1").with("GRANDCHILD", "1");
    release.stop_within = Duration::from_millis(300);
    world.want(&[release]).await;
    let observed = world.until_ready(1, 1).await;
    let (id, pid) = (replicas(&observed).next().unwrap().id.clone(), pids(&observed)[0]);
    let output = world.until_output(&id, "grandchild ").await;
    let grandchild = output.split("grandchild ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
    assert!(runs(pid) && runs(grandchild));
    world.want(&[]).await;
    world.until("gone", |observed| replicas(observed).count() == 0).await;
    assert!(!runs(pid) && !runs(grandchild), "when it is gone, nothing of it is left");
    let output = world.client.output(&world.fleet, &id, 10_000).await.unwrap();
    assert!(output.contains("got SIGTERM") && output.contains("ended by SIGKILL"), "{output}");
}

#[tokio::test]
async fn a_replica_that_exits_at_once_waits_and_says_why() {
    let mut world = World::start().await;
    world
        .want(&[wanted(1, 1)
            .with("EXIT", "7")
            .with("SAY", "DATABASE_URL")
            .with("DATABASE_URL", "env:HOST_SECRET")])
        .await;
    let observed = world
        .until("restarted twice", |observed| {
            replicas(observed).any(|replica| replica.restarts >= 2 && replica.state == ReplicaState::Waiting)
        })
        .await;
    let replica = replicas(&observed).next().unwrap();
    let reason = replica.reason.as_deref().unwrap();
    assert!(reason.contains("exited with status 7 after"), "{reason}");
    assert!(reason.contains("my secret is [redacted] indeed") && !reason.contains("hunter"), "{reason}");
    assert_eq!(replica.pid, None);
    assert_eq!(world.get("/").await.0, 503);
    // It can be called off at any time.
    world.want(&[]).await;
    world.until("gone", |observed| replicas(observed).count() == 0).await;
}

#[tokio::test]
async fn a_replica_that_is_never_ready_is_told_and_started_again() {
    let mut world = World::start().await;
    let mut release = wanted(1, 1).with("READY_AFTER_MS", "never");
    release.start_within = Span::from_millis(300);
    world.want(&[release]).await;
    let observed = world
        .until("restarted", |o| replicas(o).any(|r| r.restarts >= 1 && r.state == ReplicaState::Waiting))
        .await;
    let reason = replicas(&observed).next().unwrap().reason.clone().unwrap();
    assert!(reason.contains("not ready within 300ms: GET /ready: status 503"), "{reason}");
}

#[tokio::test]
async fn a_replica_whose_port_was_taken_is_started_on_another() {
    let mut world = World::start().await;
    let marker = world.state_dir().join("../port-was-taken");
    world.want(&[wanted(1, 1).with("LOSE_PORT", &marker.display().to_string())]).await;
    let observed = world.until_ready(1, 1).await;
    assert!(marker.exists());
    assert_eq!(replicas(&observed).next().unwrap().restarts, 1);
    assert_eq!(world.who().await.0, "r1");
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_told() {
    let mut world = World::start().await;
    let script = world.state_dir().join("../script");
    std::fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut desired = world.desired(&[wanted(1, 1)]);
    desired.releases[0].run.command = "./script".parse().unwrap();
    world.client.put(&world.fleet, &desired).await.unwrap();
    let observed = world.until("waiting", |o| replicas(o).any(|r| r.state == ReplicaState::Waiting)).await;
    let reason = replicas(&observed).next().unwrap().reason.clone().unwrap();
    assert!(reason.contains("its interpreter"), "{reason}");
}

#[tokio::test]
async fn what_it_was_given_by_reference_appears_nowhere() {
    let mut world = World::start().await;
    let release = wanted(1, 1).with("SAY", "DATABASE_URL").with("DATABASE_URL", "env:HOST_SECRET");
    world.want(&[release]).await;
    let observed = world.until_ready(1, 1).await;
    let id = &replicas(&observed).next().unwrap().id;
    let output = world.until_output(id, " indeed").await;
    assert!(output.contains("my secret is [redacted] indeed"), "{output}");
    for part in [SECRET, "hunter"] {
        assert_eq!(world.files_with(part), Vec::<std::path::PathBuf>::new(), "{part}");
    }
    assert!(!world.files_with("env:HOST_SECRET").is_empty(), "the reference is what is kept");
}

#[tokio::test]
async fn a_crash_costs_a_restart_and_no_other_replica() {
    let mut world = World::start().await;
    world.want(&[wanted(1, 2)]).await;
    let observed = world.until_ready(1, 2).await;
    let before = pids(&observed);
    // Not through the gate, which may repeat the request on the other one.
    let first = ([127, 0, 0, 1], replicas(&observed).next().unwrap().port).into();
    assert!(try_get(first, "/crash").await.is_err());
    let after = world
        .until("restarted", |o| {
            replicas(o).filter(|replica| replica.state == ReplicaState::Ready).count() == 2
                && replicas(o).any(|replica| replica.restarts == 1)
        })
        .await;
    let after = pids(&after);
    assert_ne!(after[0], before[0]);
    assert_eq!(after[1], before[1]);
}

#[tokio::test]
async fn readiness_takes_out_and_brings_back_and_liveness_restarts() {
    let mut world = World::start().await;
    world.want(&[wanted(1, 1)]).await;
    let observed = world.until_ready(1, 1).await;
    let (pid, port) = (pids(&observed)[0], replicas(&observed).next().unwrap().port);
    let replica = ([127, 0, 0, 1], port).into();
    get(replica, "/set/ready/0").await;
    let unready = world.until("unready", |o| replicas(o).any(|r| r.state == ReplicaState::Unready)).await;
    assert_eq!(replicas(&unready).next().unwrap().reason.as_deref(), Some("GET /ready: status 503"));
    assert_eq!(world.get("/").await.0, 503);
    get(replica, "/set/ready/1").await;
    world.until_ready(1, 1).await;
    assert_eq!(world.who().await.2, pid, "the same process");
    get(replica, "/set/live/0").await;
    let restarted = world
        .until("restarted", |o| replicas(o).any(|r| r.restarts == 1 && r.state == ReplicaState::Ready))
        .await;
    assert_ne!(pids(&restarted), [pid]);
}

#[tokio::test]
async fn the_gate_changes_its_ways_and_its_address_without_a_failed_request() {
    let mut world = World::start().await;
    world.want(&[wanted(1, 2)]).await;
    world.until_ready(1, 2).await;
    let load = Load::start(world.listen, 4);
    for limit in 1..4 {
        let mut desired = world.desired(&[wanted(1, 2)]);
        desired.gate.body_limit = limit * 1000;
        desired.gate.routes = vec![format!("/orders/{limit}")];
        world.client.put(&world.fleet, &desired).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let outcome = load.stop().await;
    assert_eq!(outcome.failed, Vec::<String>::new(), "of {} requests", outcome.answered);

    let listen = world.listen;
    let slow = tokio::spawn(async move { get(listen, "/slow/500").await });
    world.until_in_flight(1).await;
    world.listen = crate::world::free_address();
    world.want(&[wanted(1, 2)]).await;
    assert_eq!(world.who().await.0, "r1", "at the new address");
    assert_eq!(slow.await.unwrap().0, 200, "begun at the old one");
    while tokio::net::TcpStream::connect(listen).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn the_environment_is_clean() {
    let mut world = World::start().await;
    world.want(&[wanted(1, 1).with("PLAIN", "text")]).await;
    let pid = pids(&world.until_ready(1, 1).await)[0];
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    let environment = String::from_utf8(environment).unwrap();
    let names: Vec<&str> =
        environment.split('\0').filter_map(|entry| Some(entry.split_once('=')?.0)).collect();
    for name in ["PLAIN", "PORT", "CUTOVER_RELEASE", "CUTOVER_REPLICA", "PATH"] {
        assert!(names.contains(&name), "{name}");
    }
    assert!(
        !names.contains(&"HOST_SECRET") && !names.iter().any(|name| name.starts_with("CARGO")),
        "{names:?}"
    );
    let input = std::fs::read_link(format!("/proc/{pid}/fd/0")).unwrap();
    assert_eq!(input, std::path::Path::new("/dev/null"));
}

impl World {
    async fn until_in_flight(&self, count: u64) {
        while replicas(&self.observe().await).map(|replica| replica.in_flight).sum::<u64>() != count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn until_output(&self, id: &str, text: &str) -> String {
        loop {
            match self.client.output(&self.fleet, id, 100_000).await {
                Ok(output) if output.contains(text) => return output,
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }
}
