//! What `up` tells while it works.

use std::time::Duration;

use cutover_model::migration::{MigrationId, Phase};

/// Something worth showing. New kinds may come.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice<'a> {
    /// Someone else has the lock; said again at each look, about twice a second.
    Waiting {
        /// Who.
        holder: &'a str,
        /// For how long, by the server's clock.
        held: Duration,
    },
    /// The lock is ours.
    Locked,
    /// The ledger has rows that the folder knows nothing of: the database is newer. They are left alone.
    Unknown {
        /// Their names.
        names: &'a [String],
    },
    /// This migration is older than one that is applied; its own tool would have skipped it.
    Late {
        /// Which.
        id: &'a MigrationId,
    },
    /// A migration begins.
    Started {
        /// Which.
        id: &'a MigrationId,
        /// Its phase.
        phase: Phase,
        /// How many statements.
        statements: usize,
    },
    /// A statement begins.
    Statement {
        /// Of which migration.
        id: &'a MigrationId,
        /// 1 or more.
        number: usize,
        /// Of how many.
        of: usize,
        /// Its first words, no literals.
        summary: &'a str,
    },
    /// A statement waited too long for a lock, was taken back, and is tried again.
    Retrying {
        /// Which migration.
        id: &'a MigrationId,
        /// After so long.
        pause: Duration,
    },
    /// A migration is applied and recorded.
    Applied {
        /// Which.
        id: &'a MigrationId,
        /// How long it took.
        took: Duration,
    },
}

/// Is told what happens. Called between database calls; don't block in it.
pub trait Observer: Send {
    /// One thing happened.
    fn notice(&mut self, notice: Notice<'_>);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn notice(&mut self, _: Notice<'_>) {}
}

impl<F: FnMut(Notice<'_>) + Send> Observer for F {
    fn notice(&mut self, notice: Notice<'_>) {
        self(notice);
    }
}
