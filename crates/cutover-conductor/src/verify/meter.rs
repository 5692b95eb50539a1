//! Turns readings of cumulative counters into what happened between them, and never invents a negative or a good count.
//!
//! ```text
//! reading      first    later         went back, new epoch    events > requests    route missing
//! batch        none     difference    none                    none                 none
//! baseline     set      moved         set anew                kept                 kept
//! trouble                             yes                     yes
//! ```
//! A baseline that is kept means that nothing is lost: the next good reading covers the time since.

use super::count::{Counts, Routes, Sample};

/// What a route that was not there before had counted: nothing, and everything was measured.
const NOTHING: Counts = Counts { requests: 0, errors: 0, slow: Some(0), slower_than_old: Some(0) };

/// What happened between two readings.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) new: Routes,
    pub(super) old: Routes,
    pub(super) troubles: Vec<Trouble>,
}

/// A reading that can't be used, of one route or (`None`) of all.
#[derive(Debug)]
pub(super) enum Trouble {
    WentBack { route: Option<String> },
    Inconsistent { route: String },
}

#[derive(Debug, Clone, Default)]
pub(super) struct Meter {
    epoch: Option<u64>,
    new: Baseline,
    old: Baseline,
}

/// The counters of one release as last read. `None` until they were first seen: what they had counted by then belongs to
/// no known span of time. A route that appears later began at zero.
type Baseline = Option<Routes>;

impl Meter {
    pub(super) fn advance(&mut self, sample: &Sample) -> Step {
        let mut step = Step::default();
        if self.epoch.is_some_and(|epoch| epoch != sample.epoch) {
            step.troubles.push(Trouble::WentBack { route: None });
            (self.new, self.old) = (None, None);
        }
        self.epoch = Some(sample.epoch);
        step.new = between(&mut self.new, &sample.new, &mut step.troubles);
        match &sample.old {
            Some(now) => step.old = between(&mut self.old, now, &mut step.troubles),
            None => self.old = None,
        }
        step
    }
}

fn between(baseline: &mut Baseline, now: &Routes, troubles: &mut Vec<Trouble>) -> Routes {
    let mut batch = Routes::new();
    let Some(baseline) = baseline else {
        *baseline = (!now.is_empty()).then(|| now.clone());
        return batch;
    };
    for (route, counts) in now {
        let earlier = baseline.get(route).copied().unwrap_or(NOTHING);
        if counts.went_back_from(&earlier) {
            troubles.push(Trouble::WentBack { route: Some(route.clone()) });
            baseline.insert(route.clone(), *counts);
            continue;
        }
        let happened = *counts - earlier;
        if !happened.is_consistent() {
            troubles.push(Trouble::Inconsistent { route: route.clone() });
            continue;
        }
        baseline.insert(route.clone(), *counts);
        batch.insert(route.clone(), happened);
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(epoch: u64, requests: u64, errors: u64) -> Sample {
        let counts = Counts { requests, errors, ..NOTHING };
        Sample { tick: 0, epoch, new: Routes::from([("/".to_owned(), counts)]), old: None }
    }

    fn batch(step: &Step) -> Option<(u64, u64)> {
        step.new.get("/").map(|counts| (counts.requests, counts.errors))
    }

    #[test]
    fn the_first_reading_is_a_baseline_and_the_next_a_difference() {
        let mut meter = Meter::default();
        assert_eq!(batch(&meter.advance(&reading(0, 100, 9))), None);
        assert_eq!(batch(&meter.advance(&reading(0, 150, 10))), Some((50, 1)));
    }

    #[test]
    fn a_counter_that_went_back_is_a_new_baseline() {
        let mut meter = Meter::default();
        meter.advance(&reading(0, 100, 9));
        let step = meter.advance(&reading(0, 40, 0));
        assert!(batch(&step).is_none() && step.troubles.len() == 1);
        assert_eq!(batch(&meter.advance(&reading(0, 45, 2))), Some((5, 2)));
    }

    #[test]
    fn a_new_epoch_is_a_new_baseline_even_if_counts_rose() {
        let mut meter = Meter::default();
        meter.advance(&reading(1, 100, 9));
        let step = meter.advance(&reading(2, 400, 300));
        assert!(batch(&step).is_none() && step.troubles.len() == 1);
        assert_eq!(batch(&meter.advance(&reading(2, 401, 300))), Some((1, 0)));
    }

    #[test]
    fn a_torn_reading_is_held_until_it_makes_sense() {
        let mut meter = Meter::default();
        meter.advance(&reading(0, 100, 0));
        let step = meter.advance(&reading(0, 101, 5));
        assert!(batch(&step).is_none() && step.troubles.len() == 1);
        assert_eq!(batch(&meter.advance(&reading(0, 110, 5))), Some((10, 5)));
    }
}
