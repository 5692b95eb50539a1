//! One owner of a database's migrations at a time, and none for longer than it lives.
//!
//! ```text
//!            waiter                              owner                               keeper (owner's 2nd connection)
//!   read ledger: nothing left? done      session lock (try, never wait)                     │
//!   read lease: free? try to take        lease row: token, expires ──────────── every third: expires = now + lease
//!   held? sleep, and look again          BEGIN … SQL … ledger row … fence … COMMIT
//!                                        release: token = ''
//! ```
//! - The *session lock* (advisory lock, `GET_LOCK`) goes with the session: kill -9 frees it at once. It is only tried, never
//!   waited for, and waiters hold no transaction, so an index that is built concurrently waits for nobody here.
//! - The *lease row* holds where sessions are shared (PgBouncer) or have no locks (SQLite): it ends by the server's clock.
//! - The *fence* is an update of the lease row by token in the transaction that writes the ledger. Whoever lost the lease
//!   changes no row there and takes everything back, so two owners can never both record a migration.
//!
//! Why the lease may run out and its owner still commit: the token alone decides. An expired lease that nobody took is
//! still its owner's.

use std::{sync::Arc, time::Duration};

use secrecy::SecretString;
use tokio::{task::JoinHandle, time::sleep};

use crate::{
    address::Place,
    database::Database,
    dialect::{self, Dialect, Rules, SessionLock, Table},
    error::MigrateError,
    fault::{Fault, FaultKind},
    format::Format,
    token::Token,
};

/// Who may migrate now. For `doctor`: looking changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockState {
    /// Nobody is migrating.
    Free,
    /// Somebody is.
    Held {
        /// Who, in its own words.
        holder: String,
        /// For how long, by the server's clock.
        held: Duration,
    },
}

/// Whether the lock is free, and else who has it. Reads only.
///
/// # Errors
/// When the database can't be read.
pub async fn check_lock(database: &mut Database) -> Result<LockState, MigrateError> {
    let looked = look(database).await.map_err(|fault| database.records("looking at the lock", fault))?;
    Ok(looked.state)
}

struct Looked {
    exists: bool,
    state: LockState,
}

pub(crate) fn table() -> Table {
    Table::plain("_cutover_lock")
}

fn create(rules: &dyn Rules) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {} (id int NOT NULL PRIMARY KEY, holder varchar(255) NOT NULL, token varchar(64) NOT NULL, \
         by_session int NOT NULL, since bigint NOT NULL, expires bigint NOT NULL, installing int NOT NULL)",
        rules.table(&table())
    )
}

async fn look(database: &mut Database) -> Result<Looked, Fault> {
    let rules = database.rules();
    if !database.ask(&[rules.table_exists(&table())]).await?[0] {
        return Ok(Looked { exists: false, state: LockState::Free });
    }
    let now = rules.now_ms();
    let query = format!(
        "SELECT holder, {now} - since, by_session FROM {} WHERE id = 1 AND token <> '' AND expires > {now}",
        rules.table(&table())
    );
    let Some(row) = database.row(&query).await? else {
        return Ok(Looked { exists: true, state: LockState::Free });
    };
    if row.get(2).and_then(|by| by.int()) == Some(1) && owner_is_gone(database).await? {
        return Ok(Looked { exists: true, state: LockState::Free });
    }
    let holder = row.first().and_then(|holder| holder.text()).unwrap_or("somebody").to_owned();
    let held =
        row.get(1).and_then(|held| held.int()).and_then(|held| u64::try_from(held).ok()).unwrap_or_default();
    Ok(Looked { exists: true, state: LockState::Held { holder, held: Duration::from_millis(held) } })
}

/// The lease was taken together with a session lock, and no session has that any more.
async fn owner_is_gone(database: &mut Database) -> Result<bool, Fault> {
    let lock = SessionLock::Cutover { database: name(database).await? };
    match database.rules().lock_taken(&lock) {
        Some(query) => Ok(database.number(&query).await? == Some(0)),
        None => Ok(false),
    }
}

async fn name(database: &mut Database) -> Result<String, Fault> {
    let row = database.row(&format!("SELECT {}", database.rules().database_name())).await?;
    Ok(row.and_then(|row| row.first()?.text().map(str::to_owned)).unwrap_or_default())
}

/// Whether a first install was begun here and not finished; the lock's table must exist.
pub(crate) async fn is_installing(database: &mut Database) -> Result<bool, Fault> {
    let rules = database.rules();
    let query = format!("SELECT installing FROM {} WHERE id = 1", rules.table(&table()));
    Ok(database.number(&query).await? == Some(1))
}

/// What came of trying to take the lock.
pub(crate) enum Taking {
    Taken(Held),
    Busy { holder: String, held: Duration },
}

/// The lock, while it is ours. Dropping it stops the keeper; the session lock goes with the connection, the lease by time.
pub(crate) struct Held {
    token: Token,
    lease: Duration,
    locks: Vec<SessionLock>,
    /// The other tool's locks where they must be taken anew in each transaction.
    pub(crate) per_transaction: Vec<SessionLock>,
    keeper: Option<JoinHandle<()>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(keeper) = &self.keeper {
            keeper.abort();
        }
    }
}

/// Who wants the lock, and how.
pub(crate) struct Claim<'a> {
    pub(crate) holder: &'a str,
    pub(crate) lease: Duration,
    /// Also keep this tool's own migrator out.
    pub(crate) peer: Option<Peer<'a>>,
}

/// A tool whose migrator takes a lock of its own; the others have none.
#[derive(Clone, Copy)]
pub(crate) enum Peer<'a> {
    Sqlx,
    /// Its lock is one for each ledger.
    GolangMigrate(&'a Table),
}

impl<'a> Peer<'a> {
    pub(crate) fn of(format: Format, ledger: &'a Table) -> Option<Self> {
        match format {
            Format::Sqlx => Some(Self::Sqlx),
            Format::GolangMigrate => Some(Self::GolangMigrate(ledger)),
            _ => None,
        }
    }

    /// On PostgreSQL golang-migrate has two: opened by a URL it names the database by the URL's path, `/` and all, and
    /// opened with a connection by its name (`database/postgres/postgres.go`).
    async fn locks(self, database: &mut Database, name: &str) -> Result<Vec<SessionLock>, Fault> {
        let table = match self {
            Self::Sqlx => return Ok(vec![SessionLock::Sqlx { database: name.to_owned() }]),
            Self::GolangMigrate(table) => table,
        };
        if database.dialect() != Dialect::Postgres {
            return Ok(vec![SessionLock::GolangMigrate { named: format!("{name}:{}", table.name) }]);
        }
        let schema = match &table.schema {
            Some(schema) => Some(schema.clone()),
            None => {
                let row = database.row("SELECT current_schema()::text").await?;
                row.and_then(|row| row.first()?.text().map(str::to_owned))
            }
        };
        let schema = schema.unwrap_or_default();
        let named = |slash: &str| format!("{schema}\0{}\0{slash}{name}", table.name);
        Ok(["/", ""].map(|slash| SessionLock::GolangMigrate { named: named(slash) }).into())
    }
}

/// Tries once; never waits for another session.
pub(crate) async fn try_take(database: &mut Database, claim: &Claim<'_>) -> Result<Taking, Fault> {
    let looked = look(database).await?;
    if let LockState::Held { holder, held } = looked.state {
        return Ok(Taking::Busy { holder, held });
    }
    if !looked.exists {
        make(database).await?;
    }
    let database_name = name(database).await?;
    let own = SessionLock::Cutover { database: database_name.clone() };
    let peers = match claim.peer {
        Some(peer) => peer.locks(database, &database_name).await?,
        None => Vec::new(),
    };
    let has_sessions = !database.session.pooled() && database.rules().try_lock(&own).is_some();
    let mut held = Held {
        token: Token::random(),
        lease: claim.lease,
        locks: Vec::new(),
        per_transaction: if database.session.pooled() { peers.clone() } else { Vec::new() },
        keeper: None,
    };
    for lock in std::iter::once(own).chain(peers).filter(|_| has_sessions) {
        let query = database.rules().try_lock(&lock).unwrap_or_default();
        if database.number(&query).await? != Some(1) {
            let holder = lock.tool().unwrap_or("another runner").to_owned();
            held.unlock(database).await;
            return Ok(Taking::Busy { holder, held: Duration::ZERO });
        }
        held.locks.push(lock);
    }
    if !held.take_lease(database, claim.holder, has_sessions).await? {
        held.unlock(database).await;
        return Ok(Taking::Busy { holder: "another runner".into(), held: Duration::ZERO });
    }
    held.keep(database);
    Ok(Taking::Taken(held))
}

async fn make(database: &mut Database) -> Result<(), Fault> {
    let rules = database.rules();
    let into = format!(
        "{} (id, holder, token, by_session, since, expires, installing) VALUES (1, '', '', 0, 0, 0, 0)",
        rules.table(&table())
    );
    for sql in [create(rules), rules.insert_or_nothing(&into)] {
        match database.session.execute(&sql).await {
            // Two runners made it at the same moment.
            Err(fault) if fault.kind == FaultKind::ExistsAlready => {}
            other => drop(other?),
        }
    }
    Ok(())
}

impl Held {
    async fn take_lease(
        &self,
        database: &mut Database,
        holder: &str,
        by_session: bool,
    ) -> Result<bool, Fault> {
        let rules = database.rules();
        let now = rules.now_ms();
        let holder: String = holder.chars().filter(|c| !c.is_control()).take(200).collect();
        // Having the session lock proves that an owner who had it too is gone.
        let or_gone = if by_session { " OR by_session = 1" } else { "" };
        let sql = format!(
            "UPDATE {} SET holder = {}, token = '{}', by_session = {}, since = {now}, expires = {now} + {} \
             WHERE id = 1 AND (token = '' OR expires <= {now}{or_gone})",
            rules.table(&table()),
            rules.literal(&holder.as_str().into()),
            self.token.as_str(),
            i32::from(by_session),
            self.lease.as_millis(),
        );
        Ok(database.session.execute(&sql).await? == 1)
    }

    /// The statement whose one changed row proves that the lock is still ours; run it in the transaction it guards.
    pub(crate) fn fence(&self, rules: &dyn Rules) -> String {
        format!(
            "UPDATE {} SET expires = {} + {} WHERE id = 1 AND token = '{}'",
            rules.table(&table()),
            rules.now_ms(),
            self.lease.as_millis(),
            self.token.as_str()
        )
    }

    /// Notes that a first install began, or that it is finished.
    pub(crate) fn installing(&self, rules: &dyn Rules, installing: bool) -> String {
        format!(
            "UPDATE {} SET installing = {} WHERE id = 1 AND token = '{}'",
            rules.table(&table()),
            i32::from(installing),
            self.token.as_str()
        )
    }

    /// Gives everything back. An error leaves it to the session's end and the lease.
    pub(crate) async fn release(mut self, database: &mut Database) {
        if let Some(keeper) = self.keeper.take() {
            keeper.abort();
            let _ = keeper.await;
        }
        let rules = database.rules();
        let sql = format!(
            "UPDATE {} SET token = '', holder = '', expires = 0 WHERE id = 1 AND token = '{}'",
            rules.table(&table()),
            self.token.as_str()
        );
        if let Err(fault) = database.session.execute(&sql).await {
            tracing::debug!(%fault, "the migration lock is left to its lease");
        }
        self.unlock(database).await;
    }

    async fn unlock(&mut self, database: &mut Database) {
        for lock in self.locks.drain(..) {
            let _ = database.session.execute(&database.rules().unlock(&lock)).await;
        }
    }

    fn keep(&mut self, database: &Database) {
        if !dialect::shared(database.place()) {
            return;
        }
        let renewal: Arc<str> = self.fence(database.rules()).into();
        let keeper = keep(database.url().clone(), database.place().clone(), renewal, self.lease);
        self.keeper = Some(tokio::spawn(keeper));
    }
}

/// Renews the lease from a connection of its own: the owner's is busy for as long as a statement runs. It connects only
/// when the first third of the lease is over, so short runs cost nothing.
async fn keep(url: SecretString, place: Place, renewal: Arc<str>, lease: Duration) {
    let mut session = None;
    loop {
        sleep(lease / 3).await;
        if session.is_none() {
            session = dialect::open(&url, &place).await.ok();
        }
        let Some(open) = &mut session else { continue };
        match open.execute(&renewal).await {
            Ok(1) => {}
            Ok(_) => return,
            Err(fault) if fault.is_lost() => session = None,
            // SQLite while the owner writes: nobody else can take the lease then either.
            Err(_) => {}
        }
    }
}
