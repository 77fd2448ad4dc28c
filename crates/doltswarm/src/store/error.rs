//! What can go wrong in the node's store.

use std::io;
use std::path::PathBuf;

/// Why the store could not do what was asked. What the call would have written is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The directory has no store, so it is not a node's.
    #[error(
        "{} is not a node: it has no store.redb; make one with `doltswarm init` or `doltswarm join TICKET`",
        dir.display()
    )]
    Missing {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory has a store already.
    #[error("{} is a node already: it has a store.redb", dir.display())]
    AlreadyThere {
        /// The directory.
        dir: PathBuf,
    },
    /// Another process, or another handle in this one, has the store open.
    #[error("the store of {} is open in another process: stop that one first", dir.display())]
    Locked {
        /// The node's directory.
        dir: PathBuf,
    },
    /// The disk is full. The store goes on by itself once there is room.
    #[error("the disk is full: make room; the node's store goes on by itself")]
    DiskFull,
    /// The file is damaged, or was never a node's store.
    #[error(
        "the node's store is damaged: {message}; move store.redb away and join again, or restore a backup"
    )]
    Corrupt {
        /// What was found.
        message: String,
    },
    /// The file is of another version of this program.
    #[error(
        "the node's store has format {found}, this program knows {expected}: use the program that made it"
    )]
    WrongVersion {
        /// The file's format.
        found: u32,
        /// The format this program reads and writes.
        expected: u32,
    },
    /// The store was closed by this process.
    #[error("the node's store is closed")]
    Closed,
    /// The caller asked for something that the store never does.
    #[error("the node's store refuses: {message}")]
    Invalid {
        /// What is wrong with it.
        message: String,
    },
    /// The store failed in a way that the caller cannot mend; the next call opens the file anew.
    #[error("the node's store failed to {what}: {message}")]
    Failed {
        /// What was being done.
        what: &'static str,
        /// What the layer below says.
        message: String,
    },
}

impl StoreError {
    pub(super) fn corrupt(message: impl Into<String>) -> Self {
        Self::Corrupt { message: message.into() }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into() }
    }

    /// Sorts an error of redb by who has to act.
    pub(super) fn from_redb(what: &'static str, error: impl Into<redb::Error>) -> Self {
        match error.into() {
            redb::Error::Io(error) => Self::from_io(what, &error),
            redb::Error::Corrupted(message) => Self::Corrupt { message },
            error @ (redb::Error::TableTypeMismatch { .. }
            | redb::Error::TypeDefinitionChanged { .. }
            | redb::Error::TableDoesNotExist(_)
            | redb::Error::TableIsMultimap(_)
            | redb::Error::TableIsNotMultimap(_)
            | redb::Error::UpgradeRequired(_)) => Self::corrupt(error.to_string()),
            error => Self::Failed { what, message: error.to_string() },
        }
    }

    /// Sorts an error of the file system.
    pub(super) fn from_io(what: &'static str, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull,
            // How redb says that the file is not one of its own, or ends too early.
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                Self::corrupt(error.to_string())
            }
            _ => Self::Failed { what, message: error.to_string() },
        }
    }

    /// Whether redb refuses all further work on the open handle.
    pub(super) fn needs_reopen(&self) -> bool {
        matches!(self, Self::DiskFull | Self::Failed { .. })
    }
}

/// Why a secret did not redeem an invite.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RedeemError {
    /// No invite has this secret.
    #[error("this ticket was not made by this peer, or was withdrawn: ask for a new one")]
    Unknown,
    /// The invite's time is over.
    #[error("this ticket has expired: ask for a new one")]
    Expired,
    /// All uses of the invite are spent.
    #[error("this ticket has been used up: ask for a new one")]
    UsedUp,
    /// The store failed; the invite is as it was.
    #[error(transparent)]
    Store(#[from] StoreError),
}
