//! What the demo found, for people and as data.

use std::time::{Duration, Instant};

use cutover_model::{
    ReleaseNumber,
    run::{Outcome, Run},
};
use serde::Serialize;

use super::load::{Answer, How};
use crate::say;

/// One release of the story.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    /// Its number.
    pub(super) number: ReleaseNumber,
    /// What was released.
    pub(super) story: &'static str,
    /// `done`, `reverted` or `stopped`.
    pub(super) outcome: &'static str,
    /// That was expected.
    pub(super) expected: &'static str,
    /// Requests it had answered when it was found bad; null where it was not.
    pub(super) detect_requests: Option<u64>,
    /// From the verdict until the last request was sent that it answered, in milliseconds; 0 where none was sent after the
    /// verdict; null where it was not taken back.
    pub(super) rollback_ms: Option<f64>,
    /// From the beginning of its run to its end.
    pub(super) seconds: f64,
}

/// The whole story. With `--json` exactly this is printed.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Everything held.
    pub(super) ok: bool,
    /// Requests sent.
    pub(super) requests: usize,
    /// Requests that failed, or got no answer, through no fault of a release.
    pub(super) failed_by_cutover: usize,
    /// What those met, at most ten.
    pub(super) failures: Vec<String>,
    /// Requests that bad releases failed on purpose before they were taken back.
    pub(super) failed_by_releases: usize,
    /// Requests in flight when the demo killed the host, sent again with success.
    pub(super) cut_by_kill: usize,
    /// The 99th percentile of all answers of good releases, in milliseconds.
    pub(super) p99_ms: f64,
    pub(super) releases: Vec<Told>,
    /// After `kill -9` of the host in the middle of a rollout: the rollout went on to its end, with the same replicas.
    pub(super) recovered: bool,
    /// What did not hold, a sentence each.
    pub(super) broken: Vec<String>,
}

/// The word for an outcome.
pub(super) fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Reverted { .. } => "reverted",
        Outcome::Stopped { .. } => "stopped",
    }
}

/// A release as its run and the requests tell it. `verdict` is when it was found bad.
pub(super) fn tell(
    run: &Run,
    outcome: &Outcome,
    expected: &'static str,
    story: &'static str,
    verdict: Option<Instant>,
    answers: &[Answer],
) -> Told {
    let name = run.plan.release.to_string();
    let own = || answers.iter().filter(|answer| answer.release.as_deref() == Some(name.as_str()));
    let detect =
        verdict.map(|verdict| own().filter(|answer| answer.began + answer.took <= verdict).count() as u64);
    let last = own().map(|answer| answer.began).max();
    let rollback = verdict.map(|verdict| {
        let late = last.map_or(Duration::ZERO, |last| last.saturating_duration_since(verdict));
        late.as_secs_f64() * 1000.0
    });
    Told {
        number: run.plan.release,
        story,
        outcome: word(outcome),
        expected,
        detect_requests: detect,
        rollback_ms: rollback,
        seconds: (run.latest_ms - run.began_ms) as f64 / 1000.0,
    }
}

impl Report {
    /// Sums up; `recovered` is what the kill showed.
    pub(super) fn of(
        releases: Vec<Told>,
        answers: &[Answer],
        recovered: bool,
        mut broken: Vec<String>,
    ) -> Self {
        let count = |how: &How| answers.iter().filter(|answer| answer.how == *how).count();
        let failures: Vec<String> = answers
            .iter()
            .filter_map(|answer| match &answer.how {
                How::CutoverFault(what) => Some(what.clone()),
                _ => None,
            })
            .collect();
        let bad = |answer: &&Answer| {
            let told = releases.iter().find(|told| Some(told.number.to_string()) == answer.release);
            answer.how == How::Well && told.is_some_and(|told| told.outcome == "done")
        };
        let mut took: Vec<Duration> = answers.iter().filter(bad).map(|answer| answer.took).collect();
        took.sort_unstable();
        let p99 = took.get(took.len() * 99 / 100).copied().unwrap_or_default();
        for told in releases.iter().filter(|told| told.outcome != told.expected) {
            broken.push(format!(
                "{} ({}) was {}, not {}",
                told.number, told.story, told.outcome, told.expected
            ));
        }
        if !failures.is_empty() {
            broken.push(format!("{} requests failed through Cutover", failures.len()));
        }
        if !recovered {
            broken.push("the rollout did not go on with the same replicas after the host was killed".into());
        }
        if answers.is_empty() {
            broken.push("no request was sent".into());
        }
        Self {
            ok: broken.is_empty(),
            requests: answers.len(),
            failed_by_cutover: failures.len(),
            failures: failures.into_iter().take(10).collect(),
            failed_by_releases: count(&How::ReleaseFault),
            cut_by_kill: count(&How::CutByKill),
            p99_ms: p99.as_secs_f64() * 1000.0,
            releases,
            recovered,
            broken,
        }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let head = ["release", "what it was", "how it ended", "took", "requests to detect", "rollback"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        for told in &self.releases {
            rows.push(vec![
                told.number.to_string(),
                told.story.to_owned(),
                told.outcome.to_owned(),
                format!("{:.1} s", told.seconds),
                told.detect_requests.map(|requests| requests.to_string()).unwrap_or_default(),
                told.rollback_ms.map(|ms| format!("{ms:.0} ms")).unwrap_or_default(),
            ]);
        }
        let totals = [
            format!("requests                    {:>8}", self.requests),
            format!("failed through Cutover      {:>8}", self.failed_by_cutover),
            format!(
                "failed by the bad releases  {:>8}   before they were taken back",
                self.failed_by_releases
            ),
            format!("cut by kill -9 of the host  {:>8}   sent again with success", self.cut_by_kill),
            format!("p99 of the good releases    {:>8}", format!("{:.1} ms", self.p99_ms)),
        ];
        let end = if self.ok {
            "everything held".to_owned()
        } else {
            format!("did not hold: {}", self.broken.join("; "))
        };
        format!("{}\n\n{}\n\n{end}", say::table(&rows), totals.join("\n"))
    }
}
