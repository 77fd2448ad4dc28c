//! The way up from the store's older formats.
//!
//! Everything happens in one transaction, so the file is of the one format or of the other.

use redb::Database;

use super::error::StoreError;
use super::{FORMAT_VERSION, FORMAT_VERSION_MIN, aside, begin_read, commits, merges, meta};

/// Rewrites a store of an older format; does nothing to any other.
pub(super) fn upgrade(db: &Database) -> Result<(), StoreError> {
    let version = meta::read_version(&begin_read(db)?)?;
    if !(FORMAT_VERSION_MIN..FORMAT_VERSION).contains(&version) {
        return Ok(());
    }
    let failed = |error: redb::Error| StoreError::from_redb("bring its file up to date", error);
    let txn = db.begin_write().map_err(|error| failed(error.into()))?;
    commits::upgrade(&txn, version)?;
    if version == FORMAT_VERSION_MIN {
        aside::create_tables(&txn)?;
        // They may say that a merge is impossible because an engine failed once.
        merges::clear(&txn)?;
    }
    meta::write_version(&txn)?;
    txn.commit().map_err(|error| failed(error.into()))?;
    tracing::info!("brought the node's store up to date");
    Ok(())
}
