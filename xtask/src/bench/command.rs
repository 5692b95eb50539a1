//! How long people wait for the command before it has anything to do, beside git, which they also run all day.

use std::{
    fs,
    process::{Command, Stdio},
    time::Instant,
};

use super::{Row, median, replica::Behaviour, stage::Stage};
use crate::failure::Failure;

/// The two take turns, so that a machine that grows busy hurts both.
const TURNS: usize = 10;
/// Runs in a turn.
const RUNS: usize = 20;
/// What people begin to notice.
const LIMIT_MILLIS: f64 = 50.0;

pub(super) fn run() -> Result<Vec<Row>, Failure> {
    let stage = Stage::set()?;
    stage.release("two", &stage.commit("Begin", Behaviour::default())?)?;
    let version = beside("version", || stage.cutover(&["--version"]), || stage.git_command(&["--version"]))?;
    let status = beside("status", || stage.cutover(&["status", "two"]), || stage.git_command(&["status"]))?;
    Ok(version.into_iter().chain(status).collect())
}

fn beside(name: &str, ours: impl Fn() -> Command, gits: impl Fn() -> Command) -> Result<[Row; 2], Failure> {
    let (mut our, mut git) = (Spent::default(), Spent::default());
    for _ in 0..TURNS {
        our.turn(&ours)?;
        git.turn(&gits)?;
    }
    let row = |what: &str, ours: f64, gits: f64| Row {
        name: format!("command: cutover {name}, {what}"),
        figure: format!("{ours:.2} ms"),
        peer: format!("limit {LIMIT_MILLIS} ms (git {name} {gits:.2} ms)"),
        ratio: Some(ours / LIMIT_MILLIS),
        bound: 1.0,
    };
    let middle = |millis| median(millis).unwrap_or(f64::NAN);
    let each = (TURNS * RUNS) as f64;
    Ok([row("CPU", our.cpu / each, git.cpu / each), row("time", middle(our.millis), middle(git.millis))])
}

#[derive(Default)]
struct Spent {
    /// Of each run.
    millis: Vec<f64>,
    /// Of all runs, in milliseconds.
    cpu: f64,
}

impl Spent {
    fn turn(&mut self, command: &impl Fn() -> Command) -> Result<(), Failure> {
        let before = children_cpu_millis()?;
        for _ in 0..RUNS {
            let mut command = command();
            let began = Instant::now();
            let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
            self.millis.push(began.elapsed().as_secs_f64() * 1000.0);
            let program = command.get_program().to_string_lossy().into_owned();
            match status {
                Ok(status) if status.success() => {}
                Ok(status) => return Err(super::ended(&program, status)),
                Err(source) => return Err(Failure::Start { program, source }),
            }
        }
        self.cpu += children_cpu_millis()? - before;
        Ok(())
    }
}

/// User and system time of all children that were waited for (proc(5): fields 16 and 17 of stat, in hundredths of a second).
fn children_cpu_millis() -> Result<f64, Failure> {
    let path = "/proc/self/stat";
    let stat = fs::read_to_string(path).map_err(|source| Failure::File { path: path.into(), source })?;
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    let ticks: f64 = fields.skip(13).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(ticks * 10.0)
}
