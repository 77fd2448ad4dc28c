//! Dolt's storage, read and written without a server.
//!
//! A running server hands its chunks to the node by pushing into a [`Spool`], and takes a peer's
//! chunks by fetching from an [`Inbox`]. Both are plain `file://` stores: a directory with a
//! manifest that names its files of chunks. Nothing here opens a connection, and nothing trusts
//! what it reads: a file may be cut short, and a chunk may come from anyone.
//!
//! The server verifies no hash and shares one cache among all of its databases, so one altered
//! chunk would spread. The inbox is where that is stopped.

mod archive;
mod build;
mod closure;
mod commit;
mod derived;
mod flatbuffer;
mod format;
mod hash;
mod inbox;
mod index;
mod manifest;
mod message;
mod record;
mod sealed;
mod spool;
mod store_file;
mod table_file;

#[cfg(test)]
mod tests;

pub use commit::DoltCommit;
pub use derived::Derived;
pub use format::DoltFormat;
pub(super) use hash::name_of;
pub use hash::{commit_from_text, commit_text};
pub use inbox::{Filled, Inbox};
pub use spool::Spool;

use crate::engine::ChunkSource;

use super::super::EngineError;

/// An error about bytes that are not what they should be.
fn corrupt(message: impl Into<String>) -> EngineError {
    EngineError::Corrupt { message: message.into() }
}

/// An error of the operating system about a file.
pub(super) fn io_failed(
    what: &'static str,
    path: &std::path::Path,
    error: &std::io::Error,
) -> EngineError {
    if error.kind() == std::io::ErrorKind::StorageFull {
        return EngineError::DiskFull;
    }
    EngineError::Failed { what, message: format!("{}: {error}", path.display()) }
}

/// Whether a name in a store's directory is that of a file of chunks: the only ones ever removed.
fn is_store_file(name: &std::ffi::OsStr) -> bool {
    let name = name.to_str().unwrap_or_default();
    hash::parse(name.strip_suffix(".darc").unwrap_or(name)).is_some()
}

/// The URL of a directory, for `DOLT_REMOTE`.
///
/// Dolt takes the path from it as from any URL, so what has a meaning there is escaped.
fn url_of(dir: &std::path::Path) -> String {
    let mut url = "file://".to_owned();
    for byte in
        std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned()).as_os_str().as_encoded_bytes()
    {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                url.push(char::from(*byte));
            }
            _ => url.push_str(&format!("%{byte:02X}")),
        }
    }
    url
}
