//! The database of a node, of whichever engine: made, opened, cloned.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use doltswarm_core::commit::EngineKind;
use doltswarm_core::id::CommitHash;

use super::OpenError;
use super::layout::Layout;
use super::open::database_error;
use crate::engine::{ChunkFormat, ChunkSource, DoltLite, DoltLiteFormat, Engine, EngineError};

/// Where a node's database is.
#[derive(Debug, Clone)]
pub(super) enum Database {
    /// A file of DoltLite.
    File(PathBuf),
}

/// The rules of an engine's chunks.
pub(super) fn format_of(engine: EngineKind) -> Result<Arc<dyn ChunkFormat>, OpenError> {
    match engine {
        EngineKind::DoltLite => Ok(Arc::new(DoltLiteFormat)),
        EngineKind::Dolt => Err(OpenError::EngineUnsupported { engine: engine.as_str() }),
    }
}

impl Database {
    /// The database of a node in `layout`.
    pub(super) fn of(engine: EngineKind, layout: &Layout) -> Result<Self, OpenError> {
        match engine {
            EngineKind::DoltLite => Ok(Self::File(layout.database())),
            EngineKind::Dolt => Err(OpenError::EngineUnsupported { engine: engine.as_str() }),
        }
    }

    /// Opens it.
    pub(super) fn open(&self) -> Result<Box<dyn Engine>, OpenError> {
        let Self::File(path) = self;
        match DoltLite::open(path) {
            Ok(engine) => Ok(Box::new(engine)),
            Err(EngineError::Corrupt { message }) => Err(OpenError::Damaged { what: message }),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Makes an empty one, or a copy of the file `from`.
    pub(super) fn create(&self, from: Option<&Path>) -> Result<Box<dyn Engine>, OpenError> {
        let Self::File(path) = self;
        let engine = match from {
            Some(from) => DoltLite::copy_from(from, path).map_err(|e| database_error(from, e))?,
            None => DoltLite::create(path).map_err(|error| self.failed(error))?,
        };
        Ok(Box::new(engine))
    }

    /// Makes one with `commit` of `source` as its main.
    pub(super) fn clone_from(
        &self,
        source: Arc<dyn ChunkSource>,
        commit: &CommitHash,
    ) -> Result<Box<dyn Engine>, OpenError> {
        let Self::File(path) = self;
        let engine = DoltLite::clone_from(path, source, commit);
        Ok(Box::new(engine.map_err(|error| self.failed(error))?))
    }

    /// Says that it failed.
    pub(super) fn failed(&self, error: EngineError) -> OpenError {
        let Self::File(path) = self;
        database_error(path, error)
    }
}
