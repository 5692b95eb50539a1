//! Performs one step through the ports. Nothing here is journalled or decided; it reports how the step went.

use std::{future::Future, net::SocketAddr, time::Duration};

use cutover_model::{
    ReleaseNumber,
    config::Gate,
    fleet::{DesiredRelease, FleetName, Generation, RunSpec},
    measure::Measures,
    run::{Cause, Event, Note, Plan, Portion, Run, Step},
};

use super::{
    POLL,
    replicas::{Replicas, Standing},
    watching::{Verdict, Watching},
};
use crate::{
    history::History,
    ports::{JournalError, PortError, Ports, Progress, Rollout},
};

/// How long one attempt at a step goes on against a port that does not answer.
const REACH_WITHIN: Duration = Duration::from_secs(60);

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How a step went.
#[derive(Debug)]
pub(super) enum Done {
    Succeeded(Note),
    Failed(Cause),
    Held(String),
}

impl From<Result<Note, PortError>> for Done {
    fn from(result: Result<Note, PortError>) -> Self {
        match result {
            Ok(note) => Self::Succeeded(note),
            Err(error) => Self::Failed(cause(error)),
        }
    }
}

fn cause(error: PortError) -> Cause {
    match error {
        PortError::Broken { message, help } => Cause::Broken { message, help },
        PortError::Refused { message, help } => Cause::Refused { message, help },
        PortError::Unreachable(message) => Cause::Broken {
            message,
            help:
                "bring it back, then run the same command again; `cutover doctor` shows what can be reached"
                    .into(),
        },
    }
}

/// One step in hand.
pub(super) struct Performance<'a> {
    ports: Ports<'a>,
    run: &'a Run,
    history: &'a History,
    generation: Generation,
}

impl<'a> Performance<'a> {
    pub(super) fn of(ports: Ports<'a>, run: &'a Run, history: &'a History, fence: u64) -> Self {
        // Each step may write twice; the journal's numbers rise with every step of every driver.
        let generation = Generation { fence, write: run.last.0 * 2 };
        Self { ports, run, history, generation }
    }

    fn plan(&self) -> &'a Plan {
        &self.run.plan
    }

    /// Performs the step, or gives it up when somebody aborts the run and the step can be cut.
    ///
    /// # Errors
    /// Only the journal's, where it is asked whether somebody aborts.
    pub(super) async fn step(
        &self,
        step: Step,
        watching: Option<&mut Watching>,
    ) -> Result<Done, JournalError> {
        if !step.can_be_cut() {
            return Ok(self.perform(step, watching).await);
        }
        tokio::select! {
            biased;
            done = self.perform(step, watching) => Ok(done),
            aborted = self.aborted() => aborted.map(Done::Failed),
        }
    }

    async fn perform(&self, step: Step, watching: Option<&mut Watching>) -> Done {
        let (plan, commands) = (self.plan(), self.ports.commands);
        match step {
            Step::Checks => self.patiently(step, || commands.checks(plan)).await.into(),
            Step::Build => self.patiently(step, || commands.build(plan)).await.into(),
            Step::Smoke => self.patiently(step, || commands.smoke(plan)).await.into(),
            Step::Migrate => self.migrate(step).await.into(),
            Step::Advance { replicas, portion } => {
                self.advance(step, &self.rollout(replicas, portion), watching).await
            }
            Step::Verify { replicas } => self.verify(replicas, watching).await,
            Step::Finish => self.finish(step).await,
            Step::Revert => self.revert(step).await.into(),
            Step::Approval => unreachable!("decide() never asks to perform a wait"),
        }
    }

    async fn migrate(&self, step: Step) -> Result<Note, PortError> {
        let tree = self.ports.commands.tree(self.plan(), self.plan().release);
        let live = self.plan().from.map(|from| self.history.migrations_of(from)).unwrap_or_default();
        self.patiently(step, || self.ports.migrations.expand(self.plan(), &tree, &live)).await
    }

    /// Advances, watching the replicas that serve already: they may turn out bad before the next one is ready.
    async fn advance(&self, step: Step, rollout: &Rollout, watching: Option<&mut Watching>) -> Done {
        let advanced = self.patiently(step, || self.ports.target.advance(rollout));
        let Some(watching) = watching else { return advanced.await.map(|()| Note::None).into() };
        tokio::select! {
            biased;
            done = advanced => done.map(|()| Note::None).into(),
            findings = self.until_bad(watching) => Done::Failed(Cause::Bad { findings }),
        }
    }

    async fn until_bad(&self, watching: &mut Watching) -> Vec<String> {
        loop {
            if let Verdict::Bad(findings) = watching.judge(self.measures().await) {
                return findings;
            }
            self.ports.clock.sleep(POLL / 2).await;
        }
    }

    /// Watches counts and replicas until the one says that the release is bad, the other that it is down, or both that all is
    /// well.
    async fn verify(&self, wanted: u32, watching: Option<&mut Watching>) -> Done {
        let watching = watching.expect("the driver gives every Verify its watch");
        let until = self.ports.clock.elapsed() + self.plan().settings.bad.watch.get();
        let mut replicas = Replicas::of(self.plan().release, wanted);
        let fleet = self.fleet();
        loop {
            let (measures, observed) = tokio::join!(self.measures(), self.ports.target.observe(&fleet));
            let now = self.ports.clock.elapsed();
            let missing = match (watching.judge(measures), replicas.judge(observed, now)) {
                (Verdict::Bad(findings), _) => return Done::Failed(Cause::Bad { findings }),
                (_, Standing::Broken(finding)) => {
                    return Done::Failed(Cause::Bad { findings: vec![finding] });
                }
                (Verdict::Good(findings), Standing::Whole) => {
                    return Done::Succeeded(Note::Judged { findings });
                }
                (Verdict::Good(_), Standing::Lacking(why)) => vec![why],
                (Verdict::Undecided(findings), Standing::Whole) => findings,
                (Verdict::Undecided(findings), Standing::Lacking(why)) => [findings, vec![why]].concat(),
            };
            if now >= until {
                return Done::Held(missing.join("; "));
            }
            self.ports.notify.notify(Progress::Watching(missing));
            self.ports.clock.sleep(POLL / 2).await;
        }
    }

    /// `None` where the source can't be reached: no data is not good news, and not bad news either.
    async fn measures(&self) -> Option<Measures> {
        self.ports.metrics.measures(&self.fleet()).await.ok()
    }

    async fn finish(&self, step: Step) -> Done {
        let rollout = self.rollout(self.plan().settings.place.replicas, Portion::ALL);
        match self.patiently(step, || self.retire(&rollout)).await {
            Ok(None) => self.prune(step).await.into(),
            Ok(Some(finding)) => Done::Failed(Cause::Bad { findings: vec![finding] }),
            Err(error) => Done::Failed(cause(error)),
        }
    }

    /// Retires what is beside the new release, unless the new one is down and something else is ready to take its place; then
    /// says so, and nothing was changed.
    async fn retire(&self, rollout: &Rollout) -> Result<Option<String>, PortError> {
        let new = rollout.new.release;
        let mut replicas = Replicas::of(new, 1);
        loop {
            let observed = self.ports.target.observe(&rollout.fleet).await?;
            let others = observed.iter().flat_map(|observed| &observed.releases);
            let ready = |release| observed.as_ref().is_some_and(|observed| observed.ready(release) > 0);
            let beside = others.map(|of| of.release).any(|release| release != new && ready(release));
            match replicas.judge(Ok(observed), self.ports.clock.elapsed()) {
                Standing::Broken(finding) if beside => return Ok(Some(finding)),
                Standing::Lacking(_) if beside => self.ports.clock.sleep(POLL).await,
                _ => return self.ports.target.retire(rollout).await.map(|()| None),
            }
        }
    }

    async fn prune(&self, step: Step) -> Result<Note, PortError> {
        let plan = self.plan();
        let mut keep = vec![plan.release];
        keep.extend(self.history.served().into_iter().filter(|release| *release != plan.release));
        keep.truncate(plan.settings.artifact.keep as usize);
        self.patiently(step, || self.ports.commands.prune(plan, &keep)).await?;
        Ok(Note::None)
    }

    async fn revert(&self, step: Step) -> Result<Note, PortError> {
        let mut rollout = self.rollout(0, Portion::ALL);
        rollout.new.weight = 0.0;
        // The advance that was given up may have come to its end unseen; where the old release is down, what it brought up is
        // all that serves until then.
        (rollout.serving, rollout.before) = self.advanced(self.run.state.done + 1);
        if let Some(old) = &mut rollout.old {
            old.weight = 1.0;
        }
        if let Some(plan) = self.old_plan() {
            // What the new release changed about the gate goes back too; it may be what went wrong.
            (rollout.listen, rollout.gate) = self.front(plan);
        }
        self.patiently(step, || self.ports.target.revert(&rollout)).await.map(|()| Note::None)
    }

    /// Tries again, with growing pauses, as long as the other side does not answer.
    async fn patiently<T, F: Future<Output = Result<T, PortError>>>(
        &self,
        step: Step,
        call: impl Fn() -> F,
    ) -> Result<T, PortError> {
        let until = self.ports.clock.elapsed() + REACH_WITHIN;
        let mut pause = POLL / 2;
        loop {
            match call().await {
                Err(PortError::Unreachable(why)) if self.ports.clock.elapsed() < until => {
                    self.ports.notify.notify(Progress::Retrying { step, why });
                }
                result => return result,
            }
            self.ports.clock.sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn aborted(&self) -> Result<Cause, JournalError> {
        loop {
            let environment = &self.plan().settings.environment;
            for record in self.ports.journal.events(environment, self.run.number, self.run.last).await? {
                if let Event::AbortRequested { by, reason } = record.event {
                    return Ok(Cause::Aborted { by, reason });
                }
            }
            self.ports.clock.sleep(POLL).await;
        }
    }

    fn fleet(&self) -> FleetName {
        let settings = &self.plan().settings;
        FleetName { service: settings.service.clone(), environment: settings.environment.clone() }
    }

    fn rollout(&self, replicas: u32, portion: Portion) -> Rollout {
        let plan = self.plan();
        let rest = 1.0 - portion.share();
        let (listen, gate) = self.front(plan);
        let (serving, before) = self.advanced(self.run.state.done);
        Rollout {
            before,
            serving,
            generation: self.generation,
            fleet: self.fleet(),
            listen,
            gate,
            new: self.desired(plan, plan.release, replicas, portion.share()),
            // The old release stays whole until the run ends, so that going back is a change of weights.
            old: self.old_plan().map(|old| self.desired(old, old.release, old.settings.place.replicas, rest)),
        }
    }

    /// The plan that the release beside the new one was made by.
    fn old_plan(&self) -> Option<&'a Plan> {
        self.plan().from.and_then(|from| self.history.release_plan(from))
    }

    /// Where a plan's release is met, and how the gate treats requests.
    fn front(&self, plan: &Plan) -> (SocketAddr, Gate) {
        let tree = self.ports.commands.tree(plan, plan.release);
        let mut gate = plan.settings.gate.clone();
        gate.unavailable_page = gate.unavailable_page.map(|page| tree.join(page));
        (plan.settings.place.listen, gate)
    }

    /// The replicas and the share of the latest advance among the first steps of the plan.
    fn advanced(&self, among: usize) -> (u32, f64) {
        let steps = self.plan().steps();
        let latest = steps.iter().take(among).rev().find_map(|step| match step {
            Step::Advance { replicas, portion } => Some((*replicas, portion.share())),
            _ => None,
        });
        latest.unwrap_or((0, 0.0))
    }

    fn desired(&self, plan: &Plan, release: ReleaseNumber, replicas: u32, weight: f64) -> DesiredRelease {
        let settings = &plan.settings;
        let run = RunSpec {
            command: settings.artifact.run.clone(),
            directory: self.ports.commands.tree(plan, release),
            variables: settings.place.environment.clone(),
            health: settings.health.clone(),
            drain: settings.place.drain.get(),
            stop_within: settings.place.stop_within.get(),
        };
        DesiredRelease { release, replicas, weight, run }
    }
}
