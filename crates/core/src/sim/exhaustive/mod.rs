//! An exhaustive search of small swarms: everything that can happen, in every order.
//!
//! The random runs are long and wild and miss what is rare. This search is short and complete:
//! within the bounds of a [`Scenario`] (who commits what, how many losses, repetitions, crashes) it
//! goes through every state that a swarm of real nodes can come to, and holds each against the
//! rules.
//!
//! What makes the states few enough, and why that leaves nothing out:
//!
//! - **No time.** The network mixes messages up anyway, so how long one takes is only the order in
//!   which it arrives. Timers are a choice as well: those of a node fire when nothing is under way,
//!   or earlier, so often as the scenario says. They all fire at once: a timer that would fire
//!   later is one whose message takes longer.
//! - **Equal nodes.** Two states of a node that differ in nothing that decides are one: see
//!   `canon`.
//! - **Steps made once.** Machines only meet through messages, so a step of one machine depends on
//!   its state and what happens to it, and is remembered: see `swarm`.
//!
//! Nothing else is left out: no order of events is skipped because another one is thought to be
//! alike.

mod canon;
mod local;
pub mod scenario;
mod search;
mod swarm;

#[cfg(test)]
mod tests;

pub use scenario::{Planned, Scenario};
pub use search::{Exploration, explore};

/// What is checked in every state, each by the name of its rule.
pub const PROPERTIES: [(&str, &str); 10] = [
    ("convergence", "main of a node at rest is the fold of its heads, by the naive definition"),
    ("heads", "the heads are what no other accepted commit builds on"),
    (
        "nothing lost",
        "an acknowledged commit is under main, a parked branch or a head to be folded",
    ),
    ("nothing parks", "under `settle` every merge is possible, and no head is parked"),
    ("own commits stay", "main never moves off a commit made there, unless that is parked"),
    ("no resurrection", "a merge keeps what is resolved resolved, and drops no conflict"),
    ("sound", "a merge breaks no rule of the schema, and its views and triggers work"),
    ("told truly", "events say what happened, and nobody is accused"),
    ("no storms", "once all are in step, nothing is sent but the regular question for heads"),
    ("liveness", "from every state, without more faults, all can come to rest in step"),
];
