//! Parts that are broken on purpose, to prove that each checker can fail.

/// What is broken. Each must be reported by the rule that it breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// Rule 1: several runners migrate at once.
    MigrationsWithoutLock,
    /// Rule 1: the lock of a runner that died is never freed.
    LockOutlivesOwner,
    /// Rule 2: says that it migrated, and did not.
    MigrationsNotApplied,
    /// Rule 3: applies contract migrations along with the expand ones.
    ContractsApplied,
    /// Rule 4: replicas get requests before they are ready.
    GateRoutesToStarting,
    /// Rule 4: replicas are stopped with requests in flight, long before the limit.
    HostCutsRequests,
    /// Rule 4: the old release is retired as soon as the new one has a replica.
    TargetRetiresEarly,
    /// Rule 5: requests that nobody made are counted.
    MetricsInvented,
    /// Rule 6: intents are acknowledged and not stored.
    JournalAcknowledgesWithoutStoring,
    /// Rule 6: a driver whose lease was given on may still write.
    JournalIgnoresFences,
    /// Rule 6: writes of drivers that lost their lease are taken.
    TargetIgnoresGenerations,
    /// Rule 6: going back is reported done while the new release still runs.
    TargetLiesAboutReverting,
    /// Rule 7: an error quotes a secret.
    ErrorsQuoteSecrets,
    /// Rule 8: an error has no next step.
    ErrorsWithoutHelp,
    /// Liveness: the fleet never answers again.
    TargetNeverAnswers,
    /// Verdicts: replicas that are down are reported ready.
    HostHidesFailures,
    /// Artifacts: the pruner takes the release that serves.
    PrunerTakesAll,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::MigrationsWithoutLock,
        Self::LockOutlivesOwner,
        Self::MigrationsNotApplied,
        Self::ContractsApplied,
        Self::GateRoutesToStarting,
        Self::HostCutsRequests,
        Self::TargetRetiresEarly,
        Self::MetricsInvented,
        Self::JournalAcknowledgesWithoutStoring,
        Self::JournalIgnoresFences,
        Self::TargetIgnoresGenerations,
        Self::TargetLiesAboutReverting,
        Self::ErrorsQuoteSecrets,
        Self::ErrorsWithoutHelp,
        Self::TargetNeverAnswers,
        Self::HostHidesFailures,
        Self::PrunerTakesAll,
    ];
}
