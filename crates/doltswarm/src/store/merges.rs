//! The merges that were made, so that a restart does not make them again. A cache: it may lose
//! anything, and must not say anything false.

use doltswarm_core::id::CommitHash;
use doltswarm_core::limits;
use redb::{ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};

use super::Store;
use super::codec;
use super::error::StoreError;

const PAIR_BYTES: usize = 2 * CommitHash::BYTES;
/// By the pair (ours, theirs).
const MERGES: TableDefinition<&[u8; PAIR_BYTES], &[u8]> = TableDefinition::new("merges");
/// In the order they were remembered.
const MERGE_ORDER: TableDefinition<u64, &[u8; PAIR_BYTES]> = TableDefinition::new("merge_order");

/// A merge and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RememberedMerge {
    /// The commit merged into.
    pub ours: CommitHash,
    /// The commit merged.
    pub theirs: CommitHash,
    /// The merge commit.
    pub commit: CommitHash,
}

fn failed(error: impl Into<redb::Error>) -> StoreError {
    StoreError::from_redb("keep merges", error)
}

fn pair(ours: &CommitHash, theirs: &CommitHash) -> [u8; PAIR_BYTES] {
    let mut pair = [0; PAIR_BYTES];
    pair[..CommitHash::BYTES].copy_from_slice(ours.as_bytes());
    pair[CommitHash::BYTES..].copy_from_slice(theirs.as_bytes());
    pair
}

fn unpair(pair: &[u8; PAIR_BYTES]) -> (CommitHash, CommitHash) {
    let (ours, theirs) = pair.split_at(CommitHash::BYTES);
    let hash = |bytes| CommitHash::from_slice(bytes).expect("because a pair is two hashes long");
    (hash(ours), hash(theirs))
}

pub(super) fn create_tables(txn: &WriteTransaction) -> Result<(), StoreError> {
    txn.open_table(MERGES).map_err(failed)?;
    txn.open_table(MERGE_ORDER).map_err(failed)?;
    Ok(())
}

/// Remembers `merges`, oldest first; the oldest of all make room beyond the bound.
pub(super) fn write(txn: &WriteTransaction, merges: &[RememberedMerge]) -> Result<(), StoreError> {
    if merges.is_empty() {
        return Ok(());
    }
    let mut by_pair = txn.open_table(MERGES).map_err(failed)?;
    let mut order = txn.open_table(MERGE_ORDER).map_err(failed)?;
    let mut last = order.last().map_err(failed)?.map(|(last, _)| last.value());
    for merge in merges {
        let next = codec::next_sequence(last)?;
        let key = pair(&merge.ours, &merge.theirs);
        let record = codec::encode_merge(next, &merge.commit);
        let replaced = by_pair.insert(&key, record.as_slice()).map_err(failed)?;
        if let Some(replaced) = replaced {
            let (sequence, _) = codec::decode_merge(replaced.value())?;
            order.remove(sequence).map_err(failed)?;
        }
        order.insert(next, &key).map_err(failed)?;
        last = Some(next);
    }
    while order.len().map_err(failed)? > limits::MERGES_REMEMBERED_MAX as u64 {
        let Some((_, oldest)) = order.pop_first().map_err(failed)? else { break };
        by_pair.remove(oldest.value()).map_err(failed)?;
    }
    Ok(())
}

/// Forgets all merges.
pub(super) fn clear(txn: &WriteTransaction) -> Result<(), StoreError> {
    txn.delete_table(MERGES).map_err(failed)?;
    txn.delete_table(MERGE_ORDER).map_err(failed)?;
    create_tables(txn)
}

impl Store {
    /// Remembers the commit that merging `theirs` into `ours` made. That a merge is impossible is
    /// not remembered: a restart finds out again.
    ///
    /// It waits in memory for the next durable call or [`Self::flush`]: this is only a cache, and a
    /// merge that is forgotten is made again, to the same bytes.
    pub fn remember_merge(
        &self,
        ours: &CommitHash,
        theirs: &CommitHash,
        commit: &CommitHash,
    ) -> Result<(), StoreError> {
        let merge = RememberedMerge { ours: *ours, theirs: *theirs, commit: *commit };
        // Bounded also while the disk is full: then this one is not remembered.
        if self.pending().merges.len() >= limits::STORE_PENDING_MAX {
            self.flush()?;
        }
        self.pending().merges.push(merge);
        Ok(())
    }

    /// Forgets all merges, those that wait in memory included; on the disk when it returns.
    pub fn forget_merges(&self) -> Result<(), StoreError> {
        self.flush()?;
        self.write("forget merges", clear)
    }

    /// The newest remembered merges, newest first, at most `limit`. What waits in memory is written
    /// first.
    pub fn merges(&self, limit: usize) -> Result<Vec<RememberedMerge>, StoreError> {
        self.flush()?;
        self.read(|txn| {
            let by_pair = txn.open_table(MERGES).map_err(failed)?;
            let order = txn.open_table(MERGE_ORDER).map_err(failed)?;
            let mut merges = Vec::new();
            for entry in order.iter().map_err(failed)?.rev().take(limit) {
                let (sequence, key) = entry.map_err(failed)?;
                let (ours, theirs) = unpair(key.value());
                let record = by_pair.get(key.value()).map_err(failed)?;
                let decoded =
                    record.map(|record| codec::decode_merge(record.value())).transpose()?;
                match decoded {
                    Some((at, commit)) if at == sequence.value() => {
                        merges.push(RememberedMerge { ours, theirs, commit });
                    }
                    _ => {
                        return Err(StoreError::corrupt(format!(
                            "the merge of {theirs} into {ours} is not where its order says"
                        )));
                    }
                }
            }
            Ok(merges)
        })
    }
}
