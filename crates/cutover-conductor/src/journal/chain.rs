//! What makes a change to the journal visible: every event's link is a digest of the link before it and of the event
//! itself, so an event that was changed, moved, added or removed breaks the chain there.

use cutover_model::run::{Record, Seq};
use sha2::{Digest, Sha256};
use sqlx::{Row as _, sqlite::SqliteRow};

use super::fault::Fault;

/// One link of the chain.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Link(pub(super) [u8; 32]);

impl Link {
    /// What the first event follows.
    pub(super) const START: Self = Self([0; 32]);

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(super) fn hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn from_hex(hex: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if hex.len() != 64 || !hex.is_ascii() {
            return None;
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }
}

/// The newest event: how far the journal goes. `seq` 0 where it is empty.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Tip {
    pub(super) seq: u64,
    pub(super) link: Link,
}

impl Tip {
    pub(super) const EMPTY: Self = Self { seq: 0, link: Link::START };
}

/// An event as it is stored.
pub(super) struct Row {
    pub(super) seq: u64,
    pub(super) environment: String,
    pub(super) run: u64,
    pub(super) at_ms: i64,
    pub(super) fence: Option<u64>,
    pub(super) kind: String,
    pub(super) payload: String,
    pub(super) link: Link,
}

/// The columns that [`Row::read`] expects, in its order.
macro_rules! columns {
    () => {
        "seq, environment, run, at_ms, fence, kind, payload, chain"
    };
}
pub(super) use columns;

impl Row {
    /// Reads what may be anything: a damaged file yields values of the wrong type, length or encoding.
    pub(super) fn read(row: &SqliteRow) -> Result<Self, Fault> {
        let seq = number(row, 0)?;
        let odd = |what: &str| Fault::damaged(seq, format!("its {what} can't be read"));
        let text = |at: usize, what: &str| {
            let bytes: Vec<u8> = row.try_get_unchecked(at).map_err(|_| odd(what))?;
            String::from_utf8(bytes).map_err(|_| odd(what))
        };
        let link: Vec<u8> = row.try_get_unchecked(7).map_err(|_| odd("link"))?;
        let fence: Option<i64> = row.try_get_unchecked(4).map_err(|_| odd("fence"))?;
        Ok(Self {
            seq,
            environment: text(1, "environment")?,
            run: number(row, 2)?,
            at_ms: row.try_get_unchecked(3).map_err(|_| odd("time"))?,
            fence: fence.map(i64::cast_unsigned),
            kind: text(5, "kind")?,
            payload: text(6, "payload")?,
            link: Link::from_bytes(&link).ok_or_else(|| odd("link"))?,
        })
    }

    /// The link this event must have after `before`. Every field is length-prefixed or of fixed length, so that no two
    /// different events have the same bytes.
    pub(super) fn link_after(&self, before: Link) -> Link {
        let mut hash = Sha256::new();
        hash.update(before.0);
        hash.update(self.seq.to_be_bytes());
        hash.update(self.run.to_be_bytes());
        hash.update(self.at_ms.to_be_bytes());
        hash.update([u8::from(self.fence.is_some())]);
        hash.update(self.fence.unwrap_or(0).to_be_bytes());
        for text in [&self.environment, &self.kind, &self.payload] {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        Link(hash.finalize().into())
    }

    /// The tip once this event is the newest, if it is what must follow `before`.
    pub(super) fn follows(&self, before: Tip) -> Result<Tip, Fault> {
        let expected = before.seq + 1;
        if self.seq != expected {
            return Err(Fault::damaged(expected, format!("it is missing; event {} comes next", self.seq)));
        }
        if self.link != self.link_after(before.link) {
            return Err(Fault::damaged(self.seq, "it or the one before it is not what was written".into()));
        }
        Ok(Tip { seq: self.seq, link: self.link })
    }

    pub(super) fn belongs_to(&self, environment: &str, run: u64) -> bool {
        self.environment == environment && self.run == run
    }

    pub(super) fn record(&self) -> Result<Record, Fault> {
        let odd = |what: String| Fault::damaged(self.seq, what);
        Ok(Record {
            seq: Seq(self.seq),
            environment: self.environment.parse().map_err(|error| odd(format!("{error}")))?,
            run: cutover_model::RunNumber(self.run),
            at_ms: self.at_ms,
            event: serde_json::from_str(&self.payload)
                .map_err(|error| odd(format!("this version can't read it: {error}")))?,
        })
    }
}

/// A number that is never negative: what looks so is damage, found by the chain once it is compared.
fn number(row: &SqliteRow, at: usize) -> Result<u64, Fault> {
    row.try_get_unchecked::<i64, _>(at).map(i64::cast_unsigned).map_err(Fault::Sql)
}
