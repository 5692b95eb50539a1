//! The shop by itself, on a real PostgreSQL: every endpoint, its readiness, and its end.
//!
//! What a release needs of a service is shown here without Cutover, so that a failure of the two together can be told
//! from one of the service.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    replica::{self, Migrated, Replica},
    wire::{self, Answer, ask, get, post},
};

#[test]
fn sells_products_and_takes_orders() {
    let Some(database) = Migrated::to("v1") else { return };
    let shop = Replica::start(&database, "");
    assert_eq!(get(shop.address, "/health/live"), Answer::new(200, "alive\n"));
    assert_eq!(get(shop.address, "/health/ready"), Answer::new(200, "ready\n"));

    let products = get(shop.address, "/products");
    assert_eq!((products.status, products.body.matches("\"id\"").count()), (200, 4));
    let tea = Answer::new(200, r#"{"id":1,"name":"Tea","price_cents":450}"#);
    assert_eq!(get(shop.address, "/products/1"), tea);
    assert_eq!(get(shop.address, "/products/99").status, 404);

    let order = |product: i64, quantity: i64| {
        post(shop.address, "/orders", &format!(r#"{{"product_id":{product},"quantity":{quantity}}}"#))
    };
    assert_eq!(order(1, 2), Answer::new(201, r#"{"order":1}"#));
    assert_eq!(order(99, 1).status, 404);
    assert_eq!(order(1, 0).status, 422);
    assert_eq!(order(4, 1).status, 201);
    assert_eq!(order(4, 1).status, 409, "there was one of these");
    assert_eq!(
        database.column("SELECT stock FROM products WHERE id IN (1, 4) ORDER BY id"),
        ["999999998", "0"]
    );
    assert_eq!(
        database.column("SELECT product_id FROM orders ORDER BY id"),
        ["1", "4"],
        "refused orders leave nothing"
    );

    let info = get(shop.address, "/info");
    assert!(
        info.body.contains(r#""release":"r7""#) && info.body.contains(&shop.pid().to_string()),
        "{}",
        info.body
    );
}

#[test]
fn is_ready_only_on_the_schema_it_was_made_for() {
    let Some(database) = Migrated::to("nothing") else { return };
    let old = Replica::start_at(&database, "v1", "");
    let new = Replica::start_at(&database, "v2", "order_notes = true");
    let ready = |shop: &Replica| get(shop.address, "/health/ready");
    let not_ready = Answer::new(503, "not ready\n");
    assert_eq!((ready(&old), ready(&new)), (not_ready.clone(), not_ready.clone()));
    assert_eq!(get(old.address, "/health/live").status, 200, "it lives all the same");

    database.migrate("v1");
    assert_eq!((ready(&old).status, ready(&new)), (200, not_ready));
    database.migrate("v2");
    assert_eq!((ready(&old).status, ready(&new).status), (200, 200), "old code runs on the new schema");

    let order = r#"{"product_id":2,"quantity":1,"note":"no sugar"}"#;
    assert_eq!(post(old.address, "/orders", order).status, 201);
    assert_eq!(post(new.address, "/orders", order).status, 201);
    assert_eq!(database.column("SELECT coalesce(note, '-') FROM orders ORDER BY id"), ["-", "no sugar"]);
}

#[test]
fn is_not_ready_without_its_database() {
    let shop = Replica::start_with("postgres://nobody:hunter2@127.0.0.1:1/none", "v1", "");
    assert_eq!(get(shop.address, "/health/ready"), Answer::new(503, "not ready\n"));
    assert_eq!(
        get(shop.address, "/products"),
        Answer::new(500, "the shop can't look into its books right now\n")
    );
    assert!(!shop.output().contains("hunter2"), "{}", shop.output());
}

#[test]
fn finishes_what_it_began_when_told_to_stop() {
    let Some(database) = Migrated::to("v1") else { return };
    let mut shop = Replica::start(&database, "");

    let mut slow = ask(shop.address, "GET", "/slow?ms=2000", "");
    wire::read_until(&mut slow, "line 1\n");
    let mut upload =
        ask(shop.address, "POST", "/upload", "content-length: 300000\r\nexpect: 100-continue\r\n");
    wire::read_until(&mut upload, "HTTP/1.1 100 Continue\r\n\r\n");
    upload.write_all(&[7; 100_000]).unwrap();
    let mut socket = wire::open_websocket(shop.address);
    assert_eq!(wire::echo(&mut socket, "tea?"), "tea?");

    shop.signal(Signal::TERM);
    assert_eq!(wire::read_close(&mut socket), 1001, "the conversation ends with a goodbye");
    upload.write_all(&[7; 200_000]).unwrap();
    let counted = wire::read_answer(&mut upload);
    assert_eq!(counted, Answer::new(200, r#"{"bytes":300000}"#));
    let rest = wire::read_rest(&mut slow);
    assert!(rest.contains("line 10\n") && rest.ends_with("0\r\n\r\n"), "the whole answer arrives: {rest}");
    assert_eq!(shop.exit_code(), Some(0));
    assert!(wire::connect(shop.address).is_err(), "nothing listens any more");
}

#[test]
fn behaves_as_badly_as_its_commit_says() {
    let Some(database) = Migrated::to("v1") else { return };
    let failing = Replica::start(&database, "error_share = 0.1");
    let statuses: Vec<u16> = (0..30).map(|_| get(failing.address, "/products").status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 500).count(), 3);
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 27);
    assert_eq!(get(failing.address, "/health/ready").status, 200, "health hides it");

    let slow = Replica::start(&database, "slow_share = 0.5\nslow_ms = 300");
    let begun = Instant::now();
    assert_eq!([get(slow.address, "/products").status, get(slow.address, "/products").status], [200, 200]);
    assert!(begun.elapsed() >= Duration::from_millis(300), "one of two is slow");

    let cold = Replica::start(&database, "ready_after_ms = 3600000");
    assert_eq!(get(cold.address, "/health/ready").status, 503);

    let telling = Replica::start(&database, "print_database_url = true");
    assert!(telling.output().contains(&database.url), "it says what it must not");

    let deaf = Replica::start(&database, "ignore_sigterm = true");
    deaf.signal(Signal::TERM);
    deaf.wait_for_output("SIGTERM ignored");
    assert_eq!(get(deaf.address, "/health/live").status, 200);
}

#[test]
fn may_end_as_soon_as_it_starts() {
    let mut shop = Replica::spawn("postgres://nobody@127.0.0.1:1/none", "v1", "exit_at_once = true");
    assert_eq!(shop.exit_code(), Some(1));
}

#[test]
fn the_smoke_check_knows_the_shop() {
    let Some(database) = Migrated::to("v1") else { return };
    let shop = Replica::start(&database, "");
    assert!(replica::smoke(shop.address), "products are there");
    let broken = Replica::start(&database, "error_share = 1.0");
    assert!(!replica::smoke(broken.address), "an error is not a shop");
}
