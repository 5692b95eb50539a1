//! Many seeds at once: on every core, each seed by itself, the report in the order of the seeds.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use crate::simulation::{Report, Scenario, Tally, simulate};

/// What came of many seeds.
#[derive(Debug, Default)]
pub struct Harvest {
    /// Seeds that were run.
    pub seeds: u64,
    /// Of each rule that did not hold: how many seeds, and the report of the lowest.
    pub violations: BTreeMap<&'static str, (u64, Report)>,
    /// Over all seeds.
    pub tally: Tally,
}

impl Harvest {
    fn add(&mut self, report: Report) {
        self.seeds += 1;
        self.tally.add(&report.tally);
        let Some(violation) = &report.violation else { return };
        let (count, lowest) = self.violations.entry(violation.rule).or_insert_with(|| (0, report.clone()));
        *count += 1;
        if report.seed < lowest.seed {
            *lowest = report;
        }
    }

    fn merge(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.tally.add(&other.tally);
        for (rule, (count, report)) in other.violations {
            let (sum, lowest) = self.violations.entry(rule).or_insert_with(|| (0, report.clone()));
            *sum += count;
            if report.seed < lowest.seed {
                *lowest = report;
            }
        }
    }
}

/// Simulates every seed of a range on all cores. `scenario` makes a seed's scenario.
pub fn harvest(seeds: Range<u64>, scenario: impl Fn(u64) -> Scenario + Sync) -> Harvest {
    let next = AtomicU64::new(seeds.start);
    let worker = || {
        let mut harvest = Harvest::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return harvest;
            }
            harvest.add(simulate(&scenario(seed)));
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(worker)).collect();
        let mut all = Harvest::default();
        for worker in workers {
            match worker.join() {
                Ok(harvest) => all.merge(harvest),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    })
}
