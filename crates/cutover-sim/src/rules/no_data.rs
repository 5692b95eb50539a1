//! Rule 5.

use std::collections::BTreeMap;

use cutover_model::{
    ReleaseNumber,
    run::{Event, Step},
};

use super::{NO_DATA, Rule, holds};
use crate::{
    fact::{Fact, Pid},
    world::World,
};

/// What one driver was told about one release.
#[derive(Debug, Clone, Default)]
struct Evidence {
    /// The highest count read in each epoch.
    read: BTreeMap<u64, u64>,
    /// What the gate really had served when the counts were last read.
    served: u64,
}

/// **No data is not good news.** A missing metric, an empty result or an unreachable metrics source is `undecided`, never
/// `pass`: a watch succeeds only after enough requests of the new release were served *and* read by this driver since its
/// stage began. A stage begins with the first step after the last watch that passed.
#[derive(Debug, Default)]
pub(crate) struct NoData {
    now: BTreeMap<(Pid, ReleaseNumber), Evidence>,
    at_stage: BTreeMap<(Pid, ReleaseNumber), Evidence>,
    staged: BTreeMap<Pid, bool>,
}

impl Rule for NoData {
    fn name(&self) -> &'static str {
        NO_DATA
    }

    fn see(&mut self, fact: &Fact, world: &World) -> Result<(), String> {
        match fact {
            Fact::Measured { pid, epoch, requests } => {
                for (release, count) in requests {
                    let evidence = self.now.entry((*pid, *release)).or_default();
                    let read = evidence.read.entry(*epoch).or_default();
                    *read = (*read).max(*count);
                    evidence.served = world.traffic.truth.get(release).copied().unwrap_or(0);
                }
                Ok(())
            }
            Fact::Recorded { by, record, .. } => match &record.event {
                Event::Intended { step: Step::Verify { .. } | Step::Advance { .. }, .. } => {
                    self.stage_begins(*by, world);
                    Ok(())
                }
                Event::Succeeded { step: Step::Verify { .. }, .. } => {
                    self.staged.remove(by);
                    self.was_enough(*by, world)
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn end(&mut self, _: &World) -> Result<(), String> {
        Ok(())
    }
}

impl NoData {
    fn stage_begins(&mut self, by: Pid, world: &World) {
        let Some(run) = world.store.open_run() else { return };
        if !std::mem::replace(self.staged.entry(by).or_default(), true) {
            let key = (by, run.plan.release);
            self.at_stage.insert(key, self.now.get(&key).cloned().unwrap_or_default());
        }
    }

    fn was_enough(&self, by: Pid, world: &World) -> Result<(), String> {
        let Some(run) = world.store.open_run() else { return Err("a watch without a run".into()) };
        let key = (by, run.plan.release);
        let (now, then) = (self.now.get(&key).cloned(), self.at_stage.get(&key).cloned());
        let (now, then) = (now.unwrap_or_default(), then.unwrap_or_default());
        let read: u64 = now
            .read
            .iter()
            .map(|(epoch, count)| count.saturating_sub(then.read.get(epoch).copied().unwrap_or(0)))
            .sum();
        let served = now.served.saturating_sub(then.served);
        let enough = run.plan.settings.bad.enough_requests.max(1);
        holds(read >= enough && served >= enough, || {
            format!(
                "{by} passed {} on {read} requests read, {served} served, {enough} needed",
                run.plan.release
            )
        })
    }
}
