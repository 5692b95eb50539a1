//! What the journal holds: records, the lease, and the ways in which it can fail. The fake [`Journal`] port talks to this.
//!
//! [`Journal`]: cutover_conductor::ports::Journal

use std::time::Duration;

use cutover_conductor::ports::JournalError;
use cutover_model::{
    ReleaseNumber, RunNumber,
    run::{Event, Plan, Record, Run, Seq},
};

use super::World;
use crate::{
    fact::{Fact, Pid},
    sabotage::Sabotage,
};

/// What goes wrong at one record (counted from 0, over all runs).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultAt {
    /// The driver is killed when the record is about to be stored, which it then is not.
    Before(usize),
    /// The driver is killed when the record has just been stored.
    After(usize),
    /// The disk is full: the record is not stored, and its writer is told so.
    Full(usize),
    /// The record is stored, and its writer is told that it could not be.
    Unanswered(usize),
}

impl std::fmt::Display for FaultAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Before(record) => write!(f, "before:{record}"),
            Self::After(record) => write!(f, "after:{record}"),
            Self::Full(record) => write!(f, "full:{record}"),
            Self::Unanswered(record) => write!(f, "unanswered:{record}"),
        }
    }
}

impl std::str::FromStr for FaultAt {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is not a place to kill at: write before:7, after:7, full:7 or unanswered:7");
        let (when, record) = text.split_once(':').ok_or_else(wrong)?;
        let record = record.parse().map_err(|_| wrong())?;
        match when {
            "before" => Ok(Self::Before(record)),
            "after" => Ok(Self::After(record)),
            "full" => Ok(Self::Full(record)),
            "unanswered" => Ok(Self::Unanswered(record)),
            _ => Err(wrong()),
        }
    }
}

/// The stored records and who may add to them.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) records: Vec<Record>,
    /// Each run as its records tell it.
    pub(crate) runs: Vec<Run>,
    pub(crate) fence: u64,
    pub(crate) holder: Option<Pid>,
    pub(crate) full: bool,
    pub(crate) unusable: bool,
    /// The next record is stored, and its writer is told that it was not.
    pub(crate) lose_next_answer: bool,
    pub(crate) faults: Vec<FaultAt>,
    /// Asks to append that could have stored something.
    asked: usize,
}

/// Who wants to append.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Writer {
    pub(crate) pid: Pid,
    pub(crate) fence: Option<u64>,
    /// When the writer sent it.
    pub(crate) sent: Duration,
}

const PLACE: &str = "journal.db";

fn unusable() -> JournalError {
    JournalError::Unusable { place: PLACE.into(), source: "the disk answered with an error".into() }
}

fn full() -> JournalError {
    JournalError::Full { place: PLACE.into() }
}

impl Store {
    pub(crate) fn open_run(&self) -> Option<&Run> {
        self.runs.last().filter(|run| run.state.ended.is_none())
    }

    /// The plan by which a release was made.
    pub(crate) fn plan_of(&self, release: ReleaseNumber) -> Option<&Plan> {
        self.runs.iter().map(|run| &run.plan).find(|plan| plan.release == release)
    }

    /// The release that serves when no run is open.
    pub(crate) fn serving(&self) -> Option<ReleaseNumber> {
        let done = |run: &&Run| run.state.ended == Some(cutover_model::run::Outcome::Done);
        self.runs.iter().rfind(done).map(|run| run.plan.release)
    }

    /// Has a driver killed at one of the next records.
    pub(crate) fn crash_within(&mut self, records: usize, before: bool) {
        let at = self.asked + records;
        self.faults.push(if before { FaultAt::Before(at) } else { FaultAt::After(at) });
    }

    pub(crate) fn events(&self, run: RunNumber, after: Seq) -> Vec<Record> {
        self.records.iter().filter(|record| record.run == run && record.seq > after).cloned().collect()
    }
}

impl World {
    pub(crate) fn take_lease(&mut self, pid: Pid) -> Result<u64, JournalError> {
        self.usable()?;
        if !self.alive(pid) {
            return Err(unusable()); // It has gone since it asked; nothing is given to nobody.
        }
        if let Some(holder) = self.store.holder {
            let environment = "production".parse().expect("a plain name");
            return Err(JournalError::Busy { environment, holder: holder.to_string() });
        }
        self.store.holder = Some(pid);
        self.store.fence += 1;
        let fence = self.store.fence;
        if let Some(process) = self.processes.get_mut(&pid) {
            process.fence = Some(fence);
        }
        self.tell(Fact::Leased { pid, fence });
        Ok(fence)
    }

    pub(crate) fn release_lease(&mut self, pid: Pid) {
        if self.store.holder == Some(pid) {
            self.store.holder = None;
        }
    }

    /// The lease runs out under a driver that lives on and knows nothing of it.
    pub(crate) fn expire_lease(&mut self) {
        if let Some(pid) = self.store.holder.take() {
            self.tell(Fact::LeaseLost { pid });
        }
    }

    pub(crate) fn usable(&self) -> Result<(), JournalError> {
        if self.store.unusable { Err(unusable()) } else { Ok(()) }
    }

    pub(crate) fn begin_run(
        &mut self,
        writer: Writer,
        at_ms: i64,
        plan: &Plan,
    ) -> Result<Record, JournalError> {
        self.fenced(writer, plan)?;
        if self.store.open_run().is_some() {
            return Err(JournalError::Behind);
        }
        let run = RunNumber(self.store.runs.last().map_or(0, |run| run.number.0) + 1);
        let event = Event::Planned { plan: Box::new(plan.clone()) };
        self.append_record(writer, run, plan, at_ms, event)
    }

    pub(crate) fn append(
        &mut self,
        writer: Writer,
        run: RunNumber,
        after: Seq,
        at_ms: i64,
        event: &Event,
    ) -> Result<Record, JournalError> {
        self.usable()?;
        let Some(now) = self.store.runs.iter().find(|known| known.number == run).cloned() else {
            return Err(JournalError::Corrupt {
                place: PLACE.into(),
                seq: after.0,
                what: "no such run".into(),
            });
        };
        self.fenced(writer, &now.plan)?;
        if now.last != after {
            return Err(JournalError::Behind);
        }
        now.follow(event)?;
        self.append_record(writer, run, &now.plan, at_ms, event.clone())
    }

    fn fenced(&self, writer: Writer, plan: &Plan) -> Result<(), JournalError> {
        let ignores = self.is_sabotaged(Sabotage::JournalIgnoresFences);
        match writer.fence {
            Some(fence) if fence < self.store.fence && !ignores => {
                Err(JournalError::Fenced(plan.settings.environment.clone()))
            }
            _ => Ok(()),
        }
    }

    fn append_record(
        &mut self,
        writer: Writer,
        run: RunNumber,
        plan: &Plan,
        at_ms: i64,
        event: Event,
    ) -> Result<Record, JournalError> {
        if self.store.full {
            return Err(full());
        }
        self.usable()?;
        let at = self.store.asked;
        self.store.asked += 1;
        let fault = |world: &Self, fault| world.store.faults.contains(&fault);
        if fault(self, FaultAt::Full(at)) {
            return Err(full());
        }
        if fault(self, FaultAt::Before(at)) {
            self.kill_driver(writer.pid);
            return Err(unusable());
        }
        let seq = Seq(self.store.records.last().map_or(0, |record| record.seq.0) + 1);
        let record = Record { seq, environment: plan.settings.environment.clone(), run, at_ms, event };
        let intent = matches!(record.event, Event::Intended { .. });
        if !(intent && self.is_sabotaged(Sabotage::JournalAcknowledgesWithoutStoring)) {
            self.keep(writer, &record);
        }
        if fault(self, FaultAt::After(at)) {
            self.kill_driver(writer.pid);
        }
        if std::mem::take(&mut self.store.lose_next_answer) || fault(self, FaultAt::Unanswered(at)) {
            return Err(unusable());
        }
        Ok(record)
    }

    fn keep(&mut self, writer: Writer, record: &Record) {
        let text = serde_json::to_string(&record.event).expect("an event is plain data");
        let read: Event = serde_json::from_str(&text).expect("what was written can be read");
        assert_eq!(read, record.event, "an event changed on its way through the journal's form");
        self.store.records.push(record.clone());
        let followed = match self.store.runs.iter_mut().find(|run| run.number == record.run) {
            Some(run) => run.apply(record),
            None => Run::begin(record).map(|run| self.store.runs.push(run)),
        };
        if let Err(why) = followed {
            self.violate(crate::rules::JOURNAL, format!("a record that can't follow was stored: {why}"));
        }
        let (by, fenced) = (writer.pid, writer.fence.is_some());
        self.tell(Fact::Recorded { by, fenced, sent: writer.sent, record: Box::new(record.clone()), text });
    }

    /// Kills the writer, or, where an operator writes, the driver of the day.
    fn kill_driver(&mut self, writer: Pid) {
        let is_driver = self.processes.get(&writer).is_some_and(|process| process.fence.is_some());
        let driver = if is_driver { Some(writer) } else { self.drivers().last().copied() };
        if let Some(driver) = driver {
            self.kill(driver);
        }
    }
}
