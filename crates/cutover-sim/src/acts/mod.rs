//! Those who act: operators with their commands, the caretaker who sees everything to its end, and the storm.

mod caretaker;
mod command;
mod operators;
mod storm;

pub(crate) use caretaker::caretaker;
pub(crate) use command::{Command, start};
pub(crate) use operators::{impatient, methodical, restless};
pub(crate) use storm::storm;
pub use storm::{Fault, Storm};
