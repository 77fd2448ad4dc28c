//! What can go wrong while measuring. A wanted value that is missed is no error.

use std::path::{Path, PathBuf};

/// The result of a part of a benchmark.
pub(crate) type BenchResult<T> = Result<T, BenchError>;

/// Why a figure could not be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// A node ended or does not answer.
    #[error("node {node}: {message}")]
    Node {
        /// The node's name.
        node: String,
        /// What happened.
        message: String,
    },
    /// What nodes hold at the end is not what was written.
    #[error("the nodes hold other rows than were written: {0}")]
    Wrong(String),
    /// The engine by itself failed.
    #[error("the engine by itself: {0}")]
    Engine(#[from] doltlite::Error),
    /// A MySQL client failed.
    #[error("a MySQL client: {0}")]
    Client(#[from] mysql::Error),
    /// The program `dolt` is not on this machine.
    #[error(
        "measuring on Dolt servers needs the program `dolt`, which is not on the path\n\
         hint: get it from https://github.com/dolthub/dolt/releases (1.87 or later) or build it as \
         docs/dolt.md says, and put it on the path or name it in DOLTSWARM_DOLT"
    )]
    NoDolt,
    /// The program `dolt` failed.
    #[error("`dolt {what}`: {message}")]
    Dolt {
        /// Its arguments.
        what: String,
        /// What it says.
        message: String,
    },
    /// The swarm's engine failed.
    #[error("the engine: {0}")]
    SwarmEngine(#[from] doltswarm::EngineError),
    /// A file, a directory or a process could not be used.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The result could not be written.
    #[error("cannot write the result: {0}")]
    Output(std::io::Error),
    /// The command line asks for what there is not.
    #[error("{0}")]
    Usage(String),
    /// A signal.
    #[error("interrupted")]
    Interrupted,
}

impl BenchError {
    /// An error of the file system; for `map_err`.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}
