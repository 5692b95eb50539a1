//! MariaDB: without durability, as its data dies with the test.

use std::process::Command;

use crate::{
    Missing, TestDatabase, find, must,
    supervise::{self, Supervised},
};

#[derive(Debug)]
pub(crate) struct Server {
    admin_url: String,
    _process: Option<Supervised>,
}

const USER: &str = "cutover";

pub(crate) fn start() -> Result<Server, Missing> {
    if let Ok(url) = std::env::var("CUTOVER_TEST_MYSQL_URL") {
        return Ok(Server { admin_url: url, _process: None });
    }
    let missing = |name: &str| {
        format!("MariaDB's `{name}` (Debian: apt-get install mariadb-server), or CUTOVER_TEST_MYSQL_URL")
    };
    let install = find::program("mariadb-install-db").ok_or_else(|| missing("mariadb-install-db"))?;
    let server = find::program("mariadbd").ok_or_else(|| missing("mariadbd"))?;
    find::program("mariadb").ok_or_else(|| missing("mariadb"))?;
    let user = find::server_user("mysql");
    let dir = supervise::directory("mariadb")?;
    let data = dir.join("data");
    std::fs::create_dir(&data).map_err(|error| error.to_string())?;
    let grant =
        format!("CREATE USER '{USER}'@'%' IDENTIFIED BY '{USER}';\nGRANT ALL ON *.* TO '{USER}'@'%';\n");
    std::fs::write(dir.join("users.sql"), grant).map_err(|error| error.to_string())?;
    find::give(&dir, user.as_deref());
    let data = format!("--datadir={}", data.display());
    let arguments = ["--no-defaults", &data, "--skip-test-db", "--auth-root-authentication-method=normal"];
    let line = supervise::as_user(user.as_deref(), &install, &arguments.map(String::from));
    must(Command::new(&line[0]).args(&line[1..]).current_dir("/"));
    let port = find::free_port();
    let arguments = [
        "--no-defaults".to_owned(),
        data,
        format!("--port={port}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--skip-name-resolve".to_owned(),
        format!("--socket={}", dir.join("socket").display()),
        format!("--pid-file={}", dir.join("pid").display()),
        format!("--init-file={}", dir.join("users.sql").display()),
        "--innodb-flush-log-at-trx-commit=0".to_owned(),
        "--innodb-buffer-pool-size=32M".to_owned(),
        "--max-connections=200".to_owned(),
        "--character-set-server=utf8mb4".to_owned(),
    ];
    let line = supervise::as_user(user.as_deref(), &server, &arguments);
    let process = supervise::start(&line, &dir, "TERM")?;
    let admin_url = format!("mysql://{USER}:{USER}@127.0.0.1:{port}/mysql");
    supervise::until_ready(&dir, || {
        client(&admin_url, "SELECT 1").output().is_ok_and(|o| o.status.success())
    })?;
    Ok(Server { admin_url, _process: Some(process) })
}

/// The client takes no URL; the password goes by the environment.
fn client(url: &str, sql: &str) -> Command {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (user, host) = rest.rsplit_once('@').unwrap_or(("root", rest));
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    let host = host.split('/').next().unwrap_or_default();
    let (host, port) = host.split_once(':').unwrap_or((host, "3306"));
    let mut command = Command::new("mariadb");
    command.args(["--no-defaults", "--protocol=tcp", "-h", host, "-P", port, "-u", user, "-e", sql]);
    command.env("MYSQL_PWD", password);
    command
}

impl Server {
    pub(crate) fn create(&self, name: &str) -> TestDatabase {
        must(&mut client(&self.admin_url, &format!("CREATE DATABASE {name}")));
        let url = crate::with_database(&self.admin_url, name);
        TestDatabase { direct_url: url.clone(), url, name: name.to_owned() }
    }
}
