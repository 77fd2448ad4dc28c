//! The history under main.

use doltswarm_core::commit::CommitInfo;

use super::commit::info;
use super::connection::{During, parse_hash};
use super::ffi::Connection;
use crate::engine::{EngineError, EngineResult, Value};

/// The newest commits under the tip of main, at most `limit`, newest first.
pub(super) fn log(main: &Connection, limit: usize) -> EngineResult<Vec<CommitInfo>> {
    let limit = Value::Integer(i64::try_from(limit).unwrap_or(i64::MAX));
    let sql = "SELECT commit_hash FROM dolt_log LIMIT ?";
    let rows = main.rows(sql, &[limit]).during("read the history")?;
    let commit = |row: &Vec<Value>| {
        let hash = parse_hash(row.first())?;
        info(main, &hash)?.ok_or(EngineError::NoSuchCommit(hash))
    };
    rows.iter().map(commit).collect()
}
