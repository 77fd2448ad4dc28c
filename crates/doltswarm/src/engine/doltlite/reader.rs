//! Reading main on a connection of its own.

use std::path::{Path, PathBuf};

use super::connection::{Purpose, open};
use super::ffi::{Connection, SqliteError};
use super::guard::Mode;
use crate::engine::{EngineError, EngineResult, Reader, Rows, Value};

/// A reader of main.
pub(super) struct DoltLiteReader {
    path: PathBuf,
    connection: Connection,
}

impl DoltLiteReader {
    pub(super) fn open(path: &Path) -> EngineResult<Self> {
        Ok(Self { path: path.to_owned(), connection: open(path, Purpose::Read)? })
    }

    fn read(&self, sql: &str, params: &[Value], limit: usize) -> Result<(Rows, bool), SqliteError> {
        let connection = &self.connection;
        connection.judging(Mode::Read, || connection.read(sql, params, limit))
    }
}

impl Reader for DoltLiteReader {
    fn query(&mut self, sql: &str, params: &[Value], limit: usize) -> EngineResult<Rows> {
        let mut result = self.read(sql, params, limit);
        // A connection knows the engine's own tables (`dolt_diff_t`) only of the tables that were
        // there when it was opened.
        let is_stale = |e: &SqliteError| e.message.contains("no such table: dolt_");
        if result.as_ref().is_err_and(is_stale) {
            self.connection = open(&self.path, Purpose::Read)?;
            result = self.read(sql, params, limit);
        }
        let (rows, more) = result.map_err(SqliteError::of_caller)?;
        if more { Err(EngineError::TooLarge { limit }) } else { Ok(rows) }
    }
}
