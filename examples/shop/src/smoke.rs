//! The smoke check: one real request through the gate, made with nothing but the standard library.

use std::{
    env,
    error::Error,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use crate::log::say;

/// Gets the products from the service at `CUTOVER_URL`.
pub(crate) fn products() -> Result<(), Box<dyn Error>> {
    let url = env::var("CUTOVER_URL").map_err(|_| "CUTOVER_URL is not set")?;
    let address = url.strip_prefix("http://").ok_or("CUTOVER_URL is not an http:// address")?;
    let address = address.trim_end_matches('/');
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET /products HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(64 * 1024).read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"Tea\"") {
        say("the shop sells tea");
        return Ok(());
    }
    Err(format!("unexpected answer: {}", answer.lines().next().unwrap_or("nothing")).into())
}
