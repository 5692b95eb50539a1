//! Is a share of events (errors, slow requests) above a declared limit? Wald's sequential probability ratio test.
//!
//! With `n` requests and `k` events, the logarithm of the likelihood ratio of "bad" (p₁) to "acceptable" (p₀) is
//!
//! ```text
//! Λ = k ln(p₁/p₀) + (n − k) ln((1−p₁)/(1−p₀))
//!
//!  Λ ≥ ln(1/α) ── reject: the share is too high
//!  Λ ≤ ln β    ── accept
//!  between     ── go on counting
//! ```
//!
//! Both promises hold however often and however irregularly one looks, and whatever the overshoot: under p₀ the ratio
//! is a martingale that begins at 1, so by Ville's inequality (1939) it ever reaches 1/α with chance at most α; under
//! p₁ its inverse is one, so it ever falls to β with chance at most β. Wald's own boundaries, ln((1−β)/α) and
//! ln(β/(1−α)), assume no overshoot and differ by less than β; we take the pair that needs no assumption. Overshoot
//! (a batch, or the last event, carries Λ past the boundary) only makes the test more cautious than declared.
//!
//! Λ depends on the totals alone, so it is the same however the counts were cut into batches.
//!
//! Expected requests to a decision, ignoring overshoot (Wald, "Sequential tests of statistical hypotheses", Annals of
//! Mathematical Statistics 16, 1945): see [`Sprt::bound_to_reject`] and [`Sprt::bound_to_accept`].

use serde::{Deserialize, Serialize};

use super::count::Tally;

/// The pair of shares that a limit is tested by: what is acceptable and what is bad; between them either may be said.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    declared: f64,
    acceptable: f64,
    bad: f64,
}

/// Why a limit can't be tested.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum InvalidLimit {
    /// Not a share strictly between nothing and everything.
    #[error("a limit of {0} can't be tested: give a share above 0 and below 1, such as 0.01 for 1 %")]
    OutOfRange(f64),
    /// The two shares do not leave anything between them.
    #[error("an acceptable share of {acceptable} is not below a bad one of {bad}: leave a gap between them")]
    NoGap {
        /// The share said to be acceptable.
        acceptable: f64,
        /// The share said to be bad.
        bad: f64,
    },
}

impl Limit {
    /// How far, in odds, acceptable and bad lie below and above a declared limit.
    const SPREAD: f64 = 2.0;
    /// Keeps every logarithm finite and every step of Λ above rounding.
    const SMALLEST: f64 = 1e-9;

    /// The test of "bad is more than this share": acceptable at half the declared odds, bad at twice.
    ///
    /// The declared limit itself is the watershed, so that the verdict agrees with what a person reads off the counts:
    /// the slope at which Λ neither rises nor falls is between 1 and 1.1 limits (for limits up to 50 %), hence no
    /// release is rejected while its observed share is below the limit. Setting bad at the limit itself, with
    /// acceptable at a tenth of it, would detect with fewer requests but would reject most releases at half the limit,
    /// though the team declared that to be fine. Odds instead of shares keep both within 0 to 1 for any limit; below
    /// 10 % the difference is small.
    ///
    /// One event adds at most ln 4 to Λ, so no conviction at α = 0.001 stands on fewer than five events.
    pub fn declared(share: f64) -> Result<Self, InvalidLimit> {
        let declared = in_range(share)?;
        let odds = declared / (1.0 - declared);
        let from_odds = |odds: f64| odds / (1.0 + odds);
        let (acceptable, bad) = (from_odds(odds / Self::SPREAD), from_odds(odds * Self::SPREAD));
        Ok(Self { declared, acceptable, bad })
    }

    /// A limit given by both shares: at or below `acceptable` the false alarm is bounded, at or above `bad` the miss.
    /// The declared limit that people read is `bad`.
    pub fn between(acceptable: f64, bad: f64) -> Result<Self, InvalidLimit> {
        let (acceptable, bad) = (in_range(acceptable)?, in_range(bad)?);
        if acceptable >= bad {
            return Err(InvalidLimit::NoGap { acceptable, bad });
        }
        Ok(Self { declared: bad, acceptable, bad })
    }

    /// The limit as people declared it.
    pub fn share(&self) -> f64 {
        self.declared
    }

    /// p₀: shares up to this one are rejected with chance at most α.
    pub fn acceptable(&self) -> f64 {
        self.acceptable
    }

    /// p₁: shares from this one up are accepted with chance at most β.
    pub fn bad(&self) -> f64 {
        self.bad
    }
}

fn in_range(share: f64) -> Result<f64, InvalidLimit> {
    let inside = (Limit::SMALLEST..=1.0 - Limit::SMALLEST).contains(&share);
    if inside { Ok(share) } else { Err(InvalidLimit::OutOfRange(share)) }
}

/// What a test with two boundaries says so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The share is too high.
    Reject,
    /// The share is acceptable.
    Accept,
    /// Not enough evidence for either.
    Continue,
}

/// The running test. Stays at its first decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Sprt {
    limit: Limit,
    alpha: f64,
    beta: f64,
    tally: Tally,
    decision: Decision,
}

impl Sprt {
    /// A test of `limit` with chances of false alarm `alpha` and of a miss `beta`, each cut to 1e-300..=0.5.
    pub fn new(limit: Limit, alpha: f64, beta: f64) -> Self {
        let chance = |chance: f64| if chance.is_nan() { 1e-300 } else { chance.clamp(1e-300, 0.5) };
        Self {
            limit,
            alpha: chance(alpha),
            beta: chance(beta),
            tally: Tally::default(),
            decision: Decision::Continue,
        }
    }

    /// Counts a batch and looks once. After a decision nothing is counted any more.
    pub fn observe(&mut self, batch: Tally) -> Decision {
        if self.decision == Decision::Continue {
            self.tally += Tally::new(batch.requests, batch.events);
            let evidence = self.log_evidence();
            if evidence >= self.reject_at() {
                self.decision = Decision::Reject;
            } else if evidence <= self.accept_at() {
                self.decision = Decision::Accept;
            }
        }
        self.decision
    }

    /// What the test says so far.
    pub fn decision(&self) -> Decision {
        self.decision
    }

    /// What was counted up to the decision.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// The limit under test.
    pub fn limit(&self) -> Limit {
        self.limit
    }

    /// Λ: the logarithm of the likelihood ratio, finite for any counts. 0 before anything was counted.
    pub fn log_evidence(&self) -> f64 {
        let events = self.tally.events as f64;
        let others = self.tally.requests.saturating_sub(self.tally.events) as f64;
        events * self.per_event() - others * self.per_other()
    }

    /// ln(1/α), the boundary of rejection.
    pub fn reject_at(&self) -> f64 {
        -self.alpha.ln()
    }

    /// ln β, the boundary of acceptance.
    pub fn accept_at(&self) -> f64 {
        self.beta.ln()
    }

    /// Requests without a single event that reach acceptance: no release passes on fewer.
    pub fn fewest_to_accept(&self) -> u64 {
        (-self.accept_at() / self.per_other()).ceil() as u64
    }

    /// Wald's bound on the expected requests to reject at p₁:
    /// `[(1−β) ln((1−β)/α) + β ln(β/(1−α))] / KL(p₁‖p₀)`.
    pub fn bound_to_reject(&self) -> f64 {
        let (a, b) = self.wald();
        ((1.0 - self.beta) * a + self.beta * b) / divergence(self.limit.bad, self.limit.acceptable)
    }

    /// Wald's bound on the expected requests to accept at p₀:
    /// `[(1−α) |ln(β/(1−α))| − α ln((1−β)/α)] / KL(p₀‖p₁)`.
    pub fn bound_to_accept(&self) -> f64 {
        let (a, b) = self.wald();
        ((1.0 - self.alpha) * -b - self.alpha * a) / divergence(self.limit.acceptable, self.limit.bad)
    }

    fn wald(&self) -> (f64, f64) {
        (((1.0 - self.beta) / self.alpha).ln(), (self.beta / (1.0 - self.alpha)).ln())
    }

    fn per_event(&self) -> f64 {
        (self.limit.bad / self.limit.acceptable).ln()
    }

    fn per_other(&self) -> f64 {
        (-self.limit.acceptable).ln_1p() - (-self.limit.bad).ln_1p()
    }
}

/// Kullback-Leibler divergence of two coins, in nats: `p ln(p/q) + (1−p) ln((1−p)/(1−q))`, with 0 ln 0 = 0.
///
/// Infinite where `q` rules out what `p` allows.
pub fn divergence(p: f64, q: f64) -> f64 {
    let term = |p: f64, q: f64| if p == 0.0 { 0.0 } else { p * (p / q).ln() };
    term(p, q) + term(1.0 - p, 1.0 - q)
}
