//! Is the new release worse than the old one that runs beside it? A one-sided, two-sample e-process on counts.
//!
//! # The evidence
//! A batch is what both releases did in the same span of time: `n` new and `m` old requests, with `x` events among
//! the new and `k` among both. Let π = n/(n+m). If the new release is no worse, each of the `k` events had no more than
//! chance π of falling on the new one. For an odds ratio ω > 1 the batch multiplies the evidence by
//!
//! ```text
//! f(x) = ω^x / (1 − π + πω)^k
//! ```
//!
//! the likelihood ratio of "an event falls on the new release with odds ω·n : m" to "with odds n : m". The e-process is
//! the average over a few fixed ω of the product of these factors over batches (the method of mixtures; Robbins, 1970).
//!
//! # Why it never lies, however often one looks
//! If both releases have the same rate (whatever it is, and even if it changes from batch to batch), then given n, m
//! and k, x is hypergeometric. f is convex in x, and the expectation of a convex function under drawing without
//! replacement is at most that under drawing with replacement (Hoeffding, "Probability inequalities for sums of bounded
//! random variables", 1963, theorem 4), which is exactly 1. If the new release is better, x is stochastically smaller
//! and f grows with x, so the expectation is smaller still. So the product is a non-negative supermartingale that
//! begins at 1; so is the average over ω; by Ville's inequality it ever reaches 1/α with chance at most α.
//!
//! All that is asked of the data is that the routing of a request does not depend on how it will end. In particular
//! - no order within a batch is needed: only totals enter, so nothing is simulated and no seed is kept;
//! - batches may have any size and any ratio, and ratios may change as a rollout advances;
//! - a batch that had only one of the two releases leaves the evidence unchanged (f = 1). [`Pairing`] keeps such counts
//!   and joins them to the next ones until both have requests. What decides on joining is the number of requests, never
//!   the outcomes;
//! - batches of several routes may be multiplied, each route compared with itself (a stratified test).
//!
//! While the ratio stays the same, the evidence depends on the totals alone: how they were cut into batches is
//! irrelevant.
//!
//! # Relation to Turner, Ly and Grünwald
//! Their two-stream e-variable for a block of fixed ratio (arXiv 2106.02693) estimates two rates, both predicted from
//! the past, so it must know the order in which the outcomes came, or invent one. For the rare events that are counted
//! here, p₀(1−p₀) ≈ p₀, the labels of the events carry the same information, one parameter (ω) is left to learn instead of
//! two, and the order drops out. The bound is the same, `ln(1/α) / [r KL(p₀‖p̄) + KL(p₁‖p̄)]` new requests with
//! p̄ = (r p₀ + p₁)/(r+1) (see [`bound`]); measured means are 1.1 to 1.3 times it, theirs 1.2 to 1.4.
//! The price: where events are not rare (the old release fails 40 % of its requests) it needs up to about twice and a
//! half the bound. That is still only about a hundred requests.

use super::{count::Tally, sprt::divergence};

/// The odds ratios that the evidence averages over, each with the same weight.
///
/// Spread so that any ratio from 1.6 up has one near it (in nats per event), few so that the average costs little: at
/// most ln 5 = 1.6 against a test told the right one beforehand. The smallest sets what is too little to act on: at equal
/// traffic a new release with less than 1.26 times the events of the old one is, in the long run, never convicted.
/// The largest caps what a single event can add: ln 80 = 4.4, so that no conviction at α = 0.001 stands on one.
const RATIOS: [f64; 5] = [1.6, 2.5, 5.0, 15.0, 80.0];

/// The running evidence. It only rejects: a one-sided e-process has no boundary of acceptance.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EProcess {
    log_products: [f64; RATIOS.len()],
}

impl EProcess {
    /// No evidence yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts what both releases did in the same span of time, on the same route.
    pub fn observe(&mut self, old: Tally, new: Tally) {
        if old.requests == 0 || new.requests == 0 {
            return;
        }
        let on_new = new.events.min(new.requests) as f64;
        let on_both = on_new + old.events.min(old.requests) as f64;
        let chance = new.requests as f64 / (new.requests as f64 + old.requests as f64);
        for (log_product, ratio) in self.log_products.iter_mut().zip(RATIOS) {
            *log_product += on_new * ratio.ln() - on_both * (chance * (ratio - 1.0)).ln_1p();
        }
    }

    /// The logarithm of the evidence that the new release is worse, finite for any counts. 0 at the beginning; reject
    /// at ln(1/α).
    pub fn log_evidence(&self) -> f64 {
        let largest = self.log_products.iter().copied().fold(f64::MIN, f64::max);
        let sum: f64 = self.log_products.iter().map(|product| (product - largest).exp()).sum();
        largest + (sum / RATIOS.len() as f64).ln()
    }
}

/// Holds counts back until both releases have some, so that thin traffic is not lost to the comparison.
///
/// On a route with a request every few readings, "the same span of time" then becomes a few readings long.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pairing {
    old: Tally,
    new: Tally,
}

impl Pairing {
    /// Adds counts; gives back all that was held, old and new, once both have requests.
    pub fn join(&mut self, old: Tally, new: Tally) -> Option<(Tally, Tally)> {
        self.old += old;
        self.new += new;
        let both = self.old.requests > 0 && self.new.requests > 0;
        both.then(|| (std::mem::take(&mut self.old), std::mem::take(&mut self.new)))
    }
}

/// The bound on the expected new-release requests to reject, when the old release fails `old_rate` and the new one
/// `new_rate` of the requests and `per_new` old requests come with each new one: `ln(1/α) / [r KL(p₀‖p̄) + KL(p₁‖p̄)]`,
/// p̄ = (r p₀ + p₁)/(r+1) (growth rate of the optimal e-variable, Turner, Ly and Grünwald, arXiv 2106.02693).
///
/// Infinite where the rates are equal.
pub fn bound(old_rate: f64, new_rate: f64, per_new: f64, alpha: f64) -> f64 {
    let mean = (per_new * old_rate + new_rate) / (per_new + 1.0);
    -alpha.ln() / (per_new * divergence(old_rate, mean) + divergence(new_rate, mean))
}
