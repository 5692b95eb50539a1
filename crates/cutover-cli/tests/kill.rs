//! The command that drives a release is killed with SIGKILL right after each of its journal records, with real processes and
//! under load. The next command goes on (or back), nothing is done twice, and no request fails.
//!
//! The simulator does the same for every record and every fault; this shows that the real parts behave as it assumes.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr, reason = "a test file")]

mod support;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};

use support::World;

/// People who use the service all the time, each on a connection of their own for each request.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    people: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    fn begin(port: u16) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let person = |_| {
            let (stop, answered) = (stop.clone(), answered.clone());
            std::thread::spawn(move || {
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) && failures.len() < 10 {
                    match request(port) {
                        Ok(answer) if answer.starts_with("HTTP/1.1 200") => {
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(answer) => failures.push(answer.lines().next().unwrap_or("nothing").to_owned()),
                        Err(error) => failures.push(error.to_string()),
                    }
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                failures
            })
        };
        let people = (0..4).map(person).collect();
        Self { stop, answered, people }
    }

    fn end(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let failures = self.people.into_iter().flat_map(|person| person.join().unwrap()).collect();
        (self.answered.load(Ordering::Relaxed), failures)
    }
}

fn request(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(std::time::Duration::from_secs(30)))?;
    stream.write_all(b"GET /orders/1 HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Runs `cutover release test` and kills it after its n-th record; false where it ended before.
fn killed_after(world: &World, records: usize) -> bool {
    let mut command = world.command_as("ada", &["release", "test", "--json=events"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let seen = lines.take(records).count();
    let still = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    seen == records && still
}

#[test]
fn a_release_killed_after_any_record_goes_on_or_back() {
    let mut world = World::new(|text| text.replace("enough_requests = 100", "enough_requests = 40"));
    world.host();
    world.run(&["release", "test"]).expect(0, &["r1 serves"]);
    let load = Load::begin(world.port);
    let mut serving = 1;
    for (release, records) in (2..).zip(1..) {
        world.write("migrations/0002_note.sql", "alter table orders add column note text;\n");
        world.commit("More");
        if !killed_after(&world, records) {
            assert!(records > 15, "the release ended after {records} records");
            break;
        }
        let open = !world.status()["run"].is_null();
        let aborted = open && records % 3 == 0 && {
            let said = world.run(&["abort", "test"]);
            // Once the release serves alone, there is nothing to abort, and the command says so.
            let late = said.code == 3 && said.err.contains("the release serves already");
            assert!(late || said.expect(0, &[&format!("r{serving} serves")]).code == 0);
            !late
        };
        if open && !aborted {
            world.run(&["release", "test", "--resume"]).expect(0, &[&format!("r{release} serves")]);
        }
        if !aborted {
            serving = release;
        }
        let status = world.status();
        assert_eq!(status["serving"], serving, "after {records} records: {status}");
        assert!(status["run"].is_null(), "after {records} records: {status}");
        assert_eq!(world.pids().len(), 2, "after {records} records: {status}");
        assert_eq!(world.answering(), Some(format!("r{serving}")));
    }
    let (answered, failures) = load.end();
    assert!(answered > 100, "only {answered} requests");
    assert_eq!(failures, Vec::<String>::new(), "of {answered}");
}
