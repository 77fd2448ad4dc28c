//! Wrong versions of the rules, for the tests of the tests: the simulator must find each of them.
//!
//! Without the feature `sim` there are none: [`is_active`] is `false` and is compiled away.

/// One way to get it wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// Heads of equal height are folded in the order in which they arrived.
    TiesByArrival,
    /// A commit's height counts only the first commit it builds on.
    HeightOfFirstParent,
    /// Of a peer's heads only the first is kept, as if the queue were full.
    HeadDropped,
    /// What was resolved on our side opens again where theirs has it open.
    ResolutionUnsticks,
    /// A peer is asked for its heads when it connects, and never again.
    NoAntiEntropy,
    /// Heads that clash are tried from the first to the last, so the newest is parked.
    GreedyFromFirst,
    /// A commit made here does not begin the fold anew.
    LocalCommitIgnored,
    /// A move of main that found main elsewhere counts as done.
    MovesBlindly,
    /// What failed verification from one peer is refused from all.
    RejectedFromAll,
    /// Everyone is told again each time main moves.
    StormOnMove,
    /// A commit that others build on stays a head.
    HeadsNeverDropped,
    /// The node's store is not written before main leaves a commit made here.
    StoreWrittenLate,
    /// A row version that lost is not recorded.
    LoserNotRecorded,
    /// Of several newest common ancestors a merge compares with the highest alone.
    HighestBase,
    /// If newest common ancestors clash with each other, a merge compares with some of them.
    BaseInPart,
    /// A merge evaluates a default that is no literal, on the machine that merges.
    DefaultEvaluated,
    /// If a table goes, the rows that the losing side changed are not recorded.
    DroppedRowsNotRecorded,
    /// A definition that lost is not recorded.
    DefinitionNotRecorded,
    /// Cells that the merged definition has no place for are not recorded.
    CellsNotRecorded,
    /// Names that differ in letter case are two names to a merge.
    NamesWithCase,
    /// A merge keeps views and triggers that cannot work on the merged schema.
    BrokenViewLeft,
    /// A record does not say what the two sides were compared with.
    RecordWithoutBase,
    /// Under `settle`, definitions that clash make a merge impossible.
    ClashParks,
    /// Cells that nobody changed are recorded too if the merged definition has no place for them.
    UnchangedCellsRecorded,
    /// Only the two newest merges are remembered.
    MergesForgotten,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 25] = [
        Self::TiesByArrival,
        Self::HeightOfFirstParent,
        Self::HeadDropped,
        Self::ResolutionUnsticks,
        Self::NoAntiEntropy,
        Self::GreedyFromFirst,
        Self::LocalCommitIgnored,
        Self::MovesBlindly,
        Self::RejectedFromAll,
        Self::StormOnMove,
        Self::HeadsNeverDropped,
        Self::StoreWrittenLate,
        Self::LoserNotRecorded,
        Self::HighestBase,
        Self::BaseInPart,
        Self::DefaultEvaluated,
        Self::DroppedRowsNotRecorded,
        Self::DefinitionNotRecorded,
        Self::CellsNotRecorded,
        Self::NamesWithCase,
        Self::BrokenViewLeft,
        Self::RecordWithoutBase,
        Self::ClashParks,
        Self::UnchangedCellsRecorded,
        Self::MergesForgotten,
    ];
}

#[cfg(any(test, feature = "sim"))]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Whether this thread runs this wrong version.
#[cfg(any(test, feature = "sim"))]
#[inline]
pub(crate) fn is_active(mutant: Mutant) -> bool {
    ACTIVE.get() == Some(mutant)
}

/// There are no wrong versions outside of tests.
#[cfg(not(any(test, feature = "sim")))]
#[inline(always)]
pub(crate) const fn is_active(_: Mutant) -> bool {
    false
}

/// Runs `work` on this thread with a wrong version of the rules, or with the right one.
#[cfg(any(test, feature = "sim"))]
pub fn with<T>(mutant: Option<Mutant>, work: impl FnOnce() -> T) -> T {
    struct Restore(Option<Mutant>);
    impl Drop for Restore {
        fn drop(&mut self) {
            ACTIVE.set(self.0);
        }
    }
    let _restore = Restore(ACTIVE.replace(mutant));
    work()
}
