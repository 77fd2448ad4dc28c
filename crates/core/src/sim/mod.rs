//! A whole swarm in one thread, on simulated time: real nodes, a model of the engine and a network
//! that loses, delays and repeats.
//!
//! A run is a function of its [`Options`], the seed among them: print them, and the run can be had
//! again. Faults come first; then everything heals and [`checks`] must hold. How to use it is told
//! in `docs/simulation.md`.

pub mod checks;
mod definitions;
pub mod edit;
pub mod engine;
pub mod exhaustive;
mod machine;
pub mod merge;
mod network;
pub mod options;
pub mod regressions;
pub mod report;
pub mod root;
pub mod run;
pub mod scale;
mod settle;
pub mod twin;
pub mod world;

#[cfg(test)]
mod tests;

pub use checks::Failure;
pub use options::{Fault, Options, Step, Topology};
pub use run::{Outcome, Report};
pub use world::{Counts, World};
