//! The shop's history released commit by commit, while customers come all the time: none of them may notice, but for the
//! failures that a bad release itself makes before it is taken back.

use std::io::Write;

use crate::{load::Load, wire, world::World};

#[test]
fn releases_its_history_under_load() {
    let Some(world) = World::begin() else { return };
    release(&world, "v1", 0, "r1");
    let load = Load::begin(world.gate);

    release(&world, "v2", 0, "r2");
    assert_eq!(order_columns(&world), ["id", "product_id", "quantity", "placed_at", "note"]);

    release(&world, "v3", 1, "r2");
    release(&world, "v4", 1, "r2");

    let failed = release(&world, "v5", 1, "r2");
    assert!(failed.contains("20260115090000_order_source") && failed.contains("sources"), "{failed}");
    assert_eq!(order_columns(&world).last().unwrap(), "note", "nothing of the failed migration was kept");

    // Begun on r2, ended while r6 takes over: each has its time, and what never ends by itself has all of the drain's.
    let mut slow = wire::ask(world.gate, "GET", "/slow?ms=4000", "");
    wire::read_until(&mut slow, "line 1\n");
    let mut upload = wire::ask(world.gate, "POST", "/upload", "content-length: 200000\r\n");
    upload.write_all(&[7; 100_000]).unwrap();
    let mut socket = wire::open_websocket(world.gate);
    assert_eq!(wire::echo(&mut socket, "tea?"), "tea?");
    let finishing = std::thread::spawn(move || {
        let slow = wire::read_rest(&mut slow);
        upload.write_all(&[7; 100_000]).unwrap();
        let counted = wire::read_answer(&mut upload);
        // Shorter than the drain, which began later than they did.
        assert_eq!(wire::echo(&mut socket, "still there?"), "still there?");
        (slow, counted, socket)
    });
    release(&world, "v6", 0, "r6");
    let (slow, counted, mut socket) = finishing.join().unwrap();
    assert!(wire::is_over(&mut socket), "r2 is gone, and its connections with it");
    assert!(slow.contains("line 10\n") && slow.ends_with("0\r\n\r\n"), "{slow}");
    assert_eq!((counted.status, counted.body.as_str()), (200, r#"{"bytes":200000}"#));

    release(&world, "v7", 0, "r7");
    let kept = world.files_with(&world.database.url);
    assert!(kept.is_empty(), "the secret stands in {kept:?}");

    let seen = load.end();
    assert_eq!(seen.way, [""; 0], "of {} requests", seen.requests);
    assert!(seen.release > 0, "v3 failed for some customers, or it could not have been found");
    let kept = world.database.column("SELECT count(*) > 0 FROM orders");
    assert_eq!(kept, ["true"]);
    assert_eq!(wire::get(world.gate, "/products/1").status, 200);
}

/// Releases a tag; what the command says about it.
#[track_caller]
fn release(world: &World, tag: &str, code: i32, serving: &str) -> String {
    let said = world.run(&["release", "production", "--ref", tag]);
    assert_eq!(said.code, Some(code), "{tag}: {}", said.text);
    assert!(!said.text.contains(&world.database.url), "{tag} shows the secret: {}", said.text);
    let release = tag.replace('v', "r");
    assert!(said.text.contains(&release), "{tag}: {}", said.text);
    assert_eq!(world.serving(), serving, "{tag}: {}", said.text);
    said.text
}

fn order_columns(world: &World) -> Vec<String> {
    world.database.column(
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'orders' ORDER BY ordinal_position",
    )
}
