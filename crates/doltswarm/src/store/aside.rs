//! The commits that this node set aside, so that a restart does not try them again.

use std::collections::BTreeMap;

use doltswarm_core::id::CommitHash;
use doltswarm_core::limits;
use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::Store;
use super::codec;
use super::error::StoreError;

/// The reason, by commit.
const SET_ASIDE: TableDefinition<&[u8; CommitHash::BYTES], &[u8]> =
    TableDefinition::new("set_aside");

fn failed(error: impl Into<redb::Error>) -> StoreError {
    StoreError::from_redb("keep what is set aside", error)
}

pub(super) fn create_tables(txn: &WriteTransaction) -> Result<(), StoreError> {
    txn.open_table(SET_ASIDE).map_err(failed)?;
    Ok(())
}

impl Store {
    /// The commits that this node set aside, with the reasons.
    pub fn set_aside(&self) -> Result<BTreeMap<CommitHash, String>, StoreError> {
        self.read(|txn| {
            let table = txn.open_table(SET_ASIDE).map_err(failed)?;
            let mut all = BTreeMap::new();
            for entry in table.iter().map_err(failed)? {
                let (commit, reason) = entry.map_err(failed)?;
                let reason = codec::decode_reason(reason.value())?;
                all.insert(CommitHash::from_bytes(*commit.value()), reason);
            }
            Ok(all)
        })
    }

    /// Remembers that a commit is set aside; on the disk when it returns. The reason is cut at
    /// [`limits::REASON_BYTES_MAX`].
    pub fn add_set_aside(&self, commit: &CommitHash, reason: &str) -> Result<(), StoreError> {
        let reason = &reason[..reason.floor_char_boundary(limits::REASON_BYTES_MAX)];
        let record = codec::encode_reason(reason)?;
        self.write("keep what is set aside", |txn| {
            let mut table = txn.open_table(SET_ASIDE).map_err(failed)?;
            table.insert(commit.as_bytes(), record.as_slice()).map_err(failed)?;
            Ok(())
        })
    }

    /// Forgets that a commit is set aside; returns whether it was.
    pub fn remove_set_aside(&self, commit: &CommitHash) -> Result<bool, StoreError> {
        self.write("release a commit", |txn| {
            let mut table = txn.open_table(SET_ASIDE).map_err(failed)?;
            let removed = table.remove(commit.as_bytes()).map_err(failed)?;
            Ok(removed.is_some())
        })
    }
}

/// Takes the table out, as it was before there was one.
#[cfg(test)]
pub(super) fn drop_for_test(store: &Store) {
    let drop = |txn: &WriteTransaction| txn.delete_table(SET_ASIDE).map_err(failed);
    store.write("drop", drop).expect("drop");
}
