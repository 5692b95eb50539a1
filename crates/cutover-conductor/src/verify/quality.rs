//! How good the detector is, by simulation: mean requests to detect against the bound, and false alarms; of each test
//! alone ([`measure`]) and of the judge with its budget ([`judge`]).
//!
//! The caller brings the randomness, a function that gives numbers evenly spread over 0 to 1 (both excluded), so that a
//! seed replays a run. Requests without an event are skipped over in one draw (gaps between events are geometric), which
//! is exact for both tests: their evidence against the release rises only at events.

use super::{
    count::{Counts, Sample, Tally},
    criteria::{Criteria, InvalidCriteria},
    eprocess::{EProcess, bound},
    judgement::Verdict,
    sprt::{Decision, Limit, Sprt},
    watch::Watch,
};

/// A change of rate that a detector is judged by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shift {
    /// The rate of a good release.
    pub good: f64,
    /// The rate of the bad one.
    pub bad: f64,
}

/// The four shifts by which the detector is judged.
pub const SHIFTS: [Shift; 4] = [
    Shift { good: 0.001, bad: 0.01 },
    Shift { good: 0.01, bad: 0.02 },
    Shift { good: 0.01, bad: 0.05 },
    Shift { good: 0.001, bad: 0.1 },
];

/// The detector to simulate, looking after every request (or every pair of blocks).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Detector {
    /// Against a limit, with the shift's two rates as acceptable and bad.
    Sprt,
    /// Against the old release, with this many old requests to each new one.
    EProcess {
        /// 1 or more.
        old_per_new: u64,
    },
}

impl Detector {
    /// The least expected number of new-release requests to detect that theory allows.
    pub fn bound(self, shift: Shift, alpha: f64, beta: f64) -> f64 {
        match self {
            Self::Sprt => sprt(shift, alpha, beta).map_or(f64::NAN, |test| test.bound_to_reject()),
            Self::EProcess { old_per_new } => bound(shift.good, shift.bad, old_per_new as f64, alpha),
        }
    }

    /// One run of a release whose true rate is `rate`: the new-release requests at which it was rejected, or `None` if it
    /// was accepted (SPRT) or not rejected within `horizon` requests.
    pub fn run(
        self,
        shift: Shift,
        rate: f64,
        alpha: f64,
        beta: f64,
        horizon: u64,
        draw: &mut impl FnMut() -> f64,
    ) -> Option<u64> {
        match self {
            Self::Sprt => run_sprt(sprt(shift, alpha, beta)?, rate, horizon, draw),
            Self::EProcess { old_per_new } => {
                run_eprocess(old_per_new.max(1), Shift { good: shift.good, bad: rate }, alpha, horizon, draw)
            }
        }
    }
}

/// What many runs of one detector on one shift showed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quality {
    /// The bound on the mean.
    pub bound: f64,
    /// Mean requests to reject a bad release, over the runs that did.
    pub mean: f64,
    /// 19 of 20 of those runs took at most this many.
    pub p95: u64,
    /// Share of the bad runs that were not rejected.
    pub missed: f64,
    /// Share of the clean runs that were rejected.
    pub false_alarms: f64,
}

/// Runs `runs` bad and five times as many clean releases (what is rare takes more runs to be counted); each gets ten times
/// the bound in requests to be rejected.
pub fn measure(
    detector: Detector,
    shift: Shift,
    alpha: f64,
    beta: f64,
    runs: u32,
    draw: &mut impl FnMut() -> f64,
) -> Quality {
    let bound = detector.bound(shift, alpha, beta);
    let horizon = (bound * 10.0) as u64;
    let mut rejected_at = |rate| detector.run(shift, rate, alpha, beta, horizon, draw);
    let mut detected: Vec<u64> = (0..runs).filter_map(|_| rejected_at(shift.bad)).collect();
    detected.sort_unstable();
    let clean = runs.saturating_mul(5);
    let alarms = (0..clean).filter(|_| rejected_at(shift.good).is_some()).count();
    let share = |count: usize, of: u32| count as f64 / f64::from(of.max(1));
    Quality {
        bound,
        mean: detected.iter().sum::<u64>() as f64 / detected.len().max(1) as f64,
        p95: detected.get(detected.len() * 19 / 20).copied().unwrap_or(0),
        missed: 1.0 - share(detected.len(), runs),
        false_alarms: share(alarms, clean),
    }
}

/// How a simulated release runs beside the old one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rollout {
    /// The old release's rates of events (errors, slow requests and those slower than its p99 alike) as `good`, the new
    /// one's as `bad`.
    pub rates: Shift,
    /// Old requests to each new one.
    pub old_per_new: u64,
    /// New requests between two readings.
    pub batch: u64,
    /// New requests after which the simulation ends undecided.
    pub horizon: u64,
}

/// One watch over two routes with equal traffic, its whole judge: the verdict, and the new-release requests it took.
///
/// A pass ends the watch only if `until_pass`; otherwise it goes on to the horizon, looking for a fail.
pub fn judge(
    criteria: &Criteria,
    rollout: Rollout,
    until_pass: bool,
    draw: &mut impl FnMut() -> f64,
) -> Result<(Verdict, u64), InvalidCriteria> {
    let mut watch = Watch::new(criteria)?;
    let mut sample = Sample::default();
    let mut requests = 0;
    loop {
        let verdict = watch.observe(&sample).verdict;
        if verdict == Verdict::Fail || requests >= rollout.horizon || (until_pass && verdict == Verdict::Pass)
        {
            return Ok((verdict, requests));
        }
        let Shift { good, bad } = rollout.rates;
        let old = sample.old.get_or_insert_default();
        for route in ["/", "/orders"] {
            let batch = (rollout.batch / 2).max(1);
            serve(sample.new.entry(route.to_owned()).or_insert(IDLE), batch, bad, draw);
            serve(old.entry(route.to_owned()).or_insert(IDLE), batch * rollout.old_per_new, good, draw);
            requests += if sample.tick == 0 { 0 } else { batch };
        }
        sample.tick += 1;
    }
}

const IDLE: Counts = Counts { requests: 0, errors: 0, slow: Some(0), slower_than_old: Some(0) };

fn serve(counts: &mut Counts, requests: u64, rate: f64, draw: &mut impl FnMut() -> f64) {
    let mut events = || {
        let positions = std::iter::successors(Some(gap(rate, draw)), |at| Some(at + 1 + gap(rate, draw)));
        positions.take_while(|at| *at < requests).count() as u64
    };
    counts.requests += requests;
    counts.errors += events();
    counts.slow = counts.slow.map(|slow| slow + events());
    counts.slower_than_old = counts.slower_than_old.map(|slow| slow + events());
}

fn sprt(shift: Shift, alpha: f64, beta: f64) -> Option<Sprt> {
    Limit::between(shift.good, shift.bad).ok().map(|limit| Sprt::new(limit, alpha, beta))
}

fn run_sprt(mut test: Sprt, rate: f64, horizon: u64, draw: &mut impl FnMut() -> f64) -> Option<u64> {
    loop {
        let quiet = gap(rate, draw).min(horizon);
        test.observe(Tally::new(quiet, 0));
        let decision = test.observe(Tally::new(1, 1));
        let seen = test.tally().requests;
        match decision {
            Decision::Reject => return Some(seen),
            Decision::Continue if seen < horizon => {}
            Decision::Accept | Decision::Continue => return None,
        }
    }
}

fn run_eprocess(
    old_per_new: u64,
    rates: Shift,
    alpha: f64,
    horizon: u64,
    draw: &mut impl FnMut() -> f64,
) -> Option<u64> {
    let mut process = EProcess::new();
    let (mut next_old, mut next_new) = (gap(rates.good, draw), gap(rates.bad, draw));
    loop {
        let block = next_new.min(next_old / old_per_new);
        if block >= horizon {
            return None;
        }
        let (mut old, mut new) = (Tally::new(old_per_new, 0), Tally::new(1, 0));
        if next_new == block {
            new.events = 1;
            next_new = next_new.saturating_add(1 + gap(rates.bad, draw));
        }
        while next_old / old_per_new == block {
            old.events += 1;
            next_old = next_old.saturating_add(1 + gap(rates.good, draw));
        }
        process.observe(old, new);
        if process.log_evidence() >= -alpha.ln() {
            return Some(block + 1);
        }
    }
}

/// Requests without an event before the next one.
fn gap(rate: f64, draw: &mut impl FnMut() -> f64) -> u64 {
    if rate >= 1.0 { 0 } else { (draw().ln() / (-rate).ln_1p()).min(1e15) as u64 }
}
