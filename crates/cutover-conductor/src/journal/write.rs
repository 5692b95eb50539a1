//! Writing: one transaction that looks, admits or refuses, inserts and commits.

use std::collections::{HashMap, hash_map::Entry};

use cutover_model::{
    EnvironmentName, RunNumber,
    run::{Event, Plan, Record, Run, Seq},
};
use sqlx::{Connection as _, Sqlite, SqliteConnection, Transaction};

use super::{
    Opened, SqliteJournal,
    chain::{Link, Row, Tip},
    fault::Fault,
    lease, store,
    store::Access,
};
use crate::ports::{JournalError, Lease};

/// An open transaction, and the runs as far as they were read.
pub(super) struct Writer<'a> {
    transaction: Transaction<'a, Sqlite>,
    tip: Tip,
    folded: &'a mut HashMap<EnvironmentName, Run>,
}

impl SqliteJournal {
    /// Runs `write` in a transaction that only this call is in, and commits it. A failure rolls all of it back.
    pub(super) async fn writing<T>(
        &self,
        write: impl AsyncFnOnce(&mut Writer<'_>) -> Result<T, Fault>,
    ) -> Result<T, JournalError> {
        let mut opened = self.open.lock().await;
        match self.transact(&mut opened, write).await {
            Ok(value) => Ok(value),
            Err(Fault::Answer(answer)) => Err(answer),
            Err(fault) => {
                opened.folded.clear();
                Err(self.failed(fault).await)
            }
        }
    }

    async fn transact<T>(
        &self,
        opened: &mut Opened,
        write: impl AsyncFnOnce(&mut Writer<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        if self.access == Access::Read {
            return Err(Fault::Unusable("it was opened to be read only".into()));
        }
        let witnessed = self.place.witnessed()?;
        let store = self.store(opened, witnessed).await?;
        let mut store = store.ok_or_else(|| Fault::Unusable("it is not there".into()))?;
        // Held until the commit is done, so that mending can't take the file away in between.
        let in_use = self.place.use_lock()?;
        in_use.try_lock_shared().map_err(|_| Fault::Unusable("it is being mended; try again".into()))?;
        if self.place.inode()? != Some(store.inode) {
            return Err(Fault::Unusable("its file was replaced just now; try again".into()));
        }
        let written = commit(&mut store.connection, witnessed, &mut opened.folded, write).await;
        if matches!(written, Ok(_) | Err(Fault::Answer(_))) {
            opened.store = Some(store);
        }
        let (value, tip) = written?;
        // It only ever helps to notice a loss later; the event itself is safe.
        self.place.witness(tip).ok();
        Ok(value)
    }
}

/// One transaction: commits what `write` did, or rolls it back.
async fn commit<T>(
    connection: &mut SqliteConnection,
    witnessed: Option<Tip>,
    folded: &mut HashMap<EnvironmentName, Run>,
    write: impl AsyncFnOnce(&mut Writer<'_>) -> Result<T, Fault>,
) -> Result<(T, Tip), Fault> {
    let transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let mut writer = Writer { transaction, tip: Tip::EMPTY, folded };
    writer.tip = store::tip(&mut writer.transaction, witnessed).await?;
    let outcome = write(&mut writer).await;
    let Writer { transaction, tip, .. } = writer;
    match outcome {
        Ok(value) => {
            transaction.commit().await?;
            Ok((value, tip))
        }
        Err(Fault::Answer(answer)) => {
            transaction.rollback().await?;
            Err(Fault::Answer(answer))
        }
        // Left to SQLite, which may have rolled it back already; the connection is not used again.
        Err(fault) => Err(fault),
    }
}

impl Writer<'_> {
    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.transaction
    }

    pub(super) async fn begin(
        &mut self,
        lease: &dyn Lease,
        at_ms: i64,
        plan: &Plan,
    ) -> Result<Record, Fault> {
        let environment = plan.settings.environment.clone();
        lease::check(&mut self.transaction, &environment, lease).await?;
        let query = sqlx::query_scalar("SELECT max(run) FROM events WHERE environment = ?");
        let newest: Option<i64> = query.bind(environment.as_str()).fetch_one(&mut *self.transaction).await?;
        let newest = newest.map_or(0, i64::cast_unsigned);
        if newest > 0 && self.fold(&environment, newest).await?.is_some_and(|run| run.state.ended.is_none()) {
            return Err(JournalError::Behind.into());
        }
        let event = Event::Planned { plan: Box::new(plan.clone()) };
        let place = (environment, RunNumber(newest + 1));
        let record = self.insert(place, Some(lease.fence()), at_ms, &event).await?;
        // Folded when it is next written to, once this is committed.
        self.folded.remove(&record.environment);
        Ok(record)
    }

    pub(super) async fn append(
        &mut self,
        lease: Option<&dyn Lease>,
        number: RunNumber,
        environment: &EnvironmentName,
        after: Seq,
        at_ms: i64,
        event: &Event,
    ) -> Result<Record, Fault> {
        match lease {
            Some(lease) => lease::check(&mut self.transaction, environment, lease).await?,
            None => assert!(
                matches!(event, Event::Approved { .. } | Event::AbortRequested { .. }),
                "only an operator's word needs no lease"
            ),
        }
        let run = self.fold(environment, number.0).await?.ok_or(JournalError::Behind)?;
        if run.last != after {
            return Err(JournalError::Behind.into());
        }
        run.follow(event)?;
        self.insert((environment.clone(), number), lease.map(Lease::fence), at_ms, event).await
    }

    /// The run as the journal has it now: what was folded before, and what has come since. `None` where there is no such run.
    async fn fold(&mut self, environment: &EnvironmentName, number: u64) -> Result<Option<&Run>, Fault> {
        let known = self.folded.get(environment).filter(|run| run.number.0 == number);
        let after = known.map_or(0, |run| run.last.0);
        let of = (environment.as_str(), number);
        let rows = store::events_of_run(&mut self.transaction, self.tip, of, after).await?;
        let mut records = rows.iter().map(Row::record).collect::<Result<Vec<_>, _>>()?.into_iter();
        let impossible = |record: &Record| {
            let seq = record.seq.0;
            move |why| Fault::damaged(seq, format!("it can't have happened: {why}"))
        };
        let run = match self.folded.entry(environment.clone()) {
            Entry::Occupied(entry) if after > 0 => entry.into_mut(),
            entry => {
                let Some(first) = records.next() else { return Ok(None) };
                let run = Run::begin(&first).map_err(impossible(&first))?;
                entry.insert_entry(run).into_mut()
            }
        };
        for record in records {
            run.apply(&record).map_err(impossible(&record))?;
        }
        Ok(Some(run))
    }

    async fn insert(
        &mut self,
        (environment, run): (EnvironmentName, RunNumber),
        fence: Option<u64>,
        at_ms: i64,
        event: &Event,
    ) -> Result<Record, Fault> {
        let odd =
            |error: serde_json::Error| Fault::Unusable(format!("the event has no stored form: {error}"));
        let payload = serde_json::to_value(event).map_err(odd)?;
        let mut row = Row {
            seq: self.tip.seq + 1,
            environment: environment.to_string(),
            run: run.0,
            at_ms,
            fence,
            kind: payload["event"].as_str().unwrap_or_default().to_owned(),
            payload: payload.to_string(),
            link: Link::START,
        };
        row.link = row.link_after(self.tip.link);
        store::insert(&mut self.transaction, &row).await?;
        self.tip = Tip { seq: row.seq, link: row.link };
        store::set_tip(&mut self.transaction, self.tip).await?;
        Ok(Record { seq: Seq(row.seq), environment, run, at_ms, event: event.clone() })
    }
}
