//! Tables change and gates are handed over under load, and no request notices.

use std::{net::TcpListener, time::Duration};

use cutover_gate::{Gate, GateOptions};

use crate::actors::*;

#[tokio::test]
async fn every_request_after_install_sees_the_new_table() {
    let (old, new) = (Replica::named("old").await, Replica::named("new").await);
    let gate = gate(options(), &[("old", old.address)]);
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(Client::connect(gate.local_addr()).await);
    }
    for generation in 2..200 {
        let (name, replica) = if generation % 2 == 0 { ("new", &new) } else { ("old", &old) };
        gate.install(table(generation, vec![pool(generation % 2 + 1, 1.0, &[(name, replica.address)])]))
            .unwrap();
        for client in &mut clients {
            assert_eq!(client.get("/").await.unwrap(), (200, name.into()), "generation {generation}");
        }
    }
}

#[tokio::test]
async fn an_older_table_is_refused_and_the_same_one_is_not() {
    let replica = Replica::named("a").await;
    let gate = gate(options(), &[("a", replica.address)]);
    let five = table(5, vec![pool(1, 1.0, &[("a", replica.address)])]);
    gate.install(five.clone()).unwrap();
    gate.install(five).unwrap();
    for stale in [table(5, Vec::new()), table(4, Vec::new()), table(0, Vec::new())] {
        let generation = stale.generation;
        let refused = gate.install(stale).unwrap_err();
        assert_eq!((refused.offered, refused.installed), (generation, 5));
        assert!(refused.to_string().contains("stays in force"), "{refused}");
    }
    assert_eq!((gate.generation(), get(&gate, "/").await.0), (5, 200));
}

#[tokio::test]
async fn switching_tables_under_load_loses_nothing() {
    let (one, two) = (Replica::named("1").await, Replica::named("2").await);
    let gate = gate(options(), &[("1", one.address)]);
    let load = Load::start(gate.local_addr(), 16, false);
    for generation in 2..100 {
        let weight = generation as f64 % 7.0;
        let pools =
            vec![pool(1, 7.0 - weight, &[("1", one.address)]), pool(2, weight, &[("2", two.address)])];
        gate.install(table(generation, pools)).unwrap();
        load.more(20).await;
    }
    assert_eq!(load.finish().await, Vec::<String>::new());
    let measures = gate.measures();
    assert!(measures.releases[&release(2)].total().requests > 0);
}

#[tokio::test]
async fn shares_hold_between_releases() {
    let (old, new) = (Replica::named("old").await, Replica::named("new").await);
    let gate = gate(GateOptions { workers: 1, ..options() }, &[]);
    let pools = vec![pool(1, 0.9, &[("old", old.address)]), pool(2, 0.1, &[("new", new.address)])];
    gate.install(table(2, pools)).unwrap();
    let mut client = Client::connect(gate.local_addr()).await;
    for _ in 0..1000 {
        client.get("/").await.unwrap();
    }
    let requests = gate.measures().releases[&release(2)].total().requests;
    assert!((98..=102).contains(&requests), "{requests} of 1000");
}

#[tokio::test]
async fn the_least_loaded_replica_is_chosen() {
    let go = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let wait = std::sync::Arc::clone(&go);
    let stuck = Replica::start(move |_| {
        let wait = std::sync::Arc::clone(&wait);
        async move {
            wait.acquire().await.unwrap().forget();
            text("stuck")
        }
    })
    .await;
    let free = Replica::named("free").await;
    let gate = gate(options(), &[("stuck", stuck.address), ("free", free.address)]);
    let requests: Vec<_> = (0..40)
        .map(|_| {
            let gate = gate.clone();
            tokio::spawn(async move { get(&gate, "/").await.1 })
        })
        .collect();
    let answered =
        || gate.measures().releases.get(&release(1)).map_or(0, |all| all.total().requests) as usize;
    until(|| gate.in_flight("stuck") + answered() == 40).await;
    let waiting = gate.in_flight("stuck");
    for _ in 0..20 {
        assert_eq!(get(&gate, "/").await.1, "free");
    }
    assert_eq!(gate.in_flight("stuck"), waiting);
    go.add_permits(100);
    for request in requests {
        soon(request).await.unwrap();
    }
}

fn successor(gate: &Gate, pools: Vec<cutover_gate::Pool>) -> Gate {
    let listener = TcpListener::from(gate.listener().unwrap());
    Gate::start_with(listener, options(), table(1, pools)).unwrap()
}

#[tokio::test]
async fn a_hand_over_under_load_refuses_and_resets_nothing() {
    let replica = Replica::start(|_| async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        text("ok")
    })
    .await;
    let mut gate = gate(options(), &[("a", replica.address)]);
    let kept = Load::start(gate.local_addr(), 8, false);
    let fresh = Load::start(gate.local_addr(), 4, true);
    for _ in 0..5 {
        kept.more(100).await;
        let next = successor(&gate, vec![pool(1, 1.0, &[("a", replica.address)])]);
        soon(gate.shutdown(Duration::from_secs(20))).await;
        assert_eq!(gate.connections(), 0);
        gate = next;
    }
    fresh.more(100).await;
    kept.more(100).await;
    assert_eq!(kept.finish().await, Vec::<String>::new());
    assert_eq!(fresh.finish().await, Vec::<String>::new());
}

#[tokio::test]
async fn shutting_down_serves_what_has_come_and_then_nothing() {
    let replica = Replica::start(|_| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        text("ok")
    })
    .await;
    let gate = gate(
        GateOptions { idle_on_shutdown: Duration::from_millis(100), ..options() },
        &[("a", replica.address)],
    );
    let mut silent = Client::connect(gate.local_addr()).await;
    assert_eq!(silent.get("/").await.unwrap().0, 200);
    let address = gate.local_addr();
    let under_way: Vec<_> = (0..10)
        .map(|_| {
            tokio::spawn(async move { Client::connect(address).await.get("/").await.map(|answer| answer.0) })
        })
        .collect();
    until(|| gate.in_flight("a") == 10).await;
    soon(gate.shutdown(Duration::from_secs(20))).await;
    for request in under_way {
        assert_eq!(soon(request).await.unwrap().unwrap(), 200);
    }
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    assert!(gate.listener().is_err());
    soon(gate.shutdown(Duration::ZERO)).await;
}

#[tokio::test]
async fn what_outlasts_the_grace_is_cut() {
    let replica = Replica::start(|_| std::future::pending()).await;
    let gate = gate(options(), &[("a", replica.address)]);
    let mut client = Client::connect(gate.local_addr()).await;
    let stuck = tokio::spawn(async move { client.get("/").await.map(|answer| answer.0) });
    until(|| gate.in_flight("a") == 1).await;
    soon(gate.shutdown(Duration::from_millis(50))).await;
    assert!(soon(stuck).await.unwrap().is_err());
    assert_eq!((gate.connections(), gate.in_flight("a")), (0, 0));
}
