//! Many seeds at once: on every core, each seed by itself, the report in the order of the seeds.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use crate::{
    simulation::{Report, Scenario, Tally, simulate},
    time::lock,
};

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
}

/// Simulates every seed of a range on all cores. `scenario` makes a seed's scenario.
pub fn harvest(seeds: Range<u64>, scenario: impl Fn(u64) -> Scenario + Sync) -> Harvest {
    let harvest = Mutex::new(Harvest::default());
    on_all_cores(seeds, |seed| {
        let report = simulate(&scenario(seed));
        lock(&harvest).add(report);
    });
    harvest.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Calls `work` with every number of a range, on all cores. A panic in it is passed on.
pub fn on_all_cores(range: Range<u64>, work: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(range.start);
    let worker = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= range.end {
                return;
            }
            work(number);
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(worker)).collect();
        for worker in workers {
            if let Err(panic) = worker.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}
