//! The way up from the store's format before.
//!
//! Everything happens in one transaction, so the file is of the one format or of the other.

use redb::Database;

use super::error::StoreError;
use super::{FORMAT_VERSION_BEFORE, aside, begin_read, commits, merges, meta};

/// Rewrites a store of the format before this one; does nothing to any other.
pub(super) fn upgrade(db: &Database) -> Result<(), StoreError> {
    if meta::read_version(&begin_read(db)?)? != FORMAT_VERSION_BEFORE {
        return Ok(());
    }
    let failed = |error: redb::Error| StoreError::from_redb("bring its file up to date", error);
    let txn = db.begin_write().map_err(|error| failed(error.into()))?;
    aside::create_tables(&txn)?;
    commits::upgrade(&txn)?;
    // They may say that a merge is impossible because an engine failed once.
    merges::clear(&txn)?;
    meta::write_version(&txn)?;
    txn.commit().map_err(|error| failed(error.into()))?;
    tracing::info!("brought the node's store up to date");
    Ok(())
}
