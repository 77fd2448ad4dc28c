//! Seeds that once found a fault, each with one line of its story, and the seed that finds each
//! wrong version. They run with every test.
//!
//! A seed is a run only together with the source: a change to what nodes do, or to how runs are
//! drawn, makes it another one. So each line names the wrong version that stands for the fault; the
//! test demands that its seed still finds that, and `sim --mutants` prints the seeds that do.

use crate::mutant::Mutant;

/// A seed that found a fault in this code.
#[derive(Debug, Clone, Copy)]
pub struct Regression {
    /// The seed.
    pub seed: u64,
    /// The wrong version that brings the fault back, where there is one.
    pub mutant: Option<Mutant>,
    /// What was wrong.
    pub story: &'static str,
}

/// The faults that were found, the newest last.
pub const REGRESSIONS: &[Regression] = &[
    Regression {
        seed: 41_672,
        mutant: Some(Mutant::StoreWrittenLate),
        story: "a commit made here was parked before the node's store had it; main left it, the \
                process was killed, and nothing named the commit any more (it was seed 7620 then)",
    },
    Regression {
        seed: 21_771,
        mutant: Some(Mutant::BaseInPart),
        story: "two made the same clash agree each in its own way; the base of their merge had one side \
                of the clash alone, so a table that one of them dropped afterwards came back (it was \
                seed 5383 then)",
    },
];

/// The least seed that finds each wrong version, as `sim --mutants` prints them.
pub const KILLERS: &[(Mutant, u64)] = &[
    (Mutant::TiesByArrival, 0),
    (Mutant::HeightOfFirstParent, 11),
    (Mutant::HeadDropped, 1),
    (Mutant::ResolutionUnsticks, 231),
    (Mutant::NoAntiEntropy, 0),
    (Mutant::GreedyFromFirst, 88),
    (Mutant::LocalCommitIgnored, 6),
    (Mutant::MovesBlindly, 3),
    (Mutant::RejectedFromAll, 17_016),
    (Mutant::StormOnMove, 1),
    (Mutant::HeadsNeverDropped, 1),
    (Mutant::StoreWrittenLate, 41_672),
    (Mutant::LoserNotRecorded, 2),
    (Mutant::HighestBase, 1),
    (Mutant::BaseInPart, 21_771),
    (Mutant::DefaultEvaluated, 94),
    (Mutant::DroppedRowsNotRecorded, 6),
    (Mutant::DefinitionNotRecorded, 38),
    (Mutant::CellsNotRecorded, 187),
    (Mutant::NamesWithCase, 43),
    (Mutant::BrokenViewLeft, 106),
    (Mutant::RecordWithoutBase, 2),
    (Mutant::ClashParks, 6),
    (Mutant::UnchangedCellsRecorded, 415),
    (Mutant::MergesForgotten, 6),
];
