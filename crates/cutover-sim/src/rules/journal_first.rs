//! Rule 6.

use std::collections::{BTreeMap, BTreeSet};

use cutover_model::{
    ReleaseNumber,
    fleet::Generation,
    run::{Event, Outcome, Record, Step},
};

use super::{JOURNAL, Rule, holds};
use crate::{
    fact::{Call, Fact, Pid},
    world::World,
};

/// **The journal comes first.** Intent is durable before an effect, outcome is durable before the next decision. Kill Cutover
/// between any two instructions: the next start reconciles with what is really running, and goes on or goes back. Nothing is
/// done twice that is not safe to do twice. A journal that can't be written stops the run.
#[derive(Debug, Default)]
pub(crate) struct JournalFirst {
    /// The step that each process has in hand, by the journal.
    open: BTreeMap<Pid, (ReleaseNumber, Step)>,
    /// Drivers whom the journal failed for good.
    stopped: BTreeSet<Pid>,
    highest: Option<Generation>,
}

impl Rule for JournalFirst {
    fn name(&self) -> &'static str {
        JOURNAL
    }

    fn see(&mut self, fact: &Fact, world: &World) -> Result<(), String> {
        match fact {
            Fact::Recorded { by, fenced, record, .. } => self.recorded(*by, *fenced, record, world),
            Fact::JournalRefused { by, driving: true, why, final_ } => {
                if *final_ {
                    self.stopped.insert(*by);
                    self.open.remove(by);
                }
                holds(!why.contains("not what comes next") && !why.contains("was not in hand"), || {
                    format!("{by} wanted to write what can't follow: {why}")
                })
            }
            Fact::Called { pid, release, call } => {
                holds(!self.stopped.contains(pid), || {
                    format!("{pid} calls {} after the journal failed it", call.name())
                })?;
                let open = self.open.get(pid);
                holds(open.is_some_and(|(of, step)| of == release && belongs(call, *step)), || {
                    format!(
                        "{pid} calls {} for {release} while the journal has {open:?} in its hand",
                        call.name()
                    )
                })
            }
            Fact::Written { by, generation, accepted: true, .. } => {
                holds(self.highest.is_none_or(|highest| *generation > highest), || {
                    format!("{by}'s write {generation:?} was taken after {:?}", self.highest)
                })?;
                self.highest = Some(*generation);
                let run = world.store.open_run();
                holds(run.is_some_and(|run| run.state.advanced), || {
                    format!("{by} changes the fleet outside of a rollout")
                })
            }
            _ => Ok(()),
        }
    }

    /// Whatever happened: every run is over, and the release that serves by the journal serves alone.
    fn end(&mut self, world: &World) -> Result<(), String> {
        if world.hopeless {
            return Ok(());
        }
        holds(world.store.open_run().is_none(), || "a run is open when all is over".into())?;
        let serving = world.store.serving();
        alone(world, serving)?;
        let entry = serving.and_then(|release| world.host.entries.get(&release));
        let plan = serving.and_then(|release| world.store.plan_of(release));
        let (Some(entry), Some(plan)) = (entry, plan) else { return Ok(()) };
        holds(entry.weight > 0.0 && entry.replicas == plan.settings.place.replicas, || {
            format!("{serving:?} serves with {entry:?}")
        })
    }
}

impl JournalFirst {
    fn recorded(&mut self, by: Pid, fenced: bool, record: &Record, world: &World) -> Result<(), String> {
        if fenced {
            let fence = world.processes.get(&by).and_then(|process| process.fence);
            holds(fence == Some(world.store.fence), || {
                format!("{by} writes under lease {fence:?} and {} was given out", world.store.fence)
            })?;
        }
        match &record.event {
            Event::Intended { step, .. } => {
                let run = world.store.open_run().ok_or("an intent without a run")?;
                self.open.insert(by, (run.plan.release, *step));
            }
            Event::Succeeded { .. } | Event::Failed { .. } | Event::Held { .. } => {
                self.open.remove(&by);
            }
            Event::Ended { outcome } => self.ended(outcome, world)?,
            _ => {}
        }
        Ok(())
    }

    fn ended(&self, outcome: &Outcome, world: &World) -> Result<(), String> {
        let run = world.store.runs.last().ok_or("the end of no run")?;
        let serves = match outcome {
            Outcome::Done => Some(run.plan.release),
            Outcome::Reverted { .. } => run.plan.from,
            Outcome::Stopped { .. } => return Ok(()),
        };
        alone(world, serves)
    }
}

/// Only this release is desired, and only its replicas exist.
fn alone(world: &World, serves: Option<ReleaseNumber>) -> Result<(), String> {
    let desired: Vec<_> = world.host.entries.keys().copied().collect();
    holds(desired == Vec::from_iter(serves), || {
        format!("{serves:?} should serve alone, desired are {desired:?}")
    })?;
    let stray = world.host.replicas.iter().find(|(_, replica)| Some(replica.release) != serves);
    holds(stray.is_none(), || format!("{serves:?} should serve alone, and there is {stray:?}"))
}

fn belongs(call: &Call, step: Step) -> bool {
    match (call, step) {
        (Call::Checks, Step::Checks)
        | (Call::Build, Step::Build)
        | (Call::Expand, Step::Migrate)
        | (Call::Revert, Step::Revert)
        | (Call::Smoke, Step::Smoke)
        | (Call::Retire | Call::Prune, Step::Finish) => true,
        (Call::Advance(rollout), Step::Advance { replicas, portion }) => {
            rollout.new.replicas == replicas && rollout.new.weight == portion.share()
        }
        _ => false,
    }
}
