//! What traffic notices of rollouts: of many in a row, of a bad release that is taken back, and how much longer a roll takes
//! than its replicas.

use std::{
    thread,
    time::{Duration, SystemTime},
};

use cutover_model::run::{Cause, Event, Record, Step};

use super::{
    Row,
    held::{self, Held},
    load::{Load, Seen},
    replica::Behaviour,
    stage::{DRAIN, Stage},
};
use crate::failure::Failure;

const RELEASES: usize = 50;
const ROLLBACKS: usize = 20;

const CONNECTIONS: u32 = 20;
/// Requests a second.
const RATE: u32 = 2000;
/// Without a release, before and after those.
const STEADY: Duration = Duration::from_secs(20);

const P99_BOUND: f64 = 2.0;
const ROLL_BOUND: f64 = 1.1;
const ROLLBACK_MILLIS: f64 = 50.0;

/// A replica of the roll needs so long.
const READY_MILLIS: u64 = 500;
/// One request in so many of a bad release fails.
const FAILS_EVERY: u64 = 3;

pub(super) fn run() -> Result<Vec<Row>, Failure> {
    let stage = Stage::set()?;
    let mut rows = many_releases(&stage)?;
    rows.extend(rollbacks(&stage)?);
    rows.push(roll_of_ten(&stage)?);
    Ok(rows)
}

/// Many in a row under load, with long requests in every drain: failed requests, and p99 beside the one without releases.
fn many_releases(stage: &Stage) -> Result<Vec<Row>, Failure> {
    let address = stage.address("two");
    let good = |number| stage.commit(&format!("Release {number}"), Behaviour::default());
    stage.release("two", &good(0)?)?;
    // Made before, so that git's work in the team's folder is not measured.
    let commits: Vec<String> = (1..=RELEASES).map(good).collect::<Result<_, _>>()?;
    let held = Held::begin(address);
    let mut steady = steady(stage);
    let load = Load::begin(address, CONNECTIONS, RATE);
    let (mut drains, mut taken_back) = (Vec::new(), 0);
    for commit in &commits {
        let (serves, records) = stage.try_release("two", commit)?;
        drains.extend(drain(&records));
        if !serves {
            taken_back += 1;
            eprintln!("taken back: {:?}", records.iter().find(|record| is_bad(record)));
        }
    }
    let seen = load.end();
    steady.join(self::steady(stage));
    let held = held.end();
    for failure in steady.failures.iter().chain(&seen.failures).chain(&held.failures).take(10) {
        eprintln!("failed: {failure}");
    }
    let seconds = seen.seconds() / RELEASES as f64;
    let (rate, rolling) = (seen.rate(), seen.p99_millis());
    let all = format!("rollout: {RELEASES} releases, {seconds:.1} s each, at {rate:.0} requests/s");
    Ok(vec![
        none(
            format!("{all}, failed by Cutover"),
            steady.failures.len() + seen.failures.len(),
            seen.requests(),
        ),
        Row {
            name: format!("{all}, p99"),
            figure: format!("{rolling:.2} ms"),
            peer: format!("without releases {:.2} ms", steady.p99_millis()),
            ratio: Some(rolling / steady.p99_millis()),
            bound: P99_BOUND,
        },
        none("rollout: good releases taken back".into(), taken_back, RELEASES),
        none("rollout: slow answers, uploads and upgrades cut".into(), held.failures.len(), held.whole),
        shortest_grace(&held, &drains),
    ])
}

fn steady(stage: &Stage) -> Seen {
    let load = Load::begin(stage.address("two"), CONNECTIONS, RATE);
    thread::sleep(STEADY);
    load.end()
}

fn none(name: String, failed: usize, of: usize) -> Row {
    Row {
        name,
        figure: format!("{failed} of {of}"),
        peer: "0".into(),
        ratio: Some(failed as f64),
        bound: 0.0,
    }
}

/// When the drain of what is beside the serving release was about to begin: that step was journalled.
fn drain(records: &[Record]) -> Option<i64> {
    let begins =
        |record: &&Record| matches!(record.event, Event::Intended { step: Step::Finish | Step::Revert, .. });
    records.iter().find(begins).map(|record| record.at_ms)
}

/// Of upgraded connections that never end by themselves: the least time that one had after its drain was journalled.
fn shortest_grace(held: &held::Outcome, drains: &[i64]) -> Row {
    let since = |at: &SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let grace = |at: &SystemTime| {
        let waited = drains.iter().map(|drain| since(at).as_secs_f64() * 1000.0 - *drain as f64);
        waited.filter(|waited| *waited >= 0.0).reduce(f64::min).unwrap_or(0.0)
    };
    let least = held.cuts.iter().map(grace).reduce(f64::min);
    let promised = DRAIN.as_secs_f64() * 1000.0;
    Row {
        name: format!("rollout: shortest grace of {} endless upgrades", held.cuts.len()),
        figure: least.map_or("–".into(), |least| format!("{least:.0} ms")),
        peer: format!("declared {promised:.0} ms"),
        ratio: least.map(|least| promised / least),
        bound: 1.0,
    }
}

/// Bad releases under load: from the verdict to the last answer of the bad one.
fn rollbacks(stage: &Stage) -> Result<Vec<Row>, Failure> {
    let bad = Behaviour { fails_every: FAILS_EVERY, ..Behaviour::default() };
    let load = Load::begin(stage.address("two"), CONNECTIONS, RATE);
    let mut verdicts = Vec::new();
    for number in 1..=ROLLBACKS {
        let (_, records) = stage.try_release("two", &stage.commit(&format!("Bad {number}"), bad)?)?;
        verdicts.push(verdict(&records).ok_or_else(|| unreadable("verdict", &records))?);
    }
    let seen = load.end();
    for failure in seen.failures.iter().take(10) {
        eprintln!("failed: {failure}");
    }
    let late = |(release, at): &(u32, i64)| Some((seen.last_of(*release)? - *at as f64).max(0.0));
    let mut late: Vec<f64> = verdicts.iter().filter_map(late).collect();
    late.sort_by(f64::total_cmp);
    let row = |which, millis: Option<&f64>| Row {
        name: format!("rollback: verdict to the bad release's last answer, {which} of {}", late.len()),
        figure: millis.map_or("–".into(), |millis| format!("{millis:.1} ms")),
        peer: format!("limit {ROLLBACK_MILLIS} ms"),
        ratio: millis.map(|millis| millis / ROLLBACK_MILLIS),
        bound: 1.0,
    };
    let failed = none("rollback: failed by Cutover".into(), seen.failures.len(), seen.requests());
    Ok(vec![row("median", late.get(late.len() / 2)), row("longest", late.last()), failed])
}

/// The number of the release, and when it was found bad.
fn verdict(records: &[Record]) -> Option<(u32, i64)> {
    let planned = records.iter().find_map(|record| match &record.event {
        Event::Planned { plan } => Some(plan.release),
        _ => None,
    });
    let number = planned?.to_string().trim_start_matches('r').parse().ok()?;
    Some((number, records.iter().find(|record| is_bad(record))?.at_ms))
}

fn is_bad(record: &Record) -> bool {
    matches!(record.event, Event::Failed { cause: Cause::Bad { .. }, .. })
}

/// Ten replicas, one at a time, that are not watched in between.
fn roll_of_ten(stage: &Stage) -> Result<Row, Failure> {
    let slow = Behaviour { ready_after_millis: READY_MILLIS, ..Behaviour::default() };
    stage.release("ten", &stage.commit("Warm up before the first request", slow)?)?;
    let records = stage.release("ten", &stage.commit("Roll ten", slow)?)?;
    let seconds = advancing_seconds(&records).ok_or_else(|| unreadable("advance", &records))?;
    let least = READY_MILLIS as f64 / 100.0;
    Ok(Row {
        name: "rollout: 10 replicas, ready after 500 ms each".into(),
        figure: format!("{seconds:.2} s"),
        peer: format!("10 × 500 ms = {least:.2} s"),
        ratio: Some(seconds / least),
        bound: ROLL_BOUND,
    })
}

/// From the first advance's intent to the last one's outcome.
fn advancing_seconds(records: &[Record]) -> Option<f64> {
    let begun = records
        .iter()
        .find(|record| matches!(record.event, Event::Intended { step: Step::Advance { .. }, .. }))?;
    let done = records
        .iter()
        .rfind(|record| matches!(record.event, Event::Succeeded { step: Step::Advance { .. }, .. }))?;
    Some((done.at_ms - begun.at_ms) as f64 / 1000.0)
}

fn unreadable(what: &'static str, records: &[Record]) -> Failure {
    Failure::Unreadable { bench: "rollout", what, output: format!("{records:#?}") }
}
