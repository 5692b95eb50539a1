//! The judge: counts in, a judgement out.
//!
//! ```text
//! Sample ─► Meter ─► warm-up left out ─► each route's trials ─┐
//! (cumulative)  (differences)        └─► all routes' trials  ─┴─► capital ─► Judgement
//! ```
//!
//! **Fail** as soon as the capital (see [`super::budget`]) reaches its threshold; final. A route can fail the release alone.
//!
//! **Pass** when, since the stage began, for all routes together
//! - enough requests of the new release were counted;
//! - every declared limit was tested to acceptance, and the observed share is not above the limit;
//! - the comparison with the old release saw enough requests on both sides without a rejection. A one-sided e-process can't
//!   accept, so this says "not shown to be worse", and how much worse would have shown is [`super::eprocess::bound`];
//! - the capital is below [`SUSPICIOUS`] (a good release ever exceeds that with chance 1/20);
//! - and this very sample could be read in full.
//!
//! **Undecided** otherwise: no data is not good news.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    budget::{Budget, Stratum, stake},
    count::{Counts, Routes, Sample, Tally},
    criteria::{Criteria, Declared, InvalidCriteria},
    eprocess::Pairing,
    judgement::{Finding, Judgement, Reason, Verdict},
    meter::{Meter, Trouble},
    sprt::Limit,
    trial::Trial,
};

/// Capital from which on a pass is withheld.
pub const SUSPICIOUS: f64 = 20.0;

/// Routes watched one by one; further ones count as one route together, named [`OTHER_ROUTES`].
pub const MAX_ROUTES: usize = 200;

/// The name under which routes beyond [`MAX_ROUTES`] are watched.
pub const OTHER_ROUTES: &str = "(other routes)";

/// Most reasons in a judgement.
const MAX_REASONS: usize = 8;

/// The trials of one route, in the order of what was declared.
#[derive(Debug, Clone)]
struct RouteTrials {
    trials: Vec<Trial>,
    pairings: Vec<Pairing>,
}

/// What one declared thing has seen, all routes together.
#[derive(Debug, Clone)]
struct Overall {
    trial: Trial,
    new: Tally,
    old: Tally,
    /// The comparison had enough requests in some stage.
    compared: bool,
}

/// The judge of one release. Holds counts only; no clock, no input or output.
#[derive(Debug, Clone)]
pub struct Watch {
    declared: Vec<Declared>,
    overall: Vec<Overall>,
    routes: BTreeMap<String, RouteTrials>,
    /// How many routes were there at the beginning; `None` before any was seen.
    known: Option<usize>,
    later: u32,
    budget: Budget,
    enough: u64,
    warm_up: u64,
    warm_up_left: u64,
    meter: Meter,
    last_tick: Option<u64>,
    old_runs: bool,
    judgement: Judgement,
}

impl Watch {
    /// Begins to watch. The first sample sets the baseline and the routes known at the beginning.
    pub fn new(criteria: &Criteria) -> Result<Self, InvalidCriteria> {
        let declared = Declared::all(criteria);
        if declared.is_empty() {
            return Err(InvalidCriteria::NothingDeclared);
        }
        let budget = Budget::new(criteria.false_alarm, criteria.attempt)?;
        let stake = stake(declared.len(), Stratum::Together);
        let overall = declared.iter().map(|one| Overall {
            trial: one.trial(stake),
            new: Tally::default(),
            old: Tally::default(),
            compared: false,
        });
        Ok(Self {
            overall: overall.collect(),
            routes: BTreeMap::new(),
            known: None,
            later: 0,
            budget,
            enough: criteria.enough_requests.max(1),
            warm_up: criteria.warm_up_requests,
            warm_up_left: criteria.warm_up_requests,
            meter: Meter::default(),
            last_tick: None,
            old_runs: true,
            judgement: Judgement {
                verdict: Verdict::Undecided,
                reasons: vec![Reason { metric: None, route: None, finding: Finding::NoData }],
                evidence: 0.0,
                fail_at: budget.reject_at(),
            },
            declared,
        })
    }

    /// The judgement after the last sample; undecided before the first.
    pub fn judgement(&self) -> &Judgement {
        &self.judgement
    }

    /// The next stage of the same release begins, with more replicas: it must earn its pass anew, while the evidence
    /// against it and the false-alarm budget go on. Changes nothing after a fail.
    pub fn next_stage(&mut self) {
        if self.judgement.verdict == Verdict::Fail {
            return;
        }
        for overall in &mut self.overall {
            overall.trial.next_stage();
            (overall.new, overall.old) = (Tally::default(), Tally::default());
        }
        for trial in self.routes.values_mut().flat_map(|route| &mut route.trials) {
            trial.next_stage();
        }
        self.warm_up_left = self.warm_up;
        self.settle(Vec::new());
    }

    /// Counts a sample and judges. After a fail nothing is counted any more.
    pub fn observe(&mut self, sample: &Sample) -> &Judgement {
        if self.judgement.verdict == Verdict::Fail {
            return &self.judgement;
        }
        if self.last_tick.is_some_and(|last| sample.tick <= last) {
            self.settle(vec![about_readings(None, Finding::Repeated)]);
            return &self.judgement;
        }
        self.last_tick = Some(sample.tick);
        self.old_runs = sample.old.is_some();
        let step = self.meter.advance(sample);
        let mut obstacles: Vec<_> = step.troubles.into_iter().map(unreadable).collect();
        if sample.new.is_empty() {
            obstacles.push(about_readings(None, Finding::NoData));
        }
        if self.known.is_none() {
            self.know_routes(sample);
        }
        if !self.is_warming_up(&step.new) {
            self.count(&step.new, &step.old, &mut obstacles);
        }
        self.settle(obstacles);
        &self.judgement
    }

    /// Gives the routes that are there before anything was counted an equal share each. Their names are known, their
    /// outcomes are not, so the split can't lean towards what it will find.
    fn know_routes(&mut self, sample: &Sample) {
        let names: BTreeSet<_> = sample.new.keys().chain(sample.old.iter().flat_map(Routes::keys)).collect();
        if names.is_empty() {
            return;
        }
        let of = names.len().min(MAX_ROUTES);
        self.known = Some(of);
        for name in names.into_iter().take(MAX_ROUTES) {
            self.add_route(name.clone(), Stratum::Known { of });
        }
    }

    fn add_route(&mut self, name: String, stratum: Stratum) {
        let stake = stake(self.declared.len(), stratum);
        let trials = self.declared.iter().map(|one| one.trial(stake)).collect();
        let pairings = vec![Pairing::default(); self.declared.len()];
        self.routes.insert(name, RouteTrials { trials, pairings });
    }

    /// The name that a route is watched under. Unknown ones are taken in while there is room.
    fn watched_as<'a>(&mut self, name: &'a str) -> &'a str {
        let watched = if self.routes.contains_key(name) || self.routes.len() < MAX_ROUTES {
            name
        } else {
            OTHER_ROUTES
        };
        if !self.routes.contains_key(watched) {
            self.later = self.later.saturating_add(1);
            self.add_route(watched.to_owned(), Stratum::Later { nth: self.later });
        }
        watched
    }

    fn is_warming_up(&mut self, new: &Routes) -> bool {
        if self.warm_up_left == 0 {
            return false;
        }
        let requests = new.values().fold(0_u64, |sum, counts| sum.saturating_add(counts.requests));
        self.warm_up_left = self.warm_up_left.saturating_sub(requests);
        true
    }

    fn count(&mut self, new: &Routes, old: &Routes, obstacles: &mut Vec<Reason>) {
        let names: BTreeSet<_> = new.keys().chain(old.keys()).collect();
        let mut together = vec![(Tally::default(), Tally::default()); self.declared.len()];
        for name in names {
            let (new, old) = (new.get(name), old.get(name));
            if [new, old].into_iter().flatten().all(|counts| counts.requests == 0) {
                continue;
            }
            let watched = self.watched_as(name);
            for (i, declared) in self.declared.iter().enumerate() {
                let measured =
                    |counts: Option<&Counts>| counts.map_or(Some(Tally::default()), |c| declared.tally(c));
                let (Some(new), Some(old)) = (measured(new), measured(old)) else {
                    obstacles.push(declared.reason(Some(name), Finding::NotMeasured));
                    continue;
                };
                together[i].0 += new;
                together[i].1 += old;
                let Some(route) = self.routes.get_mut(watched) else { continue };
                route.trials[i].count(new, old);
                if let Some((old, new)) = route.pairings[i].join(old, new) {
                    route.trials[i].compare(new, old);
                    self.overall[i].trial.compare(new, old);
                }
            }
        }
        for (overall, (new, old)) in self.overall.iter_mut().zip(together) {
            overall.trial.count(new, old);
            overall.new += new;
            overall.old += old;
            overall.compared |=
                overall.new.requests >= self.enough && overall.old.requests >= enough_old(self.enough);
        }
    }

    fn settle(&mut self, mut obstacles: Vec<Reason>) {
        let evidence = self.trials().map(|(_, _, trial)| trial.capital()).sum();
        let fail_at = self.budget.reject_at();
        let (verdict, mut reasons) = if evidence >= fail_at {
            (Verdict::Fail, self.accusations(evidence))
        } else {
            if self.warm_up_left > 0 {
                obstacles.push(about_readings(None, Finding::WarmingUp { left: self.warm_up_left }));
            }
            obstacles.extend(self.missing());
            if evidence >= SUSPICIOUS {
                obstacles.extend(self.suspicion());
            }
            if obstacles.is_empty() {
                (Verdict::Pass, self.acquittals())
            } else {
                (Verdict::Undecided, obstacles)
            }
        };
        reasons.truncate(MAX_REASONS);
        self.judgement = Judgement { verdict, reasons, evidence, fail_at };
    }

    /// Every trial with what it is about and on which route.
    fn trials(&self) -> impl Iterator<Item = (&Declared, Option<&str>, &Trial)> {
        let overall =
            self.declared.iter().zip(&self.overall).map(|(one, overall)| (one, None, &overall.trial));
        let routes = self.routes.iter().flat_map(|(name, route)| {
            self.declared.iter().zip(&route.trials).map(move |(one, trial)| (one, Some(name.as_str()), trial))
        });
        overall.chain(routes)
    }

    /// The trials that make up the capital, the heaviest first, down to a tenth of the whole.
    fn accusations(&self, evidence: f64) -> Vec<Reason> {
        let mut heavy: Vec<_> =
            self.trials().filter(|(_, _, trial)| trial.capital() >= evidence / 10.0).collect();
        heavy.sort_by(|(_, _, a), (_, _, b)| b.capital().total_cmp(&a.capital()));
        let reason = |(declared, route, trial): (&Declared, Option<&str>, &Trial)| {
            let (new, old) = (trial.new_tally(), trial.old_tally());
            let finding = match trial.limit() {
                Some(limit) => Finding::OverLimit { new, old, limit: limit.share() },
                None => Finding::WorseThanOld { new, old },
            };
            declared.reason(route, finding)
        };
        heavy.into_iter().map(reason).collect()
    }

    fn suspicion(&self) -> Option<Reason> {
        let (declared, route, trial) =
            self.trials().max_by(|(_, _, a), (_, _, b)| a.capital().total_cmp(&b.capital()))?;
        let finding = Finding::Suspicious { new: trial.new_tally(), old: trial.old_tally() };
        Some(declared.reason(route, finding))
    }

    /// What is still missing for a pass.
    fn missing(&self) -> Vec<Reason> {
        let each = self.declared.iter().zip(&self.overall);
        each.filter_map(|(declared, overall)| {
            let finding = match declared.limit {
                Some(limit) => self.missing_for_limit(overall, limit),
                None => self.missing_for_comparison(overall),
            };
            finding.map(|finding| declared.reason(None, finding))
        })
        .collect()
    }

    fn missing_for_limit(&self, overall: &Overall, limit: Limit) -> Option<Finding> {
        let new = overall.new;
        let settled = overall.trial.accepted() && new.share() <= limit.share();
        if new.requests == 0 {
            Some(Finding::NoData)
        } else if new.requests < self.enough {
            Some(Finding::TooFew { have: new.requests, need: self.enough })
        } else {
            (!settled).then_some(Finding::NotSettled { new, limit: limit.share() })
        }
    }

    fn missing_for_comparison(&self, overall: &Overall) -> Option<Finding> {
        let (new, old) = (overall.new.requests, overall.old.requests);
        let need_old = enough_old(self.enough);
        if !self.old_runs {
            return (!overall.compared).then_some(Finding::NoOldData);
        }
        if new == 0 {
            Some(Finding::NoData)
        } else if old == 0 {
            Some(Finding::NoOldData)
        } else if new < self.enough {
            Some(Finding::TooFew { have: new, need: self.enough })
        } else {
            (old < need_old).then_some(Finding::TooFewOld { have: old, need: need_old })
        }
    }

    fn acquittals(&self) -> Vec<Reason> {
        let each = self.declared.iter().zip(&self.overall);
        each.map(|(declared, overall)| {
            let (new, old) = (overall.new, overall.old);
            let finding = match declared.limit {
                Some(limit) => Finding::WithinLimit { new, limit: limit.share() },
                None if self.old_runs => Finding::NoWorseThanOld { new, old },
                None => Finding::NoWorseThanOld { new: Tally::default(), old: Tally::default() },
            };
            declared.reason(None, finding)
        })
        .collect()
    }
}

/// A comparison is worth little against a handful: a tenth of what is enough for the new release.
fn enough_old(enough: u64) -> u64 {
    enough.div_ceil(10)
}

fn about_readings(route: Option<String>, finding: Finding) -> Reason {
    Reason { metric: None, route, finding }
}

fn unreadable(trouble: Trouble) -> Reason {
    match trouble {
        Trouble::WentBack { route } => about_readings(route, Finding::CounterWentBack),
        Trouble::Inconsistent { route } => about_readings(Some(route), Finding::Inconsistent),
    }
}
