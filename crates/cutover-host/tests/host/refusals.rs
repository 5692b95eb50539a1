//! What a host does not do, and what it says then.

use std::{
    fs,
    io::{Read as _, Write as _},
    process::Stdio,
};

use cutover_model::fleet::{Generation, HostRefusal};
use cutover_targets::host::HostError;

use crate::world::{LIVELY, World, pids, runs, wanted};

#[tokio::test]
async fn a_state_that_is_not_above_the_one_held_is_refused() {
    let mut world = World::start().await;
    let first = world.desired(&[wanted(1, 1)]);
    let second = world.desired(&[wanted(1, 2)]);
    world.client.put(&world.fleet, &second).await.unwrap();
    world.client.put(&world.fleet, &second).await.expect("the same again is fine");
    let mut other = world.desired(&[wanted(1, 3)]);
    other.generation = second.generation;
    let mut old_driver = other.clone();
    old_driver.generation = Generation { fence: 0, write: 99 };
    for refused in [first, other, old_driver] {
        match world.client.put(&world.fleet, &refused).await {
            Err(HostError::Stale { held, refusal }) => {
                assert_eq!(held, second.generation);
                assert!(refusal.help.contains("cutover status"), "{refusal:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(world.observe().await.generation, second.generation);
}

#[tokio::test]
async fn what_cannot_be_honoured_is_named_and_changes_nothing() {
    let mut world = World::start().await;
    world.want(&[wanted(1, 1)]).await;
    let before = world.until_ready(1, 1).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut impossible = world.desired(&[
        wanted(1, 1),
        wanted(2, 1).with("A", "env:NOT_SET_ANYWHERE").with("B", "file:/no/such/file"),
        wanted(3, 1).weight(-1.0),
    ]);
    impossible.listen = taken.local_addr().unwrap();
    impossible.releases[2].run.directory = "/no/such/directory".into();
    let Err(HostError::Unable(refusal)) = world.client.put(&world.fleet, &impossible).await else {
        panic!("it was taken")
    };
    let said = refusal.reasons.join("\n");
    for part in [
        "r2: the variable A refers to env:NOT_SET_ANYWHERE, which is not set where the host runs",
        "r2: the variable B refers to the file /no/such/file, which can't be read",
        "r3: its weight -1 is not a number from 0 on",
        "r3: the directory /no/such/directory does not exist",
        "another process or fleet has it",
    ] {
        assert!(said.contains(part), "{part} in:\n{said}");
    }
    let after = world.observe().await;
    assert_eq!((after.generation, pids(&after)), (before.generation, pids(&before)));

    // A new fleet on that address does not come into being.
    let mut elsewhere = world.desired(&[wanted(1, 1)]);
    elsewhere.listen = taken.local_addr().unwrap();
    let other = "other.test".parse().unwrap();
    assert!(matches!(world.client.put(&other, &elsewhere).await, Err(HostError::Unable(_))));
    assert!(matches!(world.client.observe(&other).await, Err(HostError::Unknown(_))));
    assert_eq!(world.client.status().await.unwrap().fleets, std::slice::from_ref(&world.fleet));
}

#[tokio::test]
async fn going_back_to_warm_replicas_needs_nothing_that_is_gone() {
    let mut world = World::start().await;
    let old = wanted(1, 1).with("DATABASE_URL", "env:HOST_SECRET");
    world.want(&[old.clone().weight(0.0), wanted(2, 1)]).await;
    world.until_ready(1, 1).await;
    world.until_ready(2, 1).await;
    world.kill_host();
    world.environment("HOST_SECRET", None);
    world.start_host().await;
    world.until_ready(1, 1).await;
    world.want(&[old.clone(), wanted(2, 1).weight(0.0)]).await;
    assert_eq!(world.who().await.0, "r1");
    let more = world.try_want(&[old.replicas(2), wanted(2, 1)]).await;
    assert!(matches!(more, Err(HostError::Unable(_))), "but a new one can't be started");
}

#[tokio::test]
async fn a_second_host_and_a_second_fleet_on_one_address_are_refused() {
    let mut world = World::start().await;
    let second = world.command(false).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success());
    assert!(said.contains("another host (process ") && said.contains("--takeover"), "{said}");

    world.want(&[wanted(1, 1)]).await;
    let desired = world.desired(&[wanted(1, 1)]);
    let refused = world.client.put(&"other.test".parse().unwrap(), &desired).await.unwrap_err();
    assert!(refused.to_string().contains("another process or fleet has it"), "{refused}");
}

#[tokio::test]
async fn a_damaged_file_stops_the_start_and_nothing_else() {
    let mut world = World::start().await;
    world.want(&[wanted(1, 1)]).await;
    let pid = pids(&world.until_ready(1, 1).await)[0];
    world.kill_host();
    let path = world.fleet_dir().join("desired.json");
    let content = fs::read(&path).unwrap();
    for cut in [0, 1, content.len() / 2, content.len() - 1] {
        fs::write(&path, &content[..cut]).unwrap();
        let started = world.command(false).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&started.stderr);
        assert!(!started.status.success());
        assert!(said.contains("shop.test/desired.json is damaged"), "{said}");
        assert!(runs(pid), "the replica goes on");
    }
    fs::write(&path, &content).unwrap();
    world.start_host().await;
    assert_eq!(pids(&world.until_ready(1, 1).await), [pid]);
}

#[tokio::test]
async fn a_state_that_cannot_be_written_is_not_acted_upon() {
    let mut world = World::start().await;
    world.want(&[wanted(1, 1)]).await;
    let before = world.until_ready(1, 1).await;
    // As a full disk would: the temporary file can't be written.
    let in_the_way = world.fleet_dir().join("desired.json.new");
    fs::create_dir(&in_the_way).unwrap();
    let refused = world.try_want(&[wanted(2, 1)]).await.unwrap_err();
    assert!(matches!(refused, HostError::Refused { status: 507, .. }), "{refused:?}");
    assert!(refused.to_string().contains("desired.json"), "{refused}");
    let after = world.observe().await;
    assert_eq!((after.generation, pids(&after)), (before.generation, pids(&before)));
    fs::remove_dir(&in_the_way).unwrap();
    world.want(&[wanted(2, 1)]).await;
    world.until_ready(2, 1).await;
}

#[tokio::test]
async fn nonsense_is_answered_with_what_to_send_instead() {
    let world = World::start().await;
    let put = "PUT /v1/fleets/shop.test HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: ";
    for (request, status) in [
        ("GET /v1/nothing HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n".to_owned(), 404),
        ("GET /v1/fleets/shop.test HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n".to_owned(), 404),
        ("GET /v1/fleets/Shop HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n".to_owned(), 400),
        ("POST /v1/handover HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n".to_owned(), 426),
        (format!("{put}2\r\n\r\n{{}}"), 400),
        (format!("{put}99999999\r\n\r\n"), 413),
    ] {
        let socket = world.client.socket().to_owned();
        let said = tokio::task::spawn_blocking(move || {
            let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
            stream.set_read_timeout(Some(LIVELY)).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            String::from_utf8(answer).unwrap()
        });
        let said = said.await.unwrap();
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {said}");
        let body = said.split_once("\r\n\r\n").unwrap().1;
        let refusal: HostRefusal = serde_json::from_str(body).unwrap();
        assert!(!refusal.error.is_empty() && !refusal.help.is_empty(), "{body}");
    }
}

#[tokio::test]
async fn without_a_host_the_client_says_how_to_get_one() {
    let world = World::without_host();
    let error = world.client.status().await.unwrap_err();
    assert!(matches!(error, HostError::Unreachable { .. }));
    assert!(error.to_string().contains("start one with `cutover host`"), "{error}");
}
