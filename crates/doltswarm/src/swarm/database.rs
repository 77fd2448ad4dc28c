//! The database of a node, of whichever engine: made, opened, cloned.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use doltswarm_core::commit::EngineKind;
use doltswarm_core::id::{CommitHash, PeerId};

use super::layout::Layout;
use super::open::database_error;
use super::{DoltServer, OpenError};
use crate::config::DoltConfig;
use crate::engine::{
    ChunkFormat, ChunkSource, Dolt, DoltFormat, DoltLite, DoltLiteFormat, DoltOptions, Engine,
    EngineError, Password, dolt,
};

/// Where the password of a Dolt server may be.
const PASSWORD_VARIABLE: &str = "DOLTSWARM_DOLT_PASSWORD";

/// Where a node's database is.
#[derive(Debug, Clone)]
pub(super) enum Database {
    /// A file of DoltLite.
    File(PathBuf),
    /// On a Dolt server.
    Server(Box<DoltOptions>),
}

/// Whether a database is marked for its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marked {
    Yes,
    No,
}

/// The rules of an engine's chunks.
pub(super) fn format_of(engine: EngineKind) -> Arc<dyn ChunkFormat> {
    match engine {
        EngineKind::DoltLite => Arc::new(DoltLiteFormat),
        EngineKind::Dolt => Arc::new(DoltFormat),
    }
}

impl Database {
    /// The database of a node in `layout`.
    ///
    /// # Errors
    ///
    /// [`OpenError::NoServer`] where the engine needs a server and none is named, and
    /// [`OpenError::NoServerNeeded`] the other way round.
    pub(super) fn of(
        engine: EngineKind,
        layout: &Layout,
        server: Option<&DoltServer>,
    ) -> Result<Self, OpenError> {
        match (engine, server) {
            (EngineKind::DoltLite, None) => Ok(Self::File(layout.database())),
            (EngineKind::DoltLite, Some(_)) => Err(OpenError::NoServerNeeded),
            (EngineKind::Dolt, None) => Err(OpenError::NoServer),
            (EngineKind::Dolt, Some(server)) => {
                let folder = layout.exchange();
                let absolute = std::path::absolute(&folder);
                let folder =
                    absolute.map_err(|source| super::open::file_error("find", &folder, source))?;
                let password = match &server.password_file {
                    Some(path) => Password::File(path.clone()),
                    None if std::env::var_os(PASSWORD_VARIABLE).is_some() => {
                        Password::Environment(PASSWORD_VARIABLE.to_owned())
                    }
                    None => Password::Empty,
                };
                Ok(Self::Server(Box::new(DoltOptions {
                    url: server.url.clone(),
                    password,
                    folder,
                })))
            }
        }
    }

    /// Marks it for a node, or fails where it is the database of another one.
    pub(super) fn claim(&self, engine: &mut dyn Engine, node: &PeerId) -> Result<(), OpenError> {
        match self.require_no_other(engine, node)? {
            Marked::Yes => Ok(()),
            Marked::No => engine.mark_owner(node).map_err(|error| self.failed(error)),
        }
    }

    /// Fails where it is the database of another node.
    pub(super) fn require_no_other(
        &self,
        engine: &mut dyn Engine,
        node: &PeerId,
    ) -> Result<Marked, OpenError> {
        let owners = engine.owners().map_err(|error| self.failed(error))?;
        match (self, owners.iter().find(|owner| *owner != node)) {
            (Self::Server(options), Some(owner)) => {
                Err(OpenError::OtherNode { url: options.url.to_string(), owner: *owner })
            }
            _ => Ok(if owners.is_empty() { Marked::No } else { Marked::Yes }),
        }
    }

    /// Opens it.
    pub(super) fn open(&self) -> Result<Box<dyn Engine>, OpenError> {
        match self {
            Self::File(path) => match DoltLite::open(path) {
                Ok(engine) => Ok(Box::new(engine)),
                Err(EngineError::Corrupt { message }) => Err(OpenError::Damaged { what: message }),
                Err(error) => Err(self.failed(error)),
            },
            Self::Server(options) => dolt::require(options)
                .and_then(|()| boxed(Dolt::open(options)))
                .map_err(|error| self.failed(error)),
        }
    }

    /// Makes an empty one, or one of what is in the file `from`; a database that a server has is
    /// taken over. Returns also what could not be taken of the file.
    pub(super) fn create(
        &self,
        from: Option<&Path>,
    ) -> Result<(Box<dyn Engine>, Vec<String>), OpenError> {
        let whole = |engine: Result<Box<dyn Engine>, OpenError>| Ok((engine?, Vec::new()));
        match (self, from) {
            (Self::File(path), Some(from)) => {
                let (engine, left_out) = DoltLite::create_from(from, path)
                    .map_err(|error| database_error(from, error))?;
                Ok((Box::new(engine), left_out))
            }
            (Self::File(path), None) => {
                whole(boxed(DoltLite::create(path)).map_err(|error| self.failed(error)))
            }
            (Self::Server(_), Some(_)) => Err(OpenError::FileForServer),
            (Self::Server(options), None) => {
                self.prepare_folder(options)?;
                let engine = boxed(Dolt::create(options)).map_err(|error| self.failed(error))?;
                dolt::require(options).map_err(|error| self.failed(error))?;
                whole(Ok(engine))
            }
        }
    }

    /// Makes one with `commit` of `source` as its main.
    pub(super) fn clone_from(
        &self,
        source: Arc<dyn ChunkSource>,
        commit: &CommitHash,
    ) -> Result<Box<dyn Engine>, OpenError> {
        let cloned = match self {
            Self::File(path) => boxed(DoltLite::clone_from(path, source, commit)),
            Self::Server(options) => {
                self.prepare_folder(options)?;
                boxed(Dolt::clone_from(options, source, commit))
            }
        };
        let engine = cloned.map_err(|error| self.failed(error))?;
        if let Self::Server(options) = self
            && let Err(error) = dolt::require(options)
        {
            self.discard(engine);
            return Err(self.failed(error));
        }
        Ok(engine)
    }

    /// Takes a database away again that [`Self::clone_from`] made, where a file's folder is not
    /// taken away anyway.
    pub(super) fn discard(&self, engine: Box<dyn Engine>) {
        drop(engine);
        if let Self::Server(options) = self
            && let Err(error) = Dolt::drop_database(options)
        {
            tracing::warn!(%error, url = %options.url, "half a database is left on the server");
        }
    }

    fn prepare_folder(&self, options: &DoltOptions) -> Result<(), OpenError> {
        std::fs::create_dir_all(&options.folder)
            .map_err(|source| super::open::file_error("create", &options.folder, source))
    }

    /// Says that it failed.
    pub(super) fn failed(&self, error: EngineError) -> OpenError {
        match self {
            Self::File(path) => database_error(path, error),
            Self::Server(_) if matches!(error, EngineError::DiskFull) => OpenError::DiskFull,
            Self::Server(options) => {
                OpenError::Server { url: options.url.to_string(), source: error }
            }
        }
    }
}

fn boxed<E: Engine + 'static>(
    engine: Result<E, EngineError>,
) -> Result<Box<dyn Engine>, EngineError> {
    engine.map(|engine| Box::new(engine) as Box<dyn Engine>)
}

impl From<&DoltServer> for DoltConfig {
    fn from(server: &DoltServer) -> Self {
        Self { url: server.url.clone(), password_file: server.password_file.clone() }
    }
}

impl From<&DoltConfig> for DoltServer {
    fn from(config: &DoltConfig) -> Self {
        Self { url: config.url.clone(), password_file: config.password_file.clone() }
    }
}
