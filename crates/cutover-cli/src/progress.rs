//! Shows a run while it goes on: for people on standard error, with a spinner and colour on a terminal; for programs a line
//! of JSON for each event on standard output.

use std::{
    collections::BTreeMap,
    io::IsTerminal,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use cutover_conductor::ports::{Notify, Progress};
use cutover_model::run::{Event, Note, Outcome, Plan, Record, Step, Waiting};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    args::{Global, Json},
    say,
};

/// Shows a run's progress.
#[derive(Debug)]
pub(crate) struct Screen {
    json: Option<Json>,
    verbose: bool,
    colour: bool,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    began: Option<Instant>,
    spinner: Option<ProgressBar>,
    /// Every event, with the moment this process had it.
    recorded: Vec<(Instant, Record)>,
}

impl Screen {
    pub(crate) fn new(global: &Global) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { json: global.json, verbose: global.verbose > 0, colour, inner: Mutex::default() }
    }

    fn show(&self, inner: &mut Inner, event: &Event) {
        match event {
            Event::Planned { plan } => say::note(&headline(plan)),
            Event::Driving { .. } => {}
            Event::Intended { step, .. } => self.begin(inner, *step),
            Event::Succeeded { step, note } => {
                let took = inner.finish();
                let detail = describe(note);
                say::note(&format!(
                    "  {} {:<34} {:>8}  {detail}",
                    self.paint(GREEN, "✓"),
                    step.to_string(),
                    seconds(took)
                ));
            }
            Event::Failed { step, cause } => {
                let took = inner.finish();
                say::note(&format!(
                    "  {} {:<34} {:>8}  {cause}",
                    self.paint(RED, "✗"),
                    step.to_string(),
                    seconds(took)
                ));
            }
            Event::Held { why } => {
                inner.stop();
                say::note(&format!("  {} no verdict: {why}", self.paint(YELLOW, "?")));
            }
            Event::Approved { by } => say::note(&format!("  {} approved by {by}", self.paint(GREEN, "✓"))),
            Event::AbortRequested { by, reason } => {
                let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
                say::note(&format!("  {} {by} wants to go back{reason}", self.paint(YELLOW, "!")));
            }
            Event::Ended { outcome } => {
                inner.stop();
                tracing::debug!(?outcome, "ended");
            }
        }
    }

    fn begin(&self, inner: &mut Inner, step: Step) {
        inner.stop();
        inner.began = Some(Instant::now());
        if self.colour {
            let style = ProgressStyle::with_template("  {spinner} {msg}").expect("a constant template");
            let spinner = ProgressBar::new_spinner().with_style(style).with_message(step.to_string());
            spinner.enable_steady_tick(Duration::from_millis(100));
            inner.spinner = Some(spinner);
        }
    }

    fn detail(&self, inner: &Inner, text: &str) {
        if let Some(spinner) = &inner.spinner {
            let step = spinner.message();
            let step = step.split(" · ").next().unwrap_or_default();
            spinner.set_message(format!("{step} · {text}"));
        }
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{colour}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// Shows what one of the team's commands writes while it runs: every line with `--verbose`, else the latest beside the
    /// spinner.
    pub(crate) fn output(&self, command: &str, line: &str) {
        if self.json.is_some() {
            return;
        }
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.verbose {
            return self.detail(&inner, &line.chars().take(80).collect::<String>());
        }
        inner.beside(|| say::note(&format!("    {command} | {line}")));
    }

    /// Says something beside the run's events, to a person only.
    pub(crate) fn remark(&self, text: &str) {
        if self.json.is_some() {
            return;
        }
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.beside(|| say::note(&format!("  {} {text}", self.paint(YELLOW, "!"))));
    }

    /// Every event so far, with the moment this process had it.
    pub(crate) fn recorded(&self) -> Vec<(Instant, Record)> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).recorded.clone()
    }

    /// How long each step took, in seconds, by its name; the last attempt where there were several.
    pub(crate) fn seconds(&self) -> BTreeMap<String, f64> {
        let (mut took, mut begun) = (BTreeMap::new(), None);
        for (at, record) in self.recorded() {
            match (record.event, begun) {
                (Event::Intended { .. }, _) => begun = Some(at),
                (Event::Succeeded { step, .. } | Event::Failed { step, .. }, Some(begun)) => {
                    took.insert(step.to_string(), at.duration_since(begun).as_secs_f64());
                }
                _ => {}
            }
        }
        took
    }
}

const GREEN: &str = "32";
const RED: &str = "31";
const YELLOW: &str = "33";

impl Inner {
    fn finish(&mut self) -> Duration {
        let took = self.began.map(|began| began.elapsed()).unwrap_or_default();
        self.stop();
        took
    }

    /// Prints without tearing the spinner.
    fn beside(&self, print: impl FnOnce()) {
        match &self.spinner {
            Some(spinner) => spinner.suspend(print),
            None => print(),
        }
    }

    fn stop(&mut self) {
        self.began = None;
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
    }
}

impl Notify for Screen {
    fn notify(&self, progress: Progress) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Progress::Recorded(record) = &progress {
            inner.recorded.push((Instant::now(), record.clone()));
        }
        match (self.json, progress) {
            (Some(Json::Events), Progress::Recorded(record)) => say::result(self.json, &record, String::new),
            (Some(_), _) => {}
            (None, Progress::Recorded(record)) => self.show(&mut inner, &record.event),
            (None, Progress::Waiting(what)) => {
                inner.stop();
                say::note(&format!("  {} {}", self.paint(YELLOW, "…"), waiting(what)));
            }
            (None, Progress::Watching(findings)) => {
                self.detail(&inner, findings.first().map_or("no data yet", String::as_str));
            }
            (None, Progress::Retrying { step, why }) => {
                self.detail(&inner, &format!("trying again: {why}"));
                tracing::info!(%step, why, "trying again");
            }
        }
    }
}

/// What a run is about, in one line.
pub(crate) fn headline(plan: &Plan) -> String {
    let settings = &plan.settings;
    let (verb, commit) = (
        if plan.from.is_some_and(|from| from > plan.release) { "returning" } else { "releasing" },
        &plan.commit,
    );
    format!(
        "{verb} {} {} to {} ({} {})",
        settings.service,
        plan.release,
        settings.environment,
        commit.sha.short(),
        commit.subject
    )
}

/// What a run waits for, and how to say it.
pub(crate) fn waiting(what: Waiting) -> &'static str {
    match what {
        Waiting::Approval => {
            "waiting for approval: `cutover approve ENVIRONMENT`, or `cutover abort ENVIRONMENT`"
        }
        Waiting::Held => {
            "no verdict, so both releases stay as they are: `cutover approve ENVIRONMENT` goes on, `cutover abort ENVIRONMENT` \
             goes back, `cutover release ENVIRONMENT --resume` watches again"
        }
        Waiting::Stuck => {
            "the last step failed again and again: mend the cause, then `cutover release ENVIRONMENT --resume`"
        }
    }
}

/// What an outcome means, for the last line.
pub(crate) fn outcome(plan: &Plan, outcome: &Outcome) -> String {
    let old = plan.from.map_or("nothing serves".to_owned(), |from| format!("{from} serves"));
    match outcome {
        Outcome::Done => format!("{} serves", plan.release),
        Outcome::Reverted { cause } => format!("{} was taken back, and {old} again: {cause}", plan.release),
        Outcome::Stopped { cause } => {
            format!("{} was stopped before it had a replica, and {old} as before: {cause}", plan.release)
        }
    }
}

fn describe(note: &Note) -> String {
    match note {
        Note::None => String::new(),
        Note::Built { bytes } => format!("{:.1} MB", *bytes as f64 / 1e6),
        Note::Migrated { applied, held, .. } => {
            let list = |ids: &[cutover_model::migration::MigrationId]| {
                ids.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(", ")
            };
            match (applied.is_empty(), held.is_empty()) {
                (true, true) => "nothing pending".into(),
                (false, true) => format!("applied {}", list(applied)),
                (true, false) => format!("waiting for later: {}", list(held)),
                (false, false) => format!("applied {}; waiting for later: {}", list(applied), list(held)),
            }
        }
        // The journal has them all; one is enough for a line.
        Note::Judged { findings } => match findings.split_first() {
            Some((first, [])) => first.clone(),
            Some((first, rest)) => format!("{first} (+{} more)", rest.len()),
            None => String::new(),
        },
    }
}

fn seconds(took: Duration) -> String {
    match took.as_secs_f64() {
        short if short < 1.0 => format!("{:.0} ms", short * 1000.0),
        long if long < 100.0 => format!("{long:.1} s"),
        longer => format!("{longer:.0} s"),
    }
}
