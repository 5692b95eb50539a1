//! One test with its stake. It is begun anew when what is left of its evidence is no use any more, so that a release that
//! turns bad late is caught soon: a good hour is no alibi for the next minute.
//!
//! An episode ends when the limit's test accepts, or when the next episode's part of the stake is worth more than this
//! one's part with its evidence. Whatever evidence an ended episode had is given up, which only lowers the capital.

use super::{
    budget::episode_part,
    count::Tally,
    eprocess::EProcess,
    sprt::{Decision, Limit, Sprt},
};

/// The chance that a limit's test accepts a release that is truly bad.
pub(super) const MISS: f64 = 0.01;

#[derive(Debug, Clone)]
enum Test {
    Limit(Sprt),
    ThanOld(EProcess),
}

#[derive(Debug, Clone)]
pub(super) struct Trial {
    test: Test,
    stake: f64,
    episode: u32,
    new: Tally,
    old: Tally,
    accepted: bool,
}

impl Trial {
    pub(super) fn by_limit(limit: Limit, stake: f64) -> Self {
        Self::begin(Test::Limit(limit_test(limit)), stake)
    }

    pub(super) fn than_old(stake: f64) -> Self {
        Self::begin(Test::ThanOld(EProcess::new()), stake)
    }

    fn begin(test: Test, stake: f64) -> Self {
        Self { test, stake, episode: 1, new: Tally::default(), old: Tally::default(), accepted: false }
    }

    /// Counts a batch of the limit's test.
    pub(super) fn count(&mut self, new: Tally, old: Tally) {
        let Test::Limit(sprt) = &mut self.test else { return };
        self.new += new;
        self.old += old;
        if sprt.observe(new) == Decision::Accept {
            self.accepted = true;
            self.next_episode();
        }
    }

    /// Counts a pair of batches of the comparison.
    pub(super) fn compare(&mut self, new: Tally, old: Tally) {
        let Test::ThanOld(process) = &mut self.test else { return };
        self.new += new;
        self.old += old;
        process.observe(old, new);
        if self.is_spent() {
            self.next_episode();
        }
    }

    /// The watch turns to its next stage: acceptance has to be earned again, and not with earlier good counts.
    pub(super) fn next_stage(&mut self) {
        self.accepted = false;
        let exonerating = matches!(self.test, Test::Limit(_)) && self.log_evidence() < 0.0;
        if exonerating || self.is_spent() {
            self.next_episode();
        }
    }

    fn is_spent(&self) -> bool {
        episode_part(self.episode.saturating_add(1)) > episode_part(self.episode) * self.evidence()
    }

    fn next_episode(&mut self) {
        self.episode = self.episode.saturating_add(1);
        self.new = Tally::default();
        self.old = Tally::default();
        match &mut self.test {
            Test::Limit(sprt) => *sprt = limit_test(sprt.limit()),
            Test::ThanOld(process) => *process = EProcess::new(),
        }
    }

    fn log_evidence(&self) -> f64 {
        match &self.test {
            Test::Limit(sprt) => sprt.log_evidence(),
            Test::ThanOld(process) => process.log_evidence(),
        }
    }

    /// The evidence of this episode that the release is bad, from 0 up; cut off far beyond any threshold, so that sums of
    /// them stay finite.
    pub(super) fn evidence(&self) -> f64 {
        self.log_evidence().min(600.0).exp()
    }

    /// What the stake has grown to.
    pub(super) fn capital(&self) -> f64 {
        self.stake * episode_part(self.episode) * self.evidence()
    }

    /// True if the limit's test accepted since the stage began.
    pub(super) fn accepted(&self) -> bool {
        self.accepted
    }

    /// The limit under test, or `None` for the comparison.
    pub(super) fn limit(&self) -> Option<Limit> {
        match &self.test {
            Test::Limit(sprt) => Some(sprt.limit()),
            Test::ThanOld(_) => None,
        }
    }

    /// The new release's counts that the evidence rests on.
    pub(super) fn new_tally(&self) -> Tally {
        self.new
    }

    /// The old release's counts over the same time.
    pub(super) fn old_tally(&self) -> Tally {
        self.old
    }
}

/// The capital decides on rejection, so the test's own boundary is set out of reach.
fn limit_test(limit: Limit) -> Sprt {
    Sprt::new(limit, f64::MIN_POSITIVE, MISS)
}
