//! The gate's counts as a driver reads them.

use async_trait::async_trait;
use cutover_conductor::ports::{Metrics, PortError};
use cutover_model::{fleet::FleetName, measure::Measures};

use super::Fake;
use crate::{fact::Fact, sabotage::Sabotage, weather::Line, world::World};

#[async_trait]
impl Metrics for Fake {
    async fn measures(&self, _: &FleetName) -> Result<Measures, PortError> {
        let pid = self.pid;
        let mut measures = self.shared.ask(Line::Metrics, read).await?.ok_or_else(down)?;
        let mut world = self.shared.world();
        if world.is_sabotaged(Sabotage::MetricsInvented) {
            invent(&mut world, &mut measures);
        }
        let requests = measures.releases.iter().map(|(release, m)| (*release, m.total().requests)).collect();
        world.tell(Fact::Measured { pid, epoch: measures.epoch, requests });
        Ok(measures)
    }
}

fn down() -> PortError {
    PortError::Unreachable("connection refused".into())
}

fn read(world: &mut World) -> Option<Measures> {
    world.settle();
    if world.chance(world.weather.empty) {
        return Some(Measures { epoch: world.host.epoch, ..Measures::default() });
    }
    world.host.up.then(|| world.traffic.counted.clone())
}

/// Ten good requests a millisecond, whatever was served.
fn invent(world: &mut World, measures: &mut Measures) {
    let requests = world.now().as_millis() as u64 * 10;
    for run in &world.store.runs {
        let route =
            measures.releases.entry(run.plan.release).or_default().routes.entry("other".into()).or_default();
        route.requests = requests;
        route.errors = 0;
        route.latency = cutover_model::measure::Histogram::default();
        route.latency.add(50, requests);
    }
}
