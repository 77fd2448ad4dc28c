//! The rules of DoltSwarm, without IO: no clock, no randomness, no sockets, no SQL.
//!
//! A swarm is a set of peers that keep one database in step. Everyone commits on their own copy and
//! signs what they commit; peers tell each other their *heads* (the user commits that no other
//! descends from) and pull what they lack. `main` is derived from the heads by each peer alone, and
//! is the same on all of them.
//!
//! What the modules promise:
//!
//! - [`graph`] holds the accepted user commits and knows the heads. [`walk`] finds out what is new
//!   under a tip, from commits that anyone may have made up.
//! - [`fold`] is the function from heads to main. It names the merges it needs; the engine makes
//!   them.
//! - [`sign`] and [`membership`] say whose commits count.
//! - [`node`] is one peer's state machine. Time and results come in as arguments (`handle_*`),
//!   effects go out as values (`poll_*`), and an effect that is answered carries an operation's id.
//! - [`limits`] bounds everything.
//!
//! What always holds:
//!
//! - **Convergence.** Equal sets of accepted user commits give equal mains.
//! - **Nothing lost.** Every accepted user commit is an ancestor of main, or of a parked head.
//! - **No storms.** Deriving main sends nothing; only a change of the heads is advertised, and not
//!   to a peer that is known to have heard of it.
//! - **Order-free.** The order, repetition and delay of messages make no difference to the result.
//! - **Reproducible.** The same calls in the same order give the same outputs: nothing here reads a
//!   clock, draws random numbers of its own or iterates a hash map.

#![forbid(unsafe_code)]

pub mod commit;
pub mod error;
pub mod fold;
pub mod graph;
pub mod id;
pub mod limits;
pub mod membership;
pub mod message;
#[cfg(any(test, feature = "sim"))]
pub mod mutant;
#[cfg(not(any(test, feature = "sim")))]
#[allow(dead_code, unreachable_pub)]
mod mutant;
pub mod node;
pub mod sign;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod time;
pub mod walk;
