//! Copying a database that another program may have open.

use std::path::Path;

use super::connection::{During, Purpose, check_file, open};
use crate::engine::{EngineError, EngineResult};

/// Copies the database file at `from` to `to`, its uncommitted changes included.
///
/// A write transaction on the source keeps writers out meanwhile; nothing is written to it.
pub(super) fn copy(from: &Path, to: &Path) -> EngineResult<()> {
    check_file(from)?;
    let source = open(from, Purpose::Main)?;
    source.batch("BEGIN IMMEDIATE").during("lock the database to copy")?;
    let copied = std::fs::copy(from, to);
    source.batch("ROLLBACK").during("unlock the database to copy")?;
    copied.map(|_| ()).map_err(|error| {
        // Half a copy would pass for a database.
        let _ = std::fs::remove_file(to);
        match error.kind() {
            std::io::ErrorKind::StorageFull => EngineError::DiskFull,
            _ => EngineError::Failed { what: "copy the database", message: error.to_string() },
        }
    })
}
