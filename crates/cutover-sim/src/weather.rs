//! Faults: how likely each is, and what becomes of one message or call.

use std::{collections::BTreeSet, time::Duration};

use cutover_conductor::ports::PortError;

use crate::{
    time::Slot,
    world::{Shared, World},
};

/// A line between the driver and something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Line {
    Target,
    Metrics,
    Database,
    Journal,
    Commands,
}

/// How likely what is, per message or call; each 0 to 1. All zero: calm.
#[derive(Debug, Clone, Default)]
pub(crate) struct Weather {
    /// A message or its answer is lost.
    pub(crate) lost: f64,
    /// A message arrives up to 40 s late; its sender has given up waiting by then, or is dead.
    pub(crate) late: f64,
    /// A call reports that it failed before it did anything.
    pub(crate) broken: f64,
    /// A call does all of its work and reports that it failed.
    pub(crate) lies: f64,
    /// A call is refused.
    pub(crate) refused: f64,
    /// A reading of counts comes back empty.
    pub(crate) empty: f64,
    /// A journal write fails, or succeeds with its answer lost.
    pub(crate) journal: f64,
    /// A database session breaks before, or after, a migration's commit.
    pub(crate) session: f64,
    /// Lines that are cut.
    pub(crate) cut: BTreeSet<Line>,
}

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What becomes of one message.
#[derive(Debug)]
struct Fate {
    there: Option<Duration>,
    back: Option<Duration>,
}

/// No answer came. What was asked may have happened, or may happen yet.
#[derive(Debug)]
pub(crate) struct Lost;

impl From<Lost> for PortError {
    fn from(_: Lost) -> Self {
        Self::Unreachable("no answer within 5s".into())
    }
}

/// A call that fails whatever it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mishap {
    None,
    /// Fails before any effect.
    Broken,
    /// Has its effect, then says that it failed.
    Lies,
    Refused,
}

impl World {
    fn fate(&mut self, line: Line) -> Fate {
        let quick = |world: &mut Self| Some(world.between(1, 12));
        if self.weather.cut.contains(&line) {
            return Fate { there: None, back: None };
        }
        if self.chance(self.weather.late) {
            return Fate { there: Some(self.between(4000, 40_000)), back: None };
        }
        if self.chance(self.weather.lost) {
            let there = if self.rng.bool() { quick(self) } else { None };
            return Fate { there, back: None };
        }
        Fate { there: quick(self), back: quick(self) }
    }

    /// What becomes of one call of a port.
    pub(crate) fn mishap(&mut self) -> Mishap {
        match () {
            () if self.chance(self.weather.broken) => Mishap::Broken,
            () if self.chance(self.weather.lies) => Mishap::Lies,
            () if self.chance(self.weather.refused) => Mishap::Refused,
            () => Mishap::None,
        }
    }

    /// All faults stop, and what they broke is mended.
    pub(crate) fn calm_down(&mut self) {
        (self.weather, self.calm) = (Weather::default(), true);
        self.settle();
        self.traffic.flows = true;
        (self.store.full, self.store.unusable, self.store.lose_next_answer) = (false, false, false);
        self.host_up();
        let paused: Vec<_> = self.processes.iter().filter(|(_, p)| p.paused).map(|(pid, _)| *pid).collect();
        paused.into_iter().for_each(|pid| self.unpause(pid));
        self.tell(crate::fact::Fact::Weather("calm".into()));
    }
}

impl Shared {
    /// Sends a message that has an effect where it arrives, and waits for the answer. The message goes its way also when
    /// the sender is dropped.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        line: Line,
        effect: impl FnOnce(&mut World) -> T + Send + 'static,
    ) -> Result<T, Lost> {
        let slot = Slot::new();
        let answered = slot.clone();
        let patience = {
            let mut world = self.world();
            let Fate { there, back } = world.fate(line);
            if let Some(there) = there {
                world.after(there, move |world| {
                    let answer = effect(world);
                    if let Some(back) = back {
                        world.after(back, move |_| answered.put(answer));
                    }
                });
            }
            // A cut line is often noticed at once.
            if there.is_none() && world.rng.bool() { world.between(1, 200) } else { PATIENCE }
        };
        slot.take(self.kernel.sleep(patience)).await.ok_or(Lost)
    }

    /// Waits in virtual time.
    pub(crate) async fn pass(&self, low_ms: u64, high_ms: u64) {
        let time = self.world().between(low_ms, high_ms);
        self.kernel.sleep(time).await;
    }
}
