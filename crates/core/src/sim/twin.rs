//! A real engine that runs beside the model: the same operations in the same order, compared at
//! each.

use std::fmt::Debug;

use super::edit::Edit;
use super::engine::Saying;
use super::root::Root;
use crate::commit::Merge;
use crate::id::CommitHash;

/// One user commit, as the model has worked it out.
#[derive(Debug)]
pub struct Work<'a> {
    /// The database before it.
    pub before: &'a Root,
    /// What is changed, in order; the rules allow each of these.
    pub edits: &'a [Edit],
    /// What the rules do not allow on top of them: the engine must refuse each of these.
    pub refused: &'a [Edit],
    /// The database after it.
    pub after: &'a Root,
    /// What it says.
    pub saying: &'a Saying,
}

/// Real engines, one for each node, that do what the model does. They name the commits.
///
/// A method panics where the engine does something else than the model: that is a finding.
pub trait Twin: Debug {
    /// The founding commit, which every node has.
    fn founding(&mut self) -> CommitHash;

    /// Commits on main.
    fn commit(&mut self, node: usize, work: &Work<'_>) -> CommitHash;

    /// Merges: the merge commit, or why there can be none.
    fn merge(&mut self, node: usize, merge: &Merge, settles: bool) -> Result<CommitHash, String>;

    /// Fetches `heads` and all under them from another node.
    fn fetch(&mut self, node: usize, from: usize, heads: &[CommitHash]);

    /// Moves main from where it is; it must then be `expected`.
    fn move_main(&mut self, node: usize, from: CommitHash, to: CommitHash, expected: &Root);

    /// Makes a catch-up commit on top of a main that is above `from`; nothing where main and `to`
    /// do not agree, which is where nothing is `expected`, or the engine makes none.
    fn catch_up(
        &mut self,
        node: usize,
        from: CommitHash,
        to: CommitHash,
        saying: &Saying,
        expected: Option<&Root>,
    ) -> Option<CommitHash>;

    /// Keeps exactly these heads on branches of their own.
    fn set_parked(&mut self, node: usize, heads: &[CommitHash]);

    /// The process is killed and comes back.
    fn restart(&mut self, node: usize);

    /// Everything is over: main must be `expected`, and the database sound.
    fn check_end(&mut self, node: usize, main: CommitHash, expected: &Root);
}
