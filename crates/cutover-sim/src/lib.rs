//! Seeded simulator: the production driver, [`cutover_conductor::drive`], against a world of fake parts, in virtual time.
//!
//! ```text
//!  operators, caretaker          storm
//!        │ start commands          │ kills, pauses, cuts
//!        ▼                         ▼
//!  ┌─ process ─────────────────────────────────────┐        ┌─ world ─────────────────────────────────┐
//!  │ lease ─► Driver::resume ─► planning ─► Driver │        │ journal store   host: replicas, gate    │
//!  │            (production code)           │      │═══════►│ database        traffic, its counts     │
//!  │                             fake ports ┘      │messages│ artifacts       other processes         │
//!  └───────────────────────────────────────────────┘        └──────────────┬──────────────────────────┘
//!                                                                every change is a fact
//!                                                          rules ◄─────────┴────────► trace
//! ```
//! One seed, one trace, byte for byte: tasks run one at a time on a thread of their own, time is virtual, and every draw comes
//! from the seed. A failing seed prints the rule, the end of the trace and the command that replays it.
//!
//! # Fault model
//!
//! What may go wrong, and what may not. The rules hold under all of it.
//!
//! **Processes** (a command such as `cutover release`)
//! - are killed at any await, right before or after any journal record, between an effect and its outcome, several times a run;
//! - are paused for up to 90 s, lose their lease meanwhile, and go on as if nothing had been (zombies);
//! - are started two at once, and again at any time; their clocks are off by up to 5 s.
//!
//! **Messages** to target, metrics, database, journal and commands
//! - are lost, or their answer is; arrive up to 40 s late, after the sender gave up, was replaced or died; lines are cut for up
//!   to 90 s. A message that was sent arrives also when its sender has died.
//!
//! **Calls** of any port fail before they do anything, do all their work and say that they failed, or are refused. They may be
//! cut at any wait, with part of the work done: k of n replicas started, migrations applied up to the i-th.
//!
//! **Journal**: no space or unusable at any record or for up to 10 s; a record is stored and its writer told that it was not; the
//! lease expires under a living driver. What it has acknowledged it keeps.
//!
//! **Host**: killed and back after up to 20 s, its replicas living on; its gate's counts begin anew at any time, or are missing
//! from a reading. What it has acknowledged it keeps.
//!
//! **Replicas** are killed; by release they never become ready, end at their start, end after a while and at every start from
//! then on, answer with errors, are slow.
//!
//! **Database**: a session breaks before or after a migration's commit; it outlives its dead client by up to 3 s, lock and all; a
//! migration fails and is undone.
//!
//! **Traffic** stops for up to 100 s. **People** approve, abort, release, roll back and resume at any moment.
//!
//! Not modelled: a store that forgets or changes what it acknowledged, a database that applies half a migration, several
//! environments, more than one host.

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
