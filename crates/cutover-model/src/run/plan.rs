//! The plan of a run: what shall happen, in which order, validated and never changed after.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Identity;
use crate::{
    config::{Approval, Settings},
    id::{GitSha, ReleaseNumber},
};

/// What shall happen. The order of steps is fixed; what each runs is the team's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// A new release, or a return to an old one.
    pub kind: Kind,
    /// The release that shall serve when the run is done.
    pub release: ReleaseNumber,
    /// The release that served when the plan was made: what the run goes back to.
    pub from: Option<ReleaseNumber>,
    /// What the release is made from.
    pub commit: Commit,
    /// Who began the run.
    pub by: Identity,
    /// The rules it runs under.
    pub settings: Settings,
}

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Make a new release and let it serve.
    Release,
    /// Let an earlier release serve again.
    Rollback,
}

/// A commit as people know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Its id.
    pub sha: GitSha,
    /// The first line of its message.
    pub subject: String,
}

/// A share of traffic in whole hundredths of a percent, 0 to 10,000: exact, so that steps can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Portion(u16);

impl Portion {
    /// All traffic.
    pub const ALL: Self = Self(10_000);

    /// `part` of `whole`, rounded down but never to nothing; all of it where `part` is `whole` or more.
    pub fn of(part: u32, whole: u32) -> Self {
        let portion = u64::from(part) * 10_000 / u64::from(whole.max(1));
        Self(portion.clamp(1, 10_000) as u16)
    }

    /// A share of 0 to 1, rounded likewise.
    pub fn from_share(share: f64) -> Self {
        Self((share * 10_000.0).clamp(1.0, 10_000.0) as u16)
    }

    /// As a share of 0 to 1.
    pub fn share(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

impl fmt::Display for Portion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.0) / 100.0)
    }
}

/// One journalled thing a run does. Every step may be performed again after an interruption: it looks at what is there
/// and does the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// Run the declared checks in a clean tree of the commit.
    Checks,
    /// Build the artifact in that tree and keep it.
    Build,
    /// Wait for somebody's approval.
    Approval,
    /// Apply the release's expand migrations.
    Migrate,
    /// Let so many replicas of the release be ready and carry that portion of traffic.
    Advance {
        /// Ready replicas of the release, in all.
        replicas: u32,
        /// The release's share of traffic once they are.
        portion: Portion,
    },
    /// Watch the release until there is a verdict.
    Verify {
        /// How many of its replicas serve meanwhile.
        replicas: u32,
    },
    /// Run the smoke command against the new release.
    Smoke,
    /// Retire the old release and prune artifacts.
    Finish,
    /// Give all traffic back to the old release and retire the new one.
    Revert,
}

impl Step {
    /// False where dropping the step in the middle could leave something half-done; an abort then waits for its end.
    pub fn can_be_cut(self) -> bool {
        !matches!(self, Self::Migrate | Self::Finish | Self::Revert)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checks => f.write_str("checks"),
            Self::Build => f.write_str("build"),
            Self::Approval => f.write_str("approval"),
            Self::Migrate => f.write_str("migrate (expand)"),
            Self::Advance { replicas, portion } => write!(f, "advance to {replicas} (traffic {portion})"),
            Self::Verify { replicas } => write!(f, "verify with {replicas}"),
            Self::Smoke => f.write_str("smoke"),
            Self::Finish => f.write_str("finish"),
            Self::Revert => f.write_str("revert"),
        }
    }
}

impl Plan {
    /// The steps in their order. Never empty.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = match self.kind {
            Kind::Release => self.preparation(),
            // A kept artifact is taken as it is; one that was pruned is built again from its commit.
            Kind::Rollback => [Some(Step::Build), self.approval()].into_iter().flatten().collect(),
        };
        steps.extend(self.rollout());
        if self.kind == Kind::Release && self.settings.smoke.is_some() {
            steps.push(Step::Smoke);
        }
        steps.push(Step::Finish);
        steps
    }

    fn approval(&self) -> Option<Step> {
        (self.settings.place.approval != Approval::None).then_some(Step::Approval)
    }

    fn preparation(&self) -> Vec<Step> {
        let checks = (!self.settings.checks.is_empty()).then_some(Step::Checks);
        let migrate = self.settings.migrations.is_some().then_some(Step::Migrate);
        [checks, Some(Step::Build), self.approval(), migrate].into_iter().flatten().collect()
    }

    /// One replica with the canary's share, watched; then one by one, watched again at the end. Without an old release there
    /// is nothing to protect, to compare with or to go back to, and a rollback must not wait for a verdict on a release that
    /// was judged before: both advance at once.
    fn rollout(&self) -> Vec<Step> {
        let all = self.settings.place.replicas;
        let whole = Step::Advance { replicas: all, portion: Portion::ALL };
        if self.from.is_none() || self.kind == Kind::Rollback {
            return vec![whole];
        }
        let verify = |replicas| (!self.settings.bad.watch.is_zero()).then_some(Step::Verify { replicas });
        let canary = Portion::from_share(self.settings.place.canary.get()).min(Portion::of(1, all));
        let mut steps = vec![Step::Advance { replicas: 1, portion: canary }];
        steps.extend(verify(1));
        steps.extend(
            (2..=all).map(|replicas| Step::Advance { replicas, portion: Portion::of(replicas, all) }),
        );
        if all == 1 && canary < Portion::ALL {
            steps.push(whole);
        }
        if steps.len() > 2 {
            steps.extend(verify(all));
        }
        steps
    }
}
