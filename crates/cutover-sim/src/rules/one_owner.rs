//! Rule 1.

use std::{collections::BTreeSet, time::Duration};

use cutover_model::migration::MigrationId;

use super::{ONE_OWNER, Rule, holds};
use crate::{fact::Fact, world::World};

/// How long a database may take to notice that a client is gone.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);

/// **One migration owner.** Any number of runners may start together; each migration is applied exactly once, and the losers
/// wait, see it done and succeed. No lock outlives its owner (crash, kill -9, lost connection, pooled connection).
#[derive(Debug, Default)]
pub(crate) struct OneOwner {
    applied: BTreeSet<MigrationId>,
}

impl Rule for OneOwner {
    fn name(&self) -> &'static str {
        ONE_OWNER
    }

    fn see(&mut self, fact: &Fact, world: &World) -> Result<(), String> {
        if let Fact::Applied { session, migration, .. } = fact {
            holds(self.applied.insert(migration.clone()), || format!("{migration} was applied twice"))?;
            holds(world.database.lock == Some(*session), || {
                format!("session {session} applied {migration} without the lock")
            })?;
        }
        let owner = world.database.lock.and_then(|session| world.database.sessions.get(&session));
        let died = owner.and_then(|pid| world.processes.get(pid)).and_then(|process| process.died);
        holds(died.is_none_or(|died| world.now() <= died + NOTICED_WITHIN), || {
            format!("the migration lock outlives its owner, who died at {died:?}")
        })
    }

    fn end(&mut self, world: &World) -> Result<(), String> {
        let twice = world.database.ledger.len() != self.applied.len();
        holds(!twice, || format!("the ledger holds {:?}", world.database.ledger))?;
        holds(world.database.lock.is_none(), || "the migration lock is held when all is over".into())
    }
}
