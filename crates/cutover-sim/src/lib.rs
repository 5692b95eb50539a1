//! Seeded simulator.
mod acts;
mod exact;
mod fact;
mod ports;
mod rules;
mod sabotage;
mod scenario;
mod seeds;
mod simulation;
mod time;
mod weather;
mod wild;
mod world;

pub use acts::{Fault, Storm};
pub use exact::Named;
pub use rules::Violation;
pub use sabotage::Sabotage;
pub use scenario::{Approvals, Behaviour, Making, Repository, Rules, Wish};
pub use seeds::{Harvest, harvest, on_all_cores};
pub use simulation::{Report, Roughness, Scenario, Script, Tally, simulate};
pub use world::FaultAt;
