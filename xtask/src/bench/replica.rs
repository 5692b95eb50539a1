//! A service that costs next to nothing, so that what is measured is Cutover: `xtask replica`, started by a host.
//!
//! | request | answer |
//! |---|---|
//! | `/health/ready` | 200 once it is as old as its tree's `behaviour` says |
//! | `/slow` | [`PIECES`] pieces, one every [`PIECE`] |
//! | `/upload` | how many bytes came |
//! | an upgrade | every byte back |
//! | else | 200, or 500 as often as its tree's `behaviour` says |
//!
//! All answers name the release. A thread each and blocking calls: there is no event loop to measure by mistake.

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Pieces of a slow answer.
pub(super) const PIECES: u32 = 6;
/// Between two of them.
pub(super) const PIECE: Duration = Duration::from_millis(100);

/// The file in a release's tree that says how this release behaves.
pub(super) const BEHAVIOUR: &str = "behaviour";

/// How a release behaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Behaviour {
    /// It is ready so long after its start.
    pub(super) ready_after_millis: u64,
    /// One request in so many fails; 0: none.
    pub(super) fails_every: u64,
}

impl Behaviour {
    pub(super) fn text(self) -> String {
        format!("{} {}\n", self.ready_after_millis, self.fails_every)
    }

    fn read(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace().map(str::parse);
        let (ready_after_millis, fails_every) = (words.next()?.ok()?, words.next()?.ok()?);
        Some(Self { ready_after_millis, fails_every })
    }
}

struct Replica {
    behaviour: Behaviour,
    release: String,
    ready_at: Instant,
    requests: AtomicU64,
}

/// Serves until it is ended.
///
/// # Errors
/// It was not started by a host, in a tree with a behaviour; or its port is taken.
pub(crate) fn run() -> io::Result<()> {
    let variable = |name: &str| env::var(name).map_err(|error| io::Error::other(format!("{name}: {error}")));
    let behaviour = Behaviour::read(&fs::read_to_string(BEHAVIOUR)?);
    let behaviour = behaviour.ok_or_else(|| io::Error::other("the behaviour can't be read"))?;
    let port = variable("PORT")?.parse().map_err(io::Error::other)?;
    let replica = Arc::new(Replica {
        behaviour,
        release: variable("CUTOVER_RELEASE")?,
        ready_at: Instant::now() + Duration::from_millis(behaviour.ready_after_millis),
        requests: AtomicU64::new(0),
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    for stream in listener.incoming().flatten() {
        let replica = Arc::clone(&replica);
        // Whoever goes away in the middle of a request counts that himself.
        thread::Builder::new().stack_size(128 * 1024).spawn(move || replica.serve(stream).ok())?;
    }
    Ok(())
}

/// What matters of a request's head.
#[derive(Debug, Default)]
struct Head {
    path: String,
    length: u64,
    chunked: bool,
    upgrade: bool,
}

impl Head {
    /// `None` where the connection ended instead.
    fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let (mut head, mut line) = (Self::default(), String::new());
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        head.path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        loop {
            line.clear();
            from.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { return Ok(Some(head)) };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => head.length = value.parse().map_err(io::Error::other)?,
                "transfer-encoding" => head.chunked = true,
                "upgrade" => head.upgrade = true,
                _ => {}
            }
        }
    }
}

impl Replica {
    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut writer = stream.try_clone()?;
        let mut reader = BufReader::with_capacity(4096, stream);
        while let Some(head) = Head::read(&mut reader)? {
            if head.upgrade {
                return self.echo(reader, writer);
            }
            let came = if head.chunked {
                discard_chunks(&mut reader)?
            } else {
                io::copy(&mut (&mut reader).take(head.length), &mut io::sink())?
            };
            match head.path.as_str() {
                "/health/ready" if Instant::now() < self.ready_at => self.answer(&mut writer, 503, "")?,
                "/health/ready" | "/health/live" => self.answer(&mut writer, 200, "")?,
                "/slow" => self.trickle(&mut writer)?,
                "/upload" => self.answer(&mut writer, 200, &came.to_string())?,
                _ => {
                    let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
                    let fails = self.behaviour.fails_every;
                    let fails = fails > 0 && number.is_multiple_of(fails);
                    self.answer(&mut writer, if fails { 500 } else { 200 }, "Hello, world\n")?;
                }
            }
        }
        Ok(())
    }

    fn answer(&self, to: &mut TcpStream, status: u16, body: &str) -> io::Result<()> {
        let (release, length) = (&self.release, body.len());
        let answer =
            format!("HTTP/1.1 {status} -\r\nx-release: {release}\r\ncontent-length: {length}\r\n\r\n{body}");
        to.write_all(answer.as_bytes())
    }

    fn trickle(&self, to: &mut TcpStream) -> io::Result<()> {
        let release = &self.release;
        write!(to, "HTTP/1.1 200 -\r\nx-release: {release}\r\ncontent-length: {PIECES}\r\n\r\n")?;
        for _ in 0..PIECES {
            thread::sleep(PIECE);
            to.write_all(b".")?;
        }
        Ok(())
    }

    fn echo(&self, mut from: BufReader<TcpStream>, mut to: TcpStream) -> io::Result<()> {
        let release = &self.release;
        write!(
            to,
            "HTTP/1.1 101 -\r\nx-release: {release}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
        )?;
        loop {
            let bytes = from.fill_buf()?;
            let length = bytes.len();
            if length == 0 {
                return Ok(());
            }
            to.write_all(bytes)?;
            from.consume(length);
        }
    }
}

/// Reads a chunked body; how long it was.
fn discard_chunks(from: &mut impl BufRead) -> io::Result<u64> {
    let (mut all, mut line) = (0, String::new());
    loop {
        line.clear();
        from.read_line(&mut line)?;
        let length = u64::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
        all += io::copy(&mut from.take(length), &mut io::sink())?;
        line.clear();
        from.read_line(&mut line)?;
        if length == 0 {
            return Ok(all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_behaviour_is_read_as_it_was_written() {
        let behaviour = Behaviour { ready_after_millis: 500, fails_every: 7 };
        assert_eq!(Behaviour::read(&behaviour.text()), Some(behaviour));
        assert_eq!(Behaviour::read("500"), None);
    }

    #[test]
    fn a_request_ends_where_its_body_does() {
        let mut bytes: &[u8] = b"POST /upload HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n";
        let head = Head::read(&mut bytes).unwrap().unwrap();
        assert_eq!((head.path.as_str(), head.chunked), ("/upload", true));
        assert_eq!(discard_chunks(&mut bytes).unwrap(), 3);
        assert_eq!(Head::read(&mut bytes).unwrap().unwrap().path, "/");
        assert!(Head::read(&mut bytes).unwrap().is_none());
    }
}
