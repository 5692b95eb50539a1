//! The fake ports: clients of the [world](crate::world) that live and die with their process.
//!
//! ```text
//! driver ── port call ──► client here ══ messages: late, lost, answer lost ══► world
//! ```

mod commands;
mod journal;
mod metrics;
mod migrations;
mod target;

use std::{fmt, time::Duration};

use async_trait::async_trait;
use cutover_conductor::ports::{Clock, Notify, PortError, Ports, Progress};
use cutover_model::run::Plan;

use crate::{
    fact::{Call, Fact, Pid},
    sabotage::Sabotage,
    scenario::CANARY,
    weather::Mishap,
    world::Shared,
};

/// All ports of one process.
#[derive(Clone)]
pub(crate) struct Fake {
    shared: Shared,
    pid: Pid,
}

/// A port's own secrets are in its memory; who prints a port prints them.
impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fake({}, {CANARY})", self.pid)
    }
}

impl Fake {
    pub(crate) fn of(shared: &Shared, pid: Pid) -> Self {
        Self { shared: shared.clone(), pid }
    }

    pub(crate) fn ports(&self) -> Ports<'_> {
        Ports {
            target: self,
            metrics: self,
            migrations: self,
            commands: self,
            journal: self,
            clock: self,
            notify: self,
        }
    }

    /// A call with an effect begins: everybody is told, and its fate is drawn.
    fn called(&self, plan_release: cutover_model::ReleaseNumber, call: Call) -> Mishap {
        let mut world = self.shared.world();
        world.tell(Fact::Called { pid: self.pid, release: plan_release, call });
        world.mishap()
    }

    fn broken(&self, what: &str) -> PortError {
        let world = self.shared.world();
        let message = if world.is_sabotaged(Sabotage::ErrorsQuoteSecrets) {
            format!("{what} with SESSION_SECRET={CANARY}")
        } else {
            what.to_owned()
        };
        let help = if world.is_sabotaged(Sabotage::ErrorsWithoutHelp) { "" } else { "look at its output" };
        PortError::Broken { message, help: help.into() }
    }

    /// Does a call's work unless it fails before, and says that it failed if it is to lie.
    async fn with_mishap<T>(
        &self,
        mishap: Mishap,
        work: impl Future<Output = Result<T, PortError>> + Send,
    ) -> Result<T, PortError> {
        match mishap {
            Mishap::None => work.await,
            Mishap::Lies => {
                work.await?;
                Err(self.broken("it worked, and this says that it did not"))
            }
            Mishap::Broken => {
                self.shared.pass(1, 500).await;
                Err(self.broken("it could not be started"))
            }
            Mishap::Refused => Err(PortError::Refused {
                message: "not now".into(),
                help: "wait for the maintenance to end".into(),
            }),
        }
    }

    fn commit(&self, plan: &Plan) -> crate::scenario::Making {
        self.shared.world().making(plan).clone()
    }
}

#[async_trait]
impl Clock for Fake {
    fn now_ms(&self) -> i64 {
        let world = self.shared.world();
        let skew = world.processes.get(&self.pid).map_or(0, |process| process.skew_ms);
        1_700_000_000_000 + world.now().as_millis() as i64 + skew
    }

    fn elapsed(&self) -> Duration {
        self.shared.kernel.now()
    }

    async fn sleep(&self, duration: Duration) {
        self.shared.kernel.sleep(duration).await;
    }
}

impl Notify for Fake {
    fn notify(&self, progress: Progress) {
        let text = match &progress {
            // It stands in the trace already.
            Progress::Recorded(record) => format!("#{}", record.seq.0),
            Progress::Watching(findings) => format!("watching: {}", findings.join("; ")),
            other => format!("{other:?}"),
        };
        let secret =
            matches!(&progress, Progress::Recorded(record) if format!("{record:?}").contains(CANARY));
        let text = if secret { format!("{text} {CANARY}") } else { text };
        self.shared.world().tell(Fact::Notified { pid: self.pid, text });
    }
}
