//! `docs/reference/json.md` is what the command prints: every place in a document is in the page with its type, and every
//! place in the page was seen in a document, unless it is one that a good day does not show.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr, reason = "a test file")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use support::World;

/// Places and the kinds of values seen there.
type Shape = BTreeMap<String, BTreeSet<&'static str>>;

/// Objects whose names are the user's.
const NAMED: [&str; 1] = ["seconds"];

/// What takes misfortune to be seen.
const RARE: [&str; 7] = [
    "migrate plan: late[]",
    "migrate status: migrations[].notes[]",
    "migrate plan: held[]",
    "migrate verify: unchecked[]",
    "migrate adopt: unchecked[]",
    "migrate adopt: mendings[].migration",
    "migrate adopt: mendings[].what",
];

fn shape(value: &Value, place: &str, into: &mut Shape) {
    let join = |name: &str| if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") };
    let kind = match value {
        Value::Object(map) => {
            for (name, value) in map {
                shape(value, &join(if NAMED.contains(&place) { "*" } else { name }), into);
            }
            return;
        }
        Value::Array(list) => {
            list.iter().for_each(|value| shape(value, &format!("{place}[]"), into));
            return;
        }
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
    };
    into.entry(place.to_owned()).or_default().insert(kind);
}

/// The page's lists, by the heading above each.
fn page() -> BTreeMap<String, Shape> {
    let page = include_str!("../../../docs/reference/json.md");
    let (mut lists, mut heading, mut inside) = (BTreeMap::new(), String::new(), false);
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            title.clone_into(&mut heading);
        } else if line.starts_with("```") {
            inside = !inside;
        } else if inside {
            let (place, kinds) = line.split_once(": ").unwrap();
            let kinds = kinds.split(" or ").map(|kind| match kind {
                "null" => "null",
                "boolean" => "boolean",
                "number" => "number",
                "string" => "string",
                other => panic!("{other} is no kind of value"),
            });
            lists.entry(heading.clone()).or_insert_with(Shape::new).insert(place.to_owned(), kinds.collect());
        }
    }
    lists
}

#[test]
fn the_page_and_the_documents_agree() {
    let mut world = World::new(|text| text.replace("watch = \"2m\"", "watch = \"0s\""));
    let mut seen: BTreeMap<&str, Shape> = BTreeMap::new();
    let mut see = |list: &'static str, document: &Value| {
        let mut document = document.clone();
        if list == "migrate up" {
            document.as_object_mut().unwrap().remove("status");
        }
        shape(&document, "", seen.entry(list).or_default());
    };
    see("doctor", &world.run(&["doctor", "--json"]).json());
    see("status", &world.run(&["status", "--json"]).json());
    see("error", &world.run(&["release", "nowhere", "--json"]).json());
    see("error", &world.run(&["release", "test", "--resume", "--json"]).json());
    see("migrate plan", &world.run(&["migrate", "plan", "--json"]).json());
    see("migrate up", &world.run(&["migrate", "up", "--json"]).json());
    world.edit("migrations/0001_orders.sql", "create table", "create  table");
    see("migrate verify", &world.run(&["migrate", "verify", "--json"]).json());
    see("migrate adopt", &world.run(&["migrate", "adopt", "--apply", "--json"]).json());
    world.edit("migrations/0001_orders.sql", "create  table", "create table");
    world.write("migrations/0009_gone.sql", "drop table orders;\n");
    see("migrate lint", &world.run(&["migrate", "lint", "--json"]).json());
    std::fs::remove_file(world.repository().join("migrations/0009_gone.sql")).unwrap();
    world.host();
    see("release, rollback", &world.run(&["release", "test", "--json"]).json());
    see("status", &world.run(&["status", "--json"]).json());
    world.write("migrations/0002_note.sql", "alter table ordrs add column note text;\n");
    world.commit("Take notes");
    see("migrate status", &world.run(&["migrate", "status", "--json"]).json());
    see("release, rollback", &world.run(&["release", "test", "--json"]).json());
    std::fs::remove_file(world.repository().join("migrations/0002_note.sql")).unwrap();
    world.edit("cutover.toml", "canary =", "approval = \"anyone\"\ncanary =");
    world.commit("Ask first");
    world.run(&["release", "test", "--no-wait"]).expect(4, &[]);
    see("status", &world.run(&["status", "--json"]).json());
    see("history", &world.run(&["history", "test", "--json"]).json());

    for (list, documented) in page() {
        let seen = seen.get(list.as_str()).unwrap_or_else(|| panic!("{list} was not tried"));
        for (place, kinds) in seen {
            let nothing = kinds.iter().eq(["null"].iter());
            let above = documented.keys().any(|known| known.starts_with(&format!("{place}.")));
            let known = documented.get(place).is_some_and(|documented| kinds.is_subset(documented));
            assert!(known || (nothing && above), "{list}: {place} is {kinds:?}, which the page does not say");
        }
        for place in documented.keys() {
            let rare = RARE.contains(&format!("{list}: {place}").as_str());
            assert!(rare || seen.contains_key(place), "{list}: {place} stands in the page and was not seen");
        }
    }
}
