//! What the judge says, as data and as sentences.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::count::Tally;

/// The judgement in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything declared was measured, and none of it is bad.
    Pass,
    /// Something declared is bad. Final.
    Fail,
    /// Neither can be said. Hold, and say why.
    Undecided,
}

/// What is counted as an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "metric", rename_all = "snake_case")]
pub enum Metric {
    /// Requests that failed.
    Errors,
    /// Requests slower than the declared time.
    Slow {
        /// The declared time, on the wire in milliseconds.
        #[serde(rename = "than_ms", with = "milliseconds")]
        than: Duration,
    },
    /// Requests much slower than the old release's p99.
    SlowerThanOld {
        /// How slow that is, on the wire in milliseconds.
        #[serde(rename = "than_ms", with = "milliseconds")]
        than: Duration,
    },
}

mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(time.as_secs_f64() * 1e3)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let milliseconds = f64::deserialize(deserializer)?;
        Duration::try_from_secs_f64(milliseconds / 1e3).map_err(D::Error::custom)
    }
}

/// What was found about one metric, or about the readings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
pub enum Finding {
    /// Too many events for the declared limit.
    OverLimit {
        /// The new release's counts that the finding rests on.
        new: Tally,
        /// The old release's over the same time; no requests where it took none.
        old: Tally,
        /// The declared limit, from 0 to 1.
        limit: f64,
    },
    /// More events than the old release that ran beside.
    WorseThanOld {
        /// The new release's counts that the finding rests on.
        new: Tally,
        /// The old release's over the same time.
        old: Tally,
    },
    /// The limit's test accepted.
    WithinLimit {
        /// The new release's counts in this stage.
        new: Tally,
        /// The declared limit, from 0 to 1.
        limit: f64,
    },
    /// As many requests as were declared to be enough did not show the new release to be worse.
    NoWorseThanOld {
        /// The new release's counts in this stage, or nothing if the comparison was completed in an earlier one.
        new: Tally,
        /// The old release's over the same time.
        old: Tally,
    },
    /// No request of the new release was counted.
    NoData,
    /// No request of the old release was counted, so there is nothing to compare with.
    NoOldData,
    /// Requests were counted, this metric of them was not.
    NotMeasured,
    /// A counter went back or began anew, so this reading could not be used; counting goes on from it.
    CounterWentBack,
    /// More events than requests: a torn reading; it is left to the next one.
    Inconsistent,
    /// The sample is not newer than the one before.
    Repeated,
    /// The first requests of a stage are left out.
    WarmingUp {
        /// Requests that are still to be left out.
        left: u64,
    },
    /// Too few requests to pass.
    TooFew {
        /// Requests of the new release in this stage.
        have: u64,
        /// Requests needed.
        need: u64,
    },
    /// Too few requests of the old release for a comparison.
    TooFewOld {
        /// Requests of the old release in this stage.
        have: u64,
        /// Requests needed.
        need: u64,
    },
    /// The limit's test has not decided yet.
    NotSettled {
        /// The new release's counts in this stage.
        new: Tally,
        /// The declared limit, from 0 to 1.
        limit: f64,
    },
    /// The evidence that the release is bad is too little to reject and too much to pass.
    Suspicious {
        /// Events of the new release behind most of it.
        new: Tally,
        /// The old release's counts over the same time.
        old: Tally,
    },
}

/// One thing that a judgement rests on. Its `Display` is what a person reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// What was counted; `None` where the finding is about the readings.
    #[serde(flatten)]
    pub metric: Option<Metric>,
    /// On which route; `None` for all together.
    pub route: Option<String>,
    /// What was found.
    #[serde(flatten)]
    pub finding: Finding,
}

/// The verdict and what it rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// In one word.
    pub verdict: Verdict,
    /// Never empty. On fail the strongest first.
    pub reasons: Vec<Reason>,
    /// The evidence that the release is bad, to 1: about 1 or below for a good one.
    pub evidence: f64,
    /// The evidence at which the verdict is fail.
    pub fail_at: f64,
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, reason) in self.reasons.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            reason.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Errors => f.write_str("errors"),
            Self::Slow { than } => write!(f, "requests slower than {than:?}"),
            Self::SlowerThanOld { than } => {
                write!(f, "requests slower than {than:?}, well above the old release's p99")
            }
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.metric, &self.route) {
            (Some(metric), Some(route)) => write!(f, "{metric} on {route}: ")?,
            (Some(metric), None) => write!(f, "{metric}: ")?,
            (None, Some(route)) => write!(f, "{route}: ")?,
            (None, None) => {}
        }
        self.finding.fmt(f)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OverLimit { new, old, limit } => {
                write!(f, "{} against a limit of {}", Of(*new), Percent(*limit))?;
                if old.requests > 0 {
                    write!(f, "; the old release had {}", Of(*old))?;
                }
                Ok(())
            }
            Self::WorseThanOld { new, old } => {
                write!(f, "{}; the old release running beside it had {}", Of(*new), Of(*old))
            }
            Self::WithinLimit { new, limit } => {
                write!(f, "{}, within the limit of {}", Of(*new), Percent(*limit))
            }
            Self::NoWorseThanOld { new, old } if new.requests > 0 => {
                write!(f, "{}, not shown to be worse than the old release's {}", Of(*new), Of(*old))
            }
            Self::NoWorseThanOld { .. } => {
                f.write_str("not shown to be worse than the old release while it ran")
            }
            Self::NoData => f.write_str("no request of the new release was counted"),
            Self::NoOldData => {
                f.write_str("no request of the old release was counted, nothing to compare with")
            }
            Self::NotMeasured => f.write_str("requests were counted, but this was not measured"),
            Self::CounterWentBack => {
                f.write_str("a counter went back or began anew; counting goes on from there")
            }
            Self::Inconsistent => {
                f.write_str("more events than requests were read; waiting for the next reading")
            }
            Self::Repeated => f.write_str("the reading is not newer than the one before"),
            Self::WarmingUp { left } => {
                write!(f, "warming up: {} more requests are left out", Grouped(*left))
            }
            Self::TooFew { have, need } => {
                write!(f, "{} of the {} requests needed to pass", Grouped(*have), Grouped(*need))
            }
            Self::TooFewOld { have, need } => write!(
                f,
                "{} of the {} requests of the old release needed to compare",
                Grouped(*have),
                Grouped(*need)
            ),
            Self::NotSettled { new, limit } => {
                write!(
                    f,
                    "{} so far, not yet enough to be sure of the limit of {}",
                    Of(*new),
                    Percent(*limit)
                )
            }
            Self::Suspicious { new, old } => {
                write!(f, "{} looks bad, but not yet beyond doubt", Of(*new))?;
                if old.requests > 0 {
                    write!(f, "; the old release had {}", Of(*old))?;
                }
                Ok(())
            }
        }
    }
}

/// `31 of 412 (7.5 %)`.
struct Of(Tally);

impl fmt::Display for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", Grouped(self.0.events), Grouped(self.0.requests))?;
        if self.0.requests > 0 { write!(f, " ({})", Percent(self.0.share())) } else { Ok(()) }
    }
}

/// A share in percent with two significant digits, counted from 0 or from 100, whichever is nearer.
struct Percent(f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.0 * 100.0;
        let distance = percent.min(100.0 - percent);
        let decimals =
            if distance > 0.0 { (1.0 - distance.log10().floor()).clamp(0.0, 9.0) as usize } else { 0 };
        let digits = format!("{percent:.decimals$}");
        let short =
            if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { &digits };
        write!(f, "{short} %")
    }
}

/// `1,240`.
struct Grouped(u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        let percents =
            [0.0, 0.01, 0.0752, 0.0016, 0.00005, 0.5, 0.123, 0.9996, 1.0].map(|p| Percent(p).to_string());
        assert_eq!(
            percents,
            ["0 %", "1 %", "7.5 %", "0.16 %", "0.005 %", "50 %", "12 %", "99.96 %", "100 %"]
        );
        assert_eq!(
            [0, 999, 1240, 1_000_000].map(|n| Grouped(n).to_string()),
            ["0", "999", "1,240", "1,000,000"]
        );
    }

    #[test]
    fn a_reason_reads_as_a_sentence() {
        let reason = Reason {
            metric: Some(Metric::Errors),
            route: Some("/orders".to_owned()),
            finding: Finding::OverLimit { new: Tally::new(412, 31), old: Tally::new(1240, 2), limit: 0.01 },
        };
        assert_eq!(
            reason.to_string(),
            "errors on /orders: 31 of 412 (7.5 %) against a limit of 1 %; the old release had 2 of 1,240 (0.16 %)"
        );
    }
}
