//! The database: sessions, the migration lock and the ledger. A session outlives its client until the server notices.

use std::collections::BTreeMap;

use cutover_model::migration::{MigrationId, Phase};

use super::World;
use crate::{
    fact::{Fact, Pid},
    sabotage::Sabotage,
};

/// What the server holds.
#[derive(Debug, Default)]
pub(crate) struct Database {
    pub(crate) ledger: Vec<MigrationId>,
    /// Open sessions and whose they are.
    pub(crate) sessions: BTreeMap<u64, Pid>,
    /// The session that has the migration lock.
    pub(crate) lock: Option<u64>,
    ids: u64,
}

/// Why a migration was not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotApplied {
    /// The session was closed.
    Gone,
    /// Its SQL failed; nothing of it is left.
    Failed,
}

impl World {
    pub(crate) fn connect(&mut self, pid: Pid) -> u64 {
        self.database.ids += 1;
        let session = self.database.ids;
        self.database.sessions.insert(session, pid);
        if !self.alive(pid) {
            self.connections_break(pid);
        }
        session
    }

    /// True when the session has the lock now.
    pub(crate) fn try_lock(&mut self, session: u64) -> Result<bool, NotApplied> {
        let Some(pid) = self.database.sessions.get(&session).copied() else { return Err(NotApplied::Gone) };
        if self.is_sabotaged(Sabotage::MigrationsWithoutLock) {
            return Ok(true);
        }
        if self.database.lock.is_none() {
            self.database.lock = Some(session);
            self.tell(Fact::Locked { session, pid });
        }
        Ok(self.database.lock == Some(session))
    }

    /// One migration in one transaction with its ledger row.
    pub(crate) fn apply(
        &mut self,
        session: u64,
        id: &MigrationId,
        phase: Phase,
        fails: bool,
    ) -> Result<(), NotApplied> {
        if !self.database.sessions.contains_key(&session) {
            return Err(NotApplied::Gone);
        }
        if fails {
            return Err(NotApplied::Failed);
        }
        self.database.ledger.push(id.clone());
        self.tell(Fact::Applied { session, migration: id.clone(), phase });
        Ok(())
    }

    /// Ends a session, and with it its lock.
    pub(crate) fn close_session(&mut self, session: u64) {
        if self.database.sessions.remove(&session).is_some() && self.database.lock == Some(session) {
            self.database.lock = None;
            self.tell(Fact::Unlocked { session });
        }
    }

    /// The server notices some time later that a client is gone.
    pub(crate) fn connections_break(&mut self, pid: Pid) {
        if self.is_sabotaged(Sabotage::LockOutlivesOwner) {
            return;
        }
        let sessions: Vec<_> =
            self.database.sessions.iter().filter(|(_, of)| **of == pid).map(|(s, _)| *s).collect();
        for session in sessions {
            let delay = self.between(0, 3000);
            self.after(delay, move |world| world.close_session(session));
        }
    }
}
