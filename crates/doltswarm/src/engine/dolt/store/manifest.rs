//! The manifest of a store: its root, and the files that hold its chunks.
//!
//! Dolt, go/store/nbs/file_manifest.go: one line, fields divided by `:`. The storage version `5`,
//! the format `__DOLT__`, the lock, the root, the garbage collector's generation, then a name and a
//! number of chunks for each file. It changes only by renaming a new one over it.

use std::fs;
use std::io;
use std::path::Path;

use doltswarm_core::id::ChunkHash;
use doltswarm_core::limits::{DOLT_MANIFEST_BYTES_MAX, HASH_BYTES};
use sha2::{Digest, Sha512};

use super::hash::{parse, shortened, text};

/// The file that holds the manifest.
pub(super) const FILE: &str = "manifest";
/// The storage version that is read and written.
const VERSION: &str = "5";
/// The format of the chunks that are read and written.
const FORMAT: &str = "__DOLT__";

/// What a manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    /// The root; zero where the store is empty.
    pub(super) root: ChunkHash,
    /// The files and how many chunks each holds.
    pub(super) files: Vec<(ChunkHash, u32)>,
}

impl Manifest {
    /// Reads the manifest of a directory, or `None` where there is none: the store is empty.
    pub(super) fn read(dir: &Path) -> io::Result<Option<Result<Self, &'static str>>> {
        let path = dir.join(FILE);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.len() > DOLT_MANIFEST_BYTES_MAX => {
                return Ok(Some(Err("the manifest is too large")));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(Self::parse(&bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Parses a manifest.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let line = std::str::from_utf8(bytes).map_err(|_| "the manifest is not text")?;
        let mut fields = line.trim_end_matches('\n').split(':');
        if fields.next() != Some(VERSION) {
            return Err("the manifest is not of storage version 5");
        }
        if fields.next() != Some(FORMAT) {
            return Err("the manifest is not of the format __DOLT__");
        }
        let mut hash = || fields.next().and_then(parse).ok_or("the manifest has a bad hash");
        let (_lock, root, _generation) = (hash()?, hash()?, hash()?);
        let mut files = Vec::new();
        while let Some(name) = fields.next() {
            let name = parse(name).ok_or("the manifest names a bad file")?;
            let count = fields.next().and_then(|count| count.parse().ok());
            files.push((name, count.ok_or("the manifest has a bad number of chunks")?));
        }
        Ok(Self { root, files })
    }

    /// Writes the manifest as a line.
    pub(super) fn line(&self) -> String {
        let zero = text(&ChunkHash::from_bytes([0; HASH_BYTES]));
        let mut line = [VERSION, FORMAT, &text(&self.lock()), &text(&self.root), &zero].join(":");
        for (name, count) in &self.files {
            line.push_str(&format!(":{}:{count}", text(name)));
        }
        line
    }

    /// Puts the manifest into a directory, in place of the one there.
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        let temporary = dir.join("new_manifest");
        fs::write(&temporary, self.line())?;
        fs::rename(&temporary, dir.join(FILE))
    }

    /// The lock: a hash over the rest, so that a reader sees that something changed.
    ///
    /// Dolt, go/store/nbs/manifest.go (`generateLockHash`).
    fn lock(&self) -> ChunkHash {
        let mut hasher = Sha512::new();
        hasher.update(self.root.as_bytes());
        hasher.update([0]);
        for (name, _) in &self.files {
            hasher.update(name.as_bytes());
        }
        hasher.update([0]);
        shortened(&hasher.finalize())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hashes() -> impl Strategy<Value = ChunkHash> {
        any::<[u8; HASH_BYTES]>().prop_map(ChunkHash::from_bytes)
    }

    proptest! {
        #[test]
        fn manifests_round_trip(
            root in hashes(),
            files in proptest::collection::vec((hashes(), any::<u32>()), 0..5),
        ) {
            let manifest = Manifest { root, files };
            prop_assert_eq!(Manifest::parse(manifest.line().as_bytes()), Ok(manifest));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, rest in "[0-9a-v:_]{0,200}") {
            let _ = Manifest::parse(&bytes);
            let _ = Manifest::parse(format!("5:__DOLT__:{rest}").as_bytes());
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let hash = text(&ChunkHash::from_bytes([1; HASH_BYTES]));
        let faults = [
            (
                format!("4:__DOLT__:{hash}:{hash}:{hash}"),
                "the manifest is not of storage version 5",
            ),
            (format!("5:7.18:{hash}:{hash}:{hash}"), "the manifest is not of the format __DOLT__"),
            (format!("5:__DOLT__:{hash}:{hash}"), "the manifest has a bad hash"),
            (format!("5:__DOLT__:{hash}:{hash}:{hash}:../x:1"), "the manifest names a bad file"),
            (
                format!("5:__DOLT__:{hash}:{hash}:{hash}:{hash}:-1"),
                "the manifest has a bad number of chunks",
            ),
        ];
        for (line, fault) in faults {
            assert_eq!(Manifest::parse(line.as_bytes()), Err(fault), "{line}");
        }
    }
}
