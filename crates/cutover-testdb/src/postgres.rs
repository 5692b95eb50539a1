//! PostgreSQL: without durability, as its data dies with the test.

use std::process::Command;

use crate::{
    Missing, TestDatabase, find, must,
    supervise::{self, Supervised},
};

#[derive(Debug)]
pub(crate) struct Server {
    /// Ends in the name of a database that is always there.
    admin_url: String,
    pub(crate) port: Option<u16>,
    _process: Option<Supervised>,
}

pub(crate) fn start() -> Result<Server, Missing> {
    if let Ok(url) = std::env::var("CUTOVER_TEST_POSTGRES_URL") {
        return Ok(Server { admin_url: url, port: None, _process: None });
    }
    let missing = |name: &str| {
        format!("PostgreSQL's `{name}` (Debian: apt-get install postgresql), or CUTOVER_TEST_POSTGRES_URL")
    };
    let initdb = find::postgres_program("initdb").ok_or_else(|| missing("initdb"))?;
    let postgres = find::postgres_program("postgres").ok_or_else(|| missing("postgres"))?;
    find::program("psql").ok_or_else(|| missing("psql"))?;
    let user = find::server_user("postgres");
    let dir = supervise::directory("postgres")?;
    let data = dir.join("data").display().to_string();
    find::give(&dir, user.as_deref());
    let arguments =
        ["-D", &data, "-A", "trust", "-U", "postgres", "-N", "-E", "UTF8", "--locale=C"].map(String::from);
    let line = supervise::as_user(user.as_deref(), &initdb, &arguments);
    must(Command::new(&line[0]).args(&line[1..]).current_dir("/"));
    let port = find::free_port();
    let mut arguments = vec!["-D".to_owned(), data, "-p".to_owned(), port.to_string()];
    for setting in [
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "fsync=off",
        "synchronous_commit=off",
        "full_page_writes=off",
        "max_connections=200",
        "shared_buffers=64MB",
    ] {
        arguments.extend(["-c".to_owned(), setting.to_owned()]);
    }
    let line = supervise::as_user(user.as_deref(), &postgres, &arguments);
    let process = supervise::start(&line, &dir, "INT")?;
    let admin_url = format!("postgres://postgres:postgres@127.0.0.1:{port}/postgres");
    supervise::until_ready(&dir, || psql(&admin_url, "SELECT 1").output().is_ok_and(|o| o.status.success()))?;
    Ok(Server { admin_url, port: Some(port), _process: Some(process) })
}

fn psql(url: &str, sql: &str) -> Command {
    let mut command = Command::new("psql");
    command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", sql]).env("PGCONNECT_TIMEOUT", "5");
    command
}

impl Server {
    pub(crate) fn create(&self, name: &str) -> TestDatabase {
        must(&mut psql(&self.admin_url, &format!("CREATE DATABASE {name}")));
        let url = crate::with_database(&self.admin_url, name);
        TestDatabase { direct_url: url.clone(), url, name: name.to_owned() }
    }
}
