//! A server does not outlive the process that started it, even one that is killed.

use std::{
    io::{BufRead, BufReader},
    net::TcpStream,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Run as a child of the test below: starts the server, says where it is, and waits to be killed.
#[test]
#[ignore = "the child of a_killed_process_takes_its_servers_along"]
fn child() {
    let database = cutover_testdb::postgres();
    println!("\nurl={}", database.map_or_else(String::new, |database| database.url));
    std::thread::sleep(Duration::from_secs(600));
}

#[test]
fn a_killed_process_takes_its_servers_along() {
    if std::env::var_os("CUTOVER_TEST_POSTGRES_URL").is_some() || cutover_testdb::postgres().is_none() {
        return;
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "child", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let url =
        lines.map(Result::unwrap).find_map(|line| line.strip_prefix("url=").map(str::to_owned)).unwrap();
    let address = url.split('@').nth(1).unwrap().split('/').next().unwrap().to_owned();
    assert!(TcpStream::connect(&address).is_ok());
    child.kill().unwrap();
    child.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(&address).is_ok() {
        assert!(Instant::now() < deadline, "the server at {address} lives on");
        std::thread::sleep(Duration::from_millis(50));
    }
}
