//! What merging gave, remembered.

use std::collections::{BTreeMap, VecDeque};

use super::MergeResult;
use crate::id::CommitHash;
use crate::limits::MERGES_REMEMBERED_MAX;
use crate::mutant::{Mutant, is_active};

/// The merges made so far, by `(ours, theirs)`. Failures are remembered too.
///
/// Holds at most [`MERGES_REMEMBERED_MAX`]; the one inserted first goes first. A forgotten merge is
/// only made again.
#[derive(Debug, Clone, Default)]
pub struct MergeMemory {
    results: BTreeMap<(CommitHash, CommitHash), MergeResult>,
    insertions: VecDeque<(CommitHash, CommitHash)>,
}

impl MergeMemory {
    /// Remembers what merging `theirs` into `ours` gave.
    pub fn insert(&mut self, ours: CommitHash, theirs: CommitHash, result: MergeResult) {
        if is_active(Mutant::MergesForgotten) && self.len() > 1 {
            *self = Self::default();
        }
        if self.results.insert((ours, theirs), result).is_some() {
            return;
        }
        self.insertions.push_back((ours, theirs));
        if self.insertions.len() > MERGES_REMEMBERED_MAX
            && let Some(oldest) = self.insertions.pop_front()
        {
            self.results.remove(&oldest);
        }
    }

    /// Returns what merging `theirs` into `ours` gave, if it is remembered.
    pub fn get(&self, ours: &CommitHash, theirs: &CommitHash) -> Option<&MergeResult> {
        self.results.get(&(*ours, *theirs))
    }

    /// Returns `(ours, theirs, result)` of every merge remembered, the one inserted first first.
    pub fn iter(&self) -> impl Iterator<Item = (CommitHash, CommitHash, &MergeResult)> + '_ {
        let result = |key| self.results.get(key).map(|result| (key.0, key.1, result));
        self.insertions.iter().filter_map(result)
    }

    /// How many merges are remembered.
    pub fn len(&self) -> usize {
        self.results.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.results.is_empty()
    }
}
