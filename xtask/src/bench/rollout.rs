//! Whole releases of a real service: what traffic notices of many of them, how long a roll takes beyond its replicas, how
//! fast a bad release is gone, and what the host holds in memory.

use cutover_model::run::{Event, Record, Step};

use super::{Row, stage::Stage, wrk};
use crate::{failure::Failure, parts};

const RELEASES: usize = 50;
/// 20 connections that wait 10 ms before each request make up to 2,000 requests a second.
const STEADY: wrk::Load = wrk::Load { connections: 20, seconds: 10, pause_millis: 10 };
/// Ended by hand.
const WHILE_RELEASING: wrk::Load = wrk::Load { seconds: 3600, ..STEADY };
/// A thousand connections with a request a second each.
const MANY: wrk::Load = wrk::Load { connections: 1000, seconds: 8, pause_millis: 1000 };

const P99_BOUND: f64 = 2.0;
const ROLL_BOUND: f64 = 1.1;
const READY_MILLIS: u32 = 500;
const ROLLBACK_MILLIS: f64 = 50.0;
const RESIDENT_BYTES: f64 = 30.0 * 1e6;

pub(super) fn run() -> Result<Vec<Row>, Failure> {
    if !parts::is_installed("wrk") {
        return Ok(vec![unmeasured("wrk is not installed")]);
    }
    let Some(stage) = Stage::set()? else { return Ok(vec![unmeasured("PostgreSQL is not installed")]) };
    let mut rows = many_releases(&stage)?;
    rows.push(roll_of_ten(&stage)?);
    rows.push(resident(&stage)?);
    rows.push(rollback(&stage)?);
    Ok(rows)
}

fn unmeasured(why: &str) -> Row {
    Row { name: "rollout".into(), figure: "–".into(), peer: why.into(), ratio: None, bound: P99_BOUND }
}

/// Fifty in a row under load: failed requests, good releases taken for bad, and p99 beside the one before.
fn many_releases(stage: &Stage) -> Result<Vec<Row>, Failure> {
    stage.release("two")?;
    let url = stage.url(0, "/info");
    let steady = STEADY.run(&url)?;
    let load = WHILE_RELEASING.begin(&url)?;
    let mut taken_back = 0;
    for number in 1..=RELEASES {
        stage.commit(&format!("Release {number}"))?;
        taken_back += u32::from(!stage.release("two")?.serves);
    }
    let seen = load.end()?;
    Ok(vec![
        Row {
            name: format!("rollout: {RELEASES} releases, failed requests"),
            figure: format!("{} of {}", seen.failed, seen.requests),
            peer: "0".into(),
            ratio: Some(seen.failed as f64),
            bound: 0.0,
        },
        Row {
            name: format!("rollout: {RELEASES} releases, good ones taken back"),
            figure: taken_back.to_string(),
            peer: "0".into(),
            ratio: Some(f64::from(taken_back)),
            bound: 0.0,
        },
        Row {
            name: format!("rollout: {RELEASES} releases, p99"),
            figure: format!("{:.2} ms", seen.p99_millis),
            peer: format!("steady {:.2} ms", steady.p99_millis),
            ratio: Some(seen.p99_millis / steady.p99_millis),
            bound: P99_BOUND,
        },
    ])
}

/// Ten replicas that need half a second each, one at a time.
fn roll_of_ten(stage: &Stage) -> Result<Row, Failure> {
    stage.ready_after(READY_MILLIS)?;
    stage.commit("Warm up before the first request")?;
    stage.release("ten")?;
    stage.commit("Roll ten")?;
    let records = stage.release("ten")?.records;
    let seconds = advancing_seconds(&records).ok_or_else(|| Failure::Unreadable {
        bench: "rollout",
        what: "advance",
        output: format!("{} records", records.len()),
    })?;
    let least = f64::from(READY_MILLIS) / 100.0;
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

/// After all those releases, with ten replicas there and a thousand connections open.
fn resident(stage: &Stage) -> Result<Row, Failure> {
    let load = MANY.begin(&stage.url(1, "/info"))?;
    std::thread::sleep(std::time::Duration::from_secs(u64::from(MANY.seconds) / 2));
    let bytes = stage.host_resident();
    drop(load);
    Ok(Row {
        name: "host: resident, 10 replicas, 1,000 connections".into(),
        figure: bytes.map_or("–".into(), |bytes| format!("{:.1} MB", bytes as f64 / 1e6)),
        peer: "limit 30 MB".into(),
        ratio: bytes.map(|bytes| bytes as f64 / RESIDENT_BYTES),
        bound: 1.0,
    })
}

/// The slowest rollback of the demo's bad releases.
fn rollback(stage: &Stage) -> Result<Row, Failure> {
    let report = stage.demo()?;
    let releases = report["releases"].as_array().cloned().unwrap_or_default();
    let slowest = releases.iter().filter_map(|release| release["rollback_ms"].as_f64()).reduce(f64::max);
    Ok(Row {
        name: "rollback: verdict to last request on the bad one".into(),
        figure: slowest.map_or("–".into(), |millis| format!("{millis:.1} ms")),
        peer: "limit 50 ms".into(),
        ratio: slowest.map(|millis| millis / ROLLBACK_MILLIS),
        bound: 1.0,
    })
}
