//! PgBouncer in transaction mode, in front of the process's own PostgreSQL.

use std::net::TcpStream;

use crate::{
    Missing, TestDatabase, find, postgres,
    supervise::{self, Supervised},
};

#[derive(Debug)]
pub(crate) struct Server {
    port: u16,
    _process: Supervised,
}

/// A pool smaller than the number of clients in tests, so that server sessions really are shared.
const POOL: u32 = 3;

pub(crate) fn start(server: &postgres::Server) -> Result<Server, Missing> {
    let pgbouncer =
        find::program("pgbouncer").ok_or("PgBouncer's `pgbouncer` (Debian: apt-get install pgbouncer)")?;
    let upstream = server.port.ok_or("PgBouncer is only tested in front of a private PostgreSQL")?;
    let user = find::server_user("postgres");
    let dir = supervise::directory("pgbouncer")?;
    let port = find::free_port();
    let settings = format!(
        "[databases]\n* = host=127.0.0.1 port={upstream} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
         listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n\
         default_pool_size = {POOL}\nmax_client_conn = 400\n"
    );
    let file = dir.join("pgbouncer.ini");
    std::fs::write(&file, settings).map_err(|error| error.to_string())?;
    find::give(&dir, user.as_deref());
    let line = supervise::as_user(user.as_deref(), &pgbouncer, &[file.display().to_string()]);
    let process = supervise::start(&line, &dir, "TERM")?;
    supervise::until_ready(&dir, || TcpStream::connect(("127.0.0.1", port)).is_ok())?;
    Ok(Server { port, _process: process })
}

impl Server {
    pub(crate) fn front(&self, database: TestDatabase) -> TestDatabase {
        let url = format!("postgres://postgres:postgres@127.0.0.1:{}/{}", self.port, database.name);
        TestDatabase { url, ..database }
    }
}
