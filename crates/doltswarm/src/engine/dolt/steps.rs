//! The steps of moving main, so that tests can stop, or let others act, at each of them.
//!
//! Outside of tests [`reached`] is nothing. `docs/protocol.md` says what a node that is killed at a
//! step leaves behind, and why nothing is lost.

use crate::engine::EngineResult;

/// What has just been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The branch of the fold's tip stands at the target.
    Shown,
    /// The join commit is in the database.
    Joined,
    /// The move is noted.
    Noted,
    /// Main is at the target, or at the join commit.
    Followed,
    /// The move is over.
    Ended,
    /// The step from the join commit down to the fold's tip is noted.
    DownNoted,
    /// Main is at the fold's tip.
    Down,
    /// A commit that fell off is kept on a branch.
    Rescued,
}

#[cfg(test)]
impl Step {
    /// All of them, in order.
    pub(super) const ALL: [Self; 8] = [
        Self::Shown,
        Self::Joined,
        Self::Noted,
        Self::Followed,
        Self::Ended,
        Self::DownNoted,
        Self::Down,
        Self::Rescued,
    ];
}

/// What a test does at a step. Where it answers `true`, the node ends there.
#[cfg(test)]
type Watch = Box<dyn FnMut(Step) -> bool>;

#[cfg(test)]
thread_local! {
    static WATCH: std::cell::RefCell<Option<Watch>> = const { std::cell::RefCell::new(None) };
}

/// From here on this thread's moves of main are watched.
#[cfg(test)]
pub(super) fn watch(watch: Option<Watch>) {
    WATCH.set(watch);
}

/// A step is done.
///
/// # Errors
///
/// In tests alone: the node ends here.
#[cfg(test)]
pub(super) fn reached(step: Step) -> EngineResult<()> {
    // Taken out while it runs: it may look at another engine.
    let Some(mut watch) = WATCH.take() else { return Ok(()) };
    let ends = watch(step);
    WATCH.set(Some(watch));
    if ends {
        let lost = "the node ended here".to_owned();
        return Err(crate::engine::EngineError::Unreachable { message: lost });
    }
    Ok(())
}

/// A step is done.
#[cfg(not(test))]
#[inline(always)]
pub(super) fn reached(_: Step) -> EngineResult<()> {
    Ok(())
}
