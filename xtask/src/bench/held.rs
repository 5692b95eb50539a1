//! What takes its time: slow answers, slow uploads and upgraded connections, one after the other, so that every drain meets
//! some. All but one end within the declared grace and must not be cut. The last one, an upgraded connection that never
//! ends by itself, is cut, and notes when.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};

use super::{
    load::{AnswerHead, connect},
    replica::{PIECE, PIECES},
};

/// What came of all of them.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Those that ended by themselves and whole.
    pub(super) whole: usize,
    /// What the others met.
    pub(super) failures: Vec<String>,
    /// When the endless connections were cut.
    pub(super) cuts: Vec<SystemTime>,
}

type One = fn(SocketAddr) -> io::Result<()>;

/// All kinds, until they are told to stop.
pub(super) struct Held {
    stop: Arc<AtomicBool>,
    kinds: Vec<JoinHandle<Outcome>>,
}

impl Held {
    pub(super) fn begin(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ending: [(&str, One); 3] = [("answer", slow), ("upload", upload), ("upgrade", conversation)];
        let ending = ending.map(|(name, one)| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                let mut outcome = Outcome::default();
                while !stop.load(Ordering::Relaxed) {
                    match one(address) {
                        Ok(()) => outcome.whole += 1,
                        Err(error) => outcome.failures.push(format!("slow {name}: {error}")),
                    }
                }
                outcome
            })
        });
        let endless = thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let mut outcome = Outcome::default();
                while !stop.load(Ordering::Relaxed) {
                    match endless(address, &stop) {
                        Ok(Some(cut)) => outcome.cuts.push(cut),
                        Ok(None) => {}
                        Err(error) => outcome.failures.push(format!("endless upgrade: {error}")),
                    }
                }
                outcome
            }
        });
        Self { kinds: ending.into_iter().chain([endless]).collect(), stop }
    }

    /// Stops, and waits for those that have begun.
    pub(super) fn end(self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Outcome::default();
        for kind in self.kinds {
            let outcome = kind.join().unwrap_or_else(|_| Outcome {
                failures: vec!["a thread panicked".into()],
                ..Outcome::default()
            });
            all.whole += outcome.whole;
            all.failures.extend(outcome.failures);
            all.cuts.extend(outcome.cuts);
        }
        all
    }
}

fn wrong(what: impl Into<String>) -> io::Error {
    io::Error::other(what.into())
}

fn slow(address: SocketAddr) -> io::Result<()> {
    let mut connection = connect(address)?;
    connection.get_mut().write_all(b"GET /slow HTTP/1.1\r\nhost: bench\r\n\r\n")?;
    let head = AnswerHead::read(&mut connection)?;
    let mut body = vec![0; usize::try_from(head.length).unwrap_or(0)];
    connection.read_exact(&mut body)?;
    if head.status == 200 && body.len() == PIECES as usize { Ok(()) } else { Err(wrong(format!("{head:?}"))) }
}

fn upload(address: SocketAddr) -> io::Result<()> {
    let piece = [7; 1000];
    let length = piece.len() * PIECES as usize;
    let mut connection = connect(address)?;
    write!(connection.get_mut(), "POST /upload HTTP/1.1\r\nhost: bench\r\ncontent-length: {length}\r\n\r\n")?;
    for _ in 0..PIECES {
        thread::sleep(PIECE);
        connection.get_mut().write_all(&piece)?;
    }
    let head = AnswerHead::read(&mut connection)?;
    let mut body = vec![0; usize::try_from(head.length).unwrap_or(0)];
    connection.read_exact(&mut body)?;
    let whole = head.status == 200 && body == length.to_string().into_bytes();
    if whole { Ok(()) } else { Err(wrong(format!("{head:?}"))) }
}

const UPGRADE: &[u8] = b"GET /socket HTTP/1.1\r\nhost: bench\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// An upgraded connection that says something now and then, and ends in time.
fn conversation(address: SocketAddr) -> io::Result<()> {
    let mut connection = connect(address)?;
    connection.get_mut().write_all(UPGRADE)?;
    let head = AnswerHead::read(&mut connection)?;
    if head.status != 101 {
        return Err(wrong(format!("{head:?}")));
    }
    for number in 0..PIECES {
        thread::sleep(PIECE);
        let said = number.to_be_bytes();
        connection.get_mut().write_all(&said)?;
        let mut heard = [0; 4];
        connection.read_exact(&mut heard)?;
        if heard != said {
            return Err(wrong("other bytes came back"));
        }
    }
    Ok(())
}

/// An upgraded connection that goes on until it is cut; when that was, or `None` where it was told to stop.
fn endless(address: SocketAddr, stop: &AtomicBool) -> io::Result<Option<SystemTime>> {
    let mut connection = connect(address)?;
    connection.get_mut().write_all(UPGRADE)?;
    let head = AnswerHead::read(&mut connection)?;
    if head.status != 101 {
        return Err(wrong(format!("{head:?}")));
    }
    while !stop.load(Ordering::Relaxed) {
        let mut heard = [0; 4];
        let said = connection.get_mut().write_all(b"tea?");
        if said.and_then(|()| connection.read_exact(&mut heard)).is_err() {
            return Ok(Some(SystemTime::now()));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(None)
}
