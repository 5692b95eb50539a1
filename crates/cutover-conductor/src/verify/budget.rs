//! One declared chance of a false alarm, spent once however many things are watched.
//!
//! Every test is an e-process: evidence that begins at 1 and, while the release is not bad, is expected never to grow.
//! Each is given a stake, a part of one capital of 1; all stakes together never exceed it. The capital grown out of them is
//! then an e-process itself, whatever the dependence between the tests, and by Ville's inequality ever reaches 1/α with
//! chance at most α. So the watch rejects when the sum over tests of stake × evidence reaches 1/α.
//!
//! That contains the weighted Bonferroni split (one test alone reaching 1/(stake × α) is enough) and is better than it
//! wherever several tests speak at once, as they do when all routes of a release fail.
//!
//! ```text
//! capital 1 ─┬─ split equally over the declared tests (errors or slowness, by limit or against the old release)
//!            └─ each: 1/2 all routes together
//!                     4/10 equally over the routes known when the watch began
//!                     1/10 over routes that appear later, the i-th of them by 1/(i(i+1))
//!               each: 8/10 for the first episode of the test, 2/10 over later ones, the k-th by 1/((k−1)k)
//! ```
//! The series add up to 1, so the total stays within the budget however many routes or episodes there will be. The same
//! is done over attempts: a conductor that was killed and starts to watch afresh forgets the evidence, and with it how
//! near to a false alarm the first attempt came. The second attempt therefore gets a later, smaller part of α.

use serde::{Deserialize, Serialize};

/// Parts of a whole for a list that has no end: a first, large one, and ever smaller ones that never use it up.
///
/// `first`, then `(1 − first)/((k−1)k)` for k = 2, 3, …; the sum up to the k-th is `1 − (1 − first)/k`.
fn part(first: f64, index: u32) -> f64 {
    let k = f64::from(index.max(1));
    if k == 1.0 { first } else { (1.0 - first) / ((k - 1.0) * k) }
}

/// The declared chance of rolling back a good release, and which attempt of the same watch this is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    false_alarm: f64,
    attempt: u32,
}

/// The declared chance of a false alarm is not a chance that can be kept.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("a false-alarm chance of {0} can't be kept: give one above 0 and at most 0.5, such as 0.001")]
pub struct InvalidChance(pub f64);

impl Budget {
    const FIRST: f64 = 0.8;
    const TOGETHER: f64 = 0.5;
    const KNOWN: f64 = 0.4;
    const LATER: f64 = 0.1;

    /// A budget of `false_alarm` (above 0, at most 0.5) over all attempts, of which this is the `attempt`-th. The first
    /// is 1, and 0 counts as 1.
    pub fn new(false_alarm: f64, attempt: u32) -> Result<Self, InvalidChance> {
        let possible = (1e-12..=0.5).contains(&false_alarm);
        if possible {
            Ok(Self { false_alarm, attempt: attempt.max(1) })
        } else {
            Err(InvalidChance(false_alarm))
        }
    }

    /// What this attempt may use of the chance: 8/10 for the first, 1/10 for the second, 1/30, 1/60, …
    pub fn chance(&self) -> f64 {
        self.false_alarm * part(Self::FIRST, self.attempt)
    }

    /// The capital at which the release is rejected: the inverse of [`Budget::chance`].
    pub fn reject_at(&self) -> f64 {
        1.0 / self.chance()
    }
}

/// What a test watches: all routes together, or one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stratum {
    Together,
    /// One of `of` routes that were known at the beginning.
    Known {
        of: usize,
    },
    /// The `nth` route that appeared later, from 1.
    Later {
        nth: u32,
    },
}

/// The part of the capital for one of `tests` declared tests on one stratum, over all its episodes.
pub(super) fn stake(tests: usize, stratum: Stratum) -> f64 {
    let of_test = match stratum {
        Stratum::Together => Budget::TOGETHER,
        Stratum::Known { of } => Budget::KNOWN / of.max(1) as f64,
        Stratum::Later { nth } => Budget::LATER * part(0.5, nth),
    };
    of_test / tests.max(1) as f64
}

/// The part of a test's stake for its `episode`-th episode, from 1.
pub(super) fn episode_part(episode: u32) -> f64 {
    part(Budget::FIRST, episode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_of_routes_episodes_and_attempts_uses_more_than_the_budget() {
        for tests in 1..=4 {
            for known in [0_usize, 1, 7, 200] {
                let routes = known as f64 * stake(tests, Stratum::Known { of: known });
                let later: f64 = (1..10_000).map(|nth| stake(tests, Stratum::Later { nth })).sum();
                let all = (stake(tests, Stratum::Together) + routes + later) * tests as f64;
                assert!(all <= 1.0 + 1e-12, "{tests} tests, {known} routes: {all}");
            }
        }
        let episodes: f64 = (1..10_000).map(episode_part).sum();
        assert!((0.99..=1.0).contains(&episodes), "{episodes}");
        let attempts: f64 =
            (0..10_000).filter(|n| *n != 0).map(|n| Budget::new(0.001, n).unwrap().chance()).sum();
        assert!(attempts <= 0.001, "{attempts}");
    }

    #[test]
    fn a_budget_that_cannot_be_kept_is_refused() {
        for bad in [0.0, -0.1, 0.6, f64::NAN, f64::INFINITY] {
            assert!(Budget::new(bad, 1).is_err(), "{bad}");
        }
    }
}
