//! Feeds a [`Watch`] with what the gate counted: chooses what is compared with what, and says what is missing while there is
//! nothing to judge.

use std::time::Duration;

use cutover_model::{
    ReleaseNumber,
    config::Bad,
    measure::{Measures, ReleaseMeasure},
    run::Plan,
};

use crate::verify::{self, Counts, Criteria, Limit, Routes, Sample, SlowLimit, ThanOld, Watch};

/// Requests of the old release from which its p99 means something: below, less than one of them is slower.
const ENOUGH_FOR_P99: u64 = 100;

/// Differences in latency below this are nobody's.
const LEAST_FELT: Duration = Duration::from_millis(10);

/// What a watch says after a reading.
#[derive(Debug)]
pub(super) enum Verdict {
    Good(Vec<String>),
    Bad(Vec<String>),
    Undecided(Vec<String>),
}

/// The watch of one driver over one release. Holds evidence only, which a later driver gathers anew.
#[derive(Debug)]
pub(super) struct Watching {
    bad: Bad,
    new: ReleaseNumber,
    old: Option<ReleaseNumber>,
    /// The old release still gets a part of the traffic.
    beside: bool,
    /// This watch itself has found the first replica good.
    passed: bool,
    attempt: u32,
    readings: u64,
    watch: Option<(Watch, Option<Duration>)>,
}

impl Watching {
    /// `driver` counts the drivers of this run, from 1. Each may begin two watches, so the numbers of their attempts are 1 for
    /// the first, 2 and 3 for the second, and so on: none has the number of another.
    pub(super) fn new(plan: &Plan, driver: u32) -> Self {
        let bad = plan.settings.bad.clone();
        let attempt = (driver * 2).saturating_sub(2).max(1);
        Self {
            bad,
            new: plan.release,
            old: plan.from,
            beside: true,
            passed: false,
            attempt,
            readings: 0,
            watch: None,
        }
    }

    /// Whether the old release still gets a part of the traffic. A watch that begins when it does not has nothing to compare
    /// with and rests on the declared limits alone. So does one that was begun by a later driver and could not compare long
    /// enough before the old release lost its traffic: the first replica's comparison was made, and journalled, by an earlier
    /// driver.
    pub(super) fn beside(&mut self, beside: bool) {
        let left = self.beside && !beside;
        self.beside = beside;
        if left && !self.passed && self.watch.take().is_some() {
            self.attempt += 1;
        }
    }

    /// More replicas serve: the pass has to be earned anew, the evidence against the release stays.
    pub(super) fn next_stage(&mut self) {
        if let Some((watch, _)) = &mut self.watch {
            self.passed = true;
            watch.next_stage();
        }
    }

    /// Judges a reading; `None` where the source could not be read.
    pub(super) fn judge(&mut self, measures: Option<Measures>) -> Verdict {
        let Some(measures) = measures else {
            return Verdict::Undecided(vec!["the gate's counts can't be read".into()]);
        };
        if self.watch.is_none() {
            match self.begin(&measures) {
                Ok(watch) => self.watch = Some(watch),
                Err(missing) => return Verdict::Undecided(vec![missing]),
            }
        }
        let (watch, slow) = self.watch.as_mut().expect("begun above");
        self.readings += 1;
        let counts = |release| routes(measures.releases.get(&release), &self.bad, *slow);
        let sample = Sample {
            tick: self.readings,
            epoch: measures.epoch,
            new: counts(self.new),
            old: self.old.filter(|_| self.beside).map(counts),
        };
        let judgement = watch.observe(&sample);
        let findings = judgement.reasons.iter().map(ToString::to_string).collect();
        match judgement.verdict {
            verify::Verdict::Pass => Verdict::Good(findings),
            verify::Verdict::Fail => Verdict::Bad(findings),
            verify::Verdict::Undecided => Verdict::Undecided(findings),
        }
    }

    fn begin(&self, measures: &Measures) -> Result<(Watch, Option<Duration>), String> {
        let compared = self.old.filter(|_| self.bad.than_old && self.beside);
        let slow = compared.map(|old| p99_of(measures, old)).transpose()?.map(well_above);
        let limit = |share| Limit::declared(share).map_err(|error| error.to_string());
        let slow_limit = |slow: cutover_model::config::SlowerThan| {
            Ok::<_, String>(SlowLimit { than: slow.limit.get(), limit: limit(slow.share.get())? })
        };
        let error_rate = Some(self.bad.error_rate.get()).filter(|rate| *rate > 0.0);
        let criteria = Criteria {
            error_limit: error_rate.map(limit).transpose()?,
            slow_limit: self.bad.slower_than.map(slow_limit).transpose()?,
            than_old: slow.map(|slow| ThanOld { slow }),
            false_alarm: self.bad.false_alarm,
            attempt: self.attempt,
            enough_requests: self.bad.enough_requests,
            warm_up_requests: self.bad.warm_up_requests,
        };
        Ok((Watch::new(&criteria).map_err(|error| error.to_string())?, slow))
    }
}

fn p99_of(measures: &Measures, old: ReleaseNumber) -> Result<Duration, String> {
    let total = measures.releases.get(&old).map(ReleaseMeasure::total).unwrap_or_default();
    let enough = total.latency.count() >= ENOUGH_FOR_P99;
    total.latency.quantile(0.99).filter(|_| enough).ok_or_else(|| {
        format!(
            "the old release {old} has answered {} requests, too few to compare with ({ENOUGH_FOR_P99} are needed)",
            total.latency.count()
        )
    })
}

/// What counts as slower than the old release: its p99 and half as much again, and at least 10 ms more. A difference that no user
/// would feel is no reason to go back, however sure it is; a cold cache alone makes one.
fn well_above(p99: Duration) -> Duration {
    p99 + (p99 / 2).max(LEAST_FELT)
}

fn routes(measure: Option<&ReleaseMeasure>, bad: &Bad, than: Option<Duration>) -> Routes {
    let counts = |route: &cutover_model::measure::RouteMeasure| Counts {
        requests: route.requests,
        errors: route.errors,
        slow: bad.slower_than.map(|slow| route.latency.count_slower_than(slow.limit.get())),
        slower_than_old: than.map(|than| route.latency.count_slower_than(than)),
    };
    measure
        .map(|measure| measure.routes.iter().map(|(name, route)| (name.clone(), counts(route))).collect())
        .unwrap_or_default()
}
