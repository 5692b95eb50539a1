//! People using a service: requests at a steady rate over kept connections, each one accounted for.
//!
//! A request's time counts from when it was due, not from when it was sent: a stall then hurts all the requests it holds up
//! instead of the first alone. One that gets no answer, or one of the gate's own, is a failure by Cutover; an error
//! that names its release is that release's.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime},
};

/// How long an answer may take before the request counts as failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came of one request.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// From the load's beginning to its end.
    pub(super) ended: Duration,
    /// From when it was due.
    pub(super) took: Duration,
    /// The release that answered; `None`: it failed by Cutover.
    pub(super) release: Option<u32>,
}

/// All that a load has seen.
#[derive(Debug)]
pub(super) struct Seen {
    began: SystemTime,
    answers: Vec<Answer>,
    /// What the failed ones met.
    pub(super) failures: Vec<String>,
}

impl Seen {
    pub(super) fn requests(&self) -> usize {
        self.answers.len()
    }

    /// From the beginning to the last answer.
    pub(super) fn seconds(&self) -> f64 {
        self.answers.iter().map(|answer| answer.ended).max().unwrap_or_default().as_secs_f64()
    }

    /// Requests a second that were really sent.
    pub(super) fn rate(&self) -> f64 {
        self.answers.len() as f64 / self.seconds()
    }

    /// Adds what was seen at another time.
    pub(super) fn join(&mut self, other: Self) {
        self.answers.extend(other.answers);
        self.failures.extend(other.failures);
    }

    /// The 99th percentile of the answers' times, in milliseconds.
    pub(super) fn p99_millis(&self) -> f64 {
        let mut took: Vec<Duration> = self.answers.iter().map(|answer| answer.took).collect();
        took.sort_unstable();
        took.get(took.len() * 99 / 100).map_or(f64::NAN, |took| took.as_secs_f64() * 1000.0)
    }

    /// When a release's last answer was there, in milliseconds since 1970 UTC.
    pub(super) fn last_of(&self, release: u32) -> Option<f64> {
        let own = self.answers.iter().filter(|answer| answer.release == Some(release));
        let since = self.began.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        own.map(|answer| (since + answer.ended).as_secs_f64() * 1000.0).reduce(f64::max)
    }
}

/// Connections that ask until they are told to stop.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    began: (Instant, SystemTime),
    customers: Vec<JoinHandle<(Vec<Answer>, Vec<String>)>>,
}

impl Load {
    /// Begins to send `rate` requests a second.
    pub(super) fn begin(address: SocketAddr, connections: u32, rate: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let began = (Instant::now(), SystemTime::now());
        let every = Duration::from_secs(1) * connections / rate;
        let customers = (0..connections).map(|number| {
            let customer = Customer { address, began: began.0, connection: None };
            let (first, stop) = (every * number / connections, Arc::clone(&stop));
            thread::spawn(move || customer.ask_until(&stop, first, every))
        });
        Self { customers: customers.collect(), stop, began }
    }

    /// Stops, waits for what is in flight, and tells all.
    pub(super) fn end(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let mut seen = Seen { began: self.began.1, answers: Vec::new(), failures: Vec::new() };
        for customer in self.customers {
            match customer.join() {
                Ok((answers, failures)) => {
                    seen.answers.extend(answers);
                    seen.failures.extend(failures);
                }
                Err(_) => seen.failures.push("a customer panicked".into()),
            }
        }
        seen
    }
}

struct Customer {
    address: SocketAddr,
    began: Instant,
    connection: Option<BufReader<TcpStream>>,
}

impl Customer {
    fn ask_until(
        mut self,
        stop: &AtomicBool,
        first: Duration,
        every: Duration,
    ) -> (Vec<Answer>, Vec<String>) {
        let (mut answers, mut failures) = (Vec::new(), Vec::new());
        let mut due = self.began + first;
        while !stop.load(Ordering::Relaxed) {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let answered = self.ask();
            let now = Instant::now();
            let release = answered.map_err(|error| failures.push(error.to_string())).ok();
            answers.push(Answer { ended: now - self.began, took: now - due, release });
            due += every;
        }
        (answers, failures)
    }

    /// The release that answered.
    fn ask(&mut self) -> io::Result<u32> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(self.address)?,
        };
        connection.get_mut().write_all(b"GET /orders HTTP/1.1\r\nhost: bench\r\n\r\n")?;
        let head = AnswerHead::read(&mut connection)?;
        io::copy(&mut (&mut connection).take(head.length), &mut io::sink())?;
        if !head.closes {
            self.connection = Some(connection);
        }
        head.release.ok_or_else(|| io::Error::other(format!("the gate's own status {}", head.status)))
    }
}

pub(super) fn connect(address: SocketAddr) -> io::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(BufReader::with_capacity(1024, stream))
}

/// What matters of an answer's head.
#[derive(Debug, Default)]
pub(super) struct AnswerHead {
    pub(super) status: u16,
    pub(super) length: u64,
    pub(super) release: Option<u32>,
    closes: bool,
}

impl AnswerHead {
    pub(super) fn read(from: &mut impl BufRead) -> io::Result<Self> {
        let (mut head, mut line) = (Self::default(), String::new());
        from.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        head.status = status.ok_or_else(|| io::Error::other(format!("no answer but {line:?}")))?;
        loop {
            line.clear();
            from.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { return Ok(head) };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => head.length = value.parse().map_err(io::Error::other)?,
                "x-release" => head.release = value.trim_start_matches('r').parse().ok(),
                "connection" => head.closes = value.eq_ignore_ascii_case("close"),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_a_release_is_the_gates() {
        let mut bytes: &[u8] = b"HTTP/1.1 200 OK\r\nX-Release: r41\r\nContent-Length: 3\r\n\r\nabc";
        let head = AnswerHead::read(&mut bytes).unwrap();
        assert_eq!((head.status, head.length, head.release, head.closes), (200, 3, Some(41), false));
        let mut bytes: &[u8] = b"HTTP/1.1 503 -\r\nconnection: close\r\n\r\n";
        let head = AnswerHead::read(&mut bytes).unwrap();
        assert_eq!((head.status, head.release, head.closes), (503, None, true));
        assert!(AnswerHead::read(&mut &b""[..]).is_err());
    }

    #[test]
    fn the_last_answer_of_a_release_is_found() {
        let answer = |millis, release| Answer {
            ended: Duration::from_millis(millis),
            took: Duration::from_millis(millis),
            release,
        };
        let answers = vec![answer(1, Some(1)), answer(5, Some(2)), answer(9, Some(1)), answer(11, None)];
        let seen = Seen { began: SystemTime::UNIX_EPOCH, answers, failures: Vec::new() };
        assert_eq!(seen.last_of(1), Some(9.0));
        assert_eq!(seen.last_of(3), None);
        assert_eq!(seen.p99_millis(), 11.0);
    }
}
