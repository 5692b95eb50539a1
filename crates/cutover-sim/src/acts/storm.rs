//! Faults that come over the world as a whole, until the weather is calm.

use std::time::Duration;

use crate::{
    fact::Fact,
    weather::Line,
    world::{Shared, World},
};

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// kill -9 to a driver.
    DriverKilled,
    /// kill -9 to a driver right before or after one of the next records.
    DriverKilledAtRecord,
    /// SIGSTOP to a driver, for up to 90 s; often its lease is given to another meanwhile.
    DriverPaused,
    /// The lease runs out under a living driver, and another command starts.
    LeaseExpires,
    /// kill -9 to the host, which starts again up to 20 s later.
    HostKilled,
    /// A replica ends.
    ReplicaKilled,
    /// A line between the driver and something is cut, for up to 90 s.
    LineCut,
    /// No requests, for up to 100 s.
    TrafficStops,
    /// The gate counts from zero.
    CountsReset,
    /// The journal's disk is full, for up to 10 s.
    JournalFull,
    /// The journal can't be used, for up to 10 s.
    JournalUnusable,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::DriverKilled,
        Self::DriverKilledAtRecord,
        Self::DriverPaused,
        Self::LeaseExpires,
        Self::HostKilled,
        Self::ReplicaKilled,
        Self::LineCut,
        Self::TrafficStops,
        Self::CountsReset,
        Self::JournalFull,
        Self::JournalUnusable,
    ];
}

/// Which faults come, how often, and until when.
#[derive(Debug, Clone)]
pub struct Storm {
    /// One of these each time.
    pub faults: Vec<Fault>,
    /// The longest pause between two.
    pub pause: Duration,
}

/// Lets faults come until the time is over.
pub(crate) async fn storm(shared: Shared, storm: Storm, until: Duration, resume: impl Fn(&Shared) + Send) {
    if storm.faults.is_empty() {
        return;
    }
    loop {
        shared.pass(50, storm.pause.as_millis() as u64).await;
        if shared.kernel.now() >= until {
            return;
        }
        let fault = {
            let mut world = shared.world();
            let at = world.rng.usize(..storm.faults.len());
            strike(&mut world, storm.faults[at]);
            storm.faults[at]
        };
        // Somebody notices sooner or later that the command is gone.
        let again = match fault {
            Fault::DriverKilled
            | Fault::DriverKilledAtRecord
            | Fault::JournalFull
            | Fault::JournalUnusable => 0.7,
            Fault::LeaseExpires | Fault::DriverPaused => 0.9,
            _ => 0.1,
        };
        if shared.world().chance(again) {
            shared.pass(0, 6000).await;
            resume(&shared);
        }
    }
}

fn strike(world: &mut World, fault: Fault) {
    world.tell(Fact::Weather(format!("{fault:?}")));
    match fault {
        Fault::DriverKilled => {
            if let Some(driver) = world.drivers().last().copied() {
                world.kill(driver);
            }
        }
        Fault::DriverKilledAtRecord => {
            let within = world.rng.usize(..4);
            let before = world.rng.bool();
            world.store.crash_within(within, before);
        }
        Fault::DriverPaused => {
            let for_ = world.between(500, 90_000);
            if let Some(driver) = world.drivers().last().copied() {
                world.pause(driver, for_);
            }
            if world.rng.bool() {
                world.expire_lease();
            }
        }
        Fault::LeaseExpires => world.expire_lease(),
        Fault::HostKilled => {
            let for_ = world.between(300, 20_000);
            world.host_down(for_);
        }
        Fault::ReplicaKilled => kill_replica(world),
        Fault::LineCut => cut_line(world),
        Fault::TrafficStops => {
            world.settle();
            world.traffic.flows = false;
            let for_ = world.between(1000, 100_000);
            world.after(for_, |world| {
                world.settle();
                world.traffic.flows = true;
            });
        }
        Fault::CountsReset => world.restart_counts(),
        Fault::JournalFull => {
            world.store.full = true;
            let for_ = world.between(100, 10_000);
            world.after(for_, |world| world.store.full = false);
        }
        Fault::JournalUnusable => {
            world.store.unusable = true;
            let for_ = world.between(100, 10_000);
            world.after(for_, |world| world.store.unusable = false);
        }
    }
}

fn kill_replica(world: &mut World) {
    let ids: Vec<_> = world.host.replicas.keys().copied().collect();
    if !ids.is_empty() {
        let id = ids[world.rng.usize(..ids.len())];
        world.fail(id, "it was killed by signal 9");
    }
}

fn cut_line(world: &mut World) {
    let lines = [Line::Target, Line::Metrics, Line::Database, Line::Journal, Line::Commands];
    let line = lines[world.rng.usize(..lines.len())];
    world.weather.cut.insert(line);
    world.tell(Fact::Weather(format!("{line:?} cut")));
    let for_ = world.between(500, 90_000);
    world.after(for_, move |world| {
        world.weather.cut.remove(&line);
    });
}
