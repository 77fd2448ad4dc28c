//! The spool: a `file://` store that the server fills by `DOLT_PUSH`, and the node reads.
//!
//! Each push adds a file with exactly the chunks that the spool lacked, then renames a new manifest
//! into place. From some hundreds of files on the server joins them and removes the old ones. So a
//! reader may find that a file it was told of is gone: then the manifest has changed too.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use doltswarm_core::id::ChunkHash;
use doltswarm_core::limits::{
    DOLT_SPOOL_SMALL_BYTES, DOLT_SPOOL_SMALL_FILES_MAX, DOLT_SPOOL_TRIES_MAX,
};

use super::hash::text;
use super::inbox::Filled;
use super::manifest::{self, Manifest};
use super::store_file::StoreFile;
use super::table_file::TableWriter;
use super::{corrupt, io_failed, is_store_file, url_of};
use crate::engine::{ChunkReader, EngineResult};

/// A handle on a spool. Clones share what they know: a refresh of one is seen by all.
///
/// A chunk that is present has all chunks below it, because the server pushes them together. Every
/// chunk is verified each time it is read.
#[derive(Debug, Clone)]
pub struct Spool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    /// The files that the manifest named when it was read last; the newest last.
    files: RwLock<Vec<Arc<StoreFile>>>,
}

impl Spool {
    /// Opens a spool, and makes its directory where there is none.
    ///
    /// # Errors
    ///
    /// [`EngineError::Corrupt`](crate::engine::EngineError::Corrupt) names the file that is cut
    /// short or otherwise damaged.
    pub fn open(dir: impl Into<PathBuf>) -> EngineResult<Self> {
        let dir = dir.into();
        fs::create_dir_all(&dir).map_err(|error| io_failed("make the spool", &dir, &error))?;
        let spool = Self { shared: Arc::new(Shared { dir, files: RwLock::default() }) };
        spool.refresh()?;
        Ok(spool)
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// The URL by which `DOLT_REMOTE` adds the spool.
    pub fn url(&self) -> String {
        url_of(&self.shared.dir)
    }

    /// How many bytes the files have of which the manifest told last. It only grows, because what
    /// the database dropped stays here: where it is much more than the database has, begin anew
    /// with [`Spool::reset`].
    pub fn bytes(&self) -> u64 {
        self.files().iter().map(|file| file.bytes()).sum()
    }

    /// How many chunks the files hold, those counted twice that are in two of them.
    pub fn chunks(&self) -> usize {
        self.files().iter().map(|file| file.chunks()).sum()
    }

    /// Empties the spool: removes its manifest, then its files of chunks, and nothing else.
    ///
    /// The caller sees to it that no push is under way, and pushes all branches anew. A process
    /// that is killed in the middle leaves an empty spool with files that nothing names; the next
    /// reset removes them. Chunks that a clone of this handle is just reading are still read.
    pub fn reset(&self) -> EngineResult<()> {
        let failed = |path: &Path, error: &io::Error| io_failed("empty the spool", path, error);
        let dir = &self.shared.dir;
        let manifest = dir.join(manifest::FILE);
        match fs::remove_file(&manifest) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(&manifest, &error));
            }
            _ => {}
        }
        for entry in fs::read_dir(dir).map_err(|error| failed(dir, &error))? {
            let entry = entry.map_err(|error| failed(dir, &error))?;
            if is_store_file(&entry.file_name()) {
                let path = entry.path();
                fs::remove_file(&path).map_err(|error| failed(&path, &error))?;
            }
        }
        self.put(Vec::new());
        Ok(())
    }

    /// Takes over the file of chunks that an inbox was filled with, which completes what is here:
    /// the server need not push what it has just fetched. No push is under way.
    ///
    /// # Errors
    ///
    /// [`EngineError::Failed`](crate::engine::EngineError::Failed) if the file cannot be moved
    /// here.
    pub fn adopt(&self, inbox: &Path, filled: &Filled) -> EngineResult<()> {
        let dir = &self.shared.dir;
        let failed = |error: io::Error| io_failed("keep what was fetched", dir, &error);
        let root = Manifest::read(dir).map_err(failed)?;
        let mut manifest = match root {
            None => Manifest { root: filled.root, files: Vec::new() },
            Some(manifest) => manifest
                .map_err(|fault| corrupt(format!("in the spool {} {fault}", dir.display())))?,
        };
        if manifest.files.iter().any(|(name, _)| *name == filled.file) {
            return Ok(());
        }
        let name = text(&filled.file);
        fs::rename(inbox.join(&name), dir.join(&name)).map_err(failed)?;
        manifest.files.push((filled.file, filled.chunks));
        manifest.write(dir).map_err(failed)?;
        self.refresh()?;
        self.join_small_files(&mut manifest)
    }

    /// Puts the chunks of many small files into one. Each pull brings a file, and nobody else joins
    /// them on a node that only pulls.
    fn join_small_files(&self, manifest: &mut Manifest) -> EngineResult<()> {
        let is_small = |file: &Arc<StoreFile>| file.bytes() <= DOLT_SPOOL_SMALL_BYTES;
        let small: Vec<_> = self.files().into_iter().filter(is_small).collect();
        if small.len() < DOLT_SPOOL_SMALL_FILES_MAX {
            return Ok(());
        }
        let dir = &self.shared.dir;
        let failed = |error: io::Error| io_failed("join files of the spool", dir, &error);
        let mut writer = TableWriter::create(dir).map_err(failed)?;
        let mut written = BTreeSet::new();
        for file in &small {
            for hash in file.hashes() {
                if written.insert(hash)
                    && let Some(chunk) = file.get_as_stored(&hash)?
                {
                    writer.add(hash, &chunk).map_err(failed)?;
                }
            }
        }
        let joined = writer.finish(dir).map_err(failed)?;
        let is_joined = |name: &ChunkHash| small.iter().any(|file| file.name() == *name);
        manifest.files.retain(|(name, _)| !is_joined(name) && *name != joined.name);
        manifest.files.push((joined.name, joined.chunks));
        manifest.write(dir).map_err(failed)?;
        self.refresh()?;
        for file in small.iter().filter(|file| file.name() != joined.name) {
            // What stays behind is in no manifest; a reset removes it.
            let name = text(&file.name());
            for path in [dir.join(&name), dir.join(format!("{name}.darc"))] {
                let _ = fs::remove_file(path);
            }
        }
        Ok(())
    }

    pub(super) fn files(&self) -> Vec<Arc<StoreFile>> {
        self.shared.files.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put(&self, files: Vec<Arc<StoreFile>>) {
        *self.shared.files.write().unwrap_or_else(PoisonError::into_inner) = files;
    }

    /// Reads the manifest, and the indexes of files that are new.
    pub fn refresh(&self) -> EngineResult<()> {
        let dir = &self.shared.dir;
        let mut gone = None;
        for _ in 0..DOLT_SPOOL_TRIES_MAX {
            let manifest = Manifest::read(dir)
                .map_err(|error| io_failed("read the manifest of the spool", dir, &error))?;
            let Some(manifest) = manifest else {
                self.put(Vec::new());
                return Ok(());
            };
            let manifest = manifest
                .map_err(|fault| corrupt(format!("in the spool {} {fault}", dir.display())))?;
            let known = self.files();
            if known.iter().map(|file| file.name()).eq(manifest.files.iter().map(|(name, _)| *name))
            {
                return Ok(());
            }
            match self.open_all(&known, &manifest)? {
                Ok(files) => {
                    self.put(files);
                    return Ok(());
                }
                Err(name) => gone = Some(name),
            }
        }
        let name = gone.map(|name| text(&name)).unwrap_or_default();
        Err(corrupt(format!(
            "the manifest of the spool {} names a file {name} that is not there",
            dir.display()
        )))
    }

    /// Opens the files of a manifest, or names one that is gone.
    fn open_all(
        &self,
        known: &[Arc<StoreFile>],
        manifest: &Manifest,
    ) -> EngineResult<Result<Vec<Arc<StoreFile>>, ChunkHash>> {
        let mut files = Vec::with_capacity(manifest.files.len());
        for (name, _) in &manifest.files {
            let file = match known.iter().find(|file| file.name() == *name) {
                Some(file) => Arc::clone(file),
                None => match StoreFile::open(&self.shared.dir, *name)? {
                    Some(file) => Arc::new(file),
                    None => return Ok(Err(*name)),
                },
            };
            files.push(file);
        }
        Ok(Ok(files))
    }
}

impl Spool {
    fn get_many_as_read(&self, hashes: &[ChunkHash]) -> EngineResult<Vec<Option<Vec<u8>>>> {
        let files = self.files();
        let get = |hash: &ChunkHash| {
            let found = files.iter().find(|file| file.has(hash));
            found.map_or(Ok(None), |file| file.get(hash))
        };
        hashes.iter().map(get).collect()
    }

    fn has_many_as_read(&self, hashes: &[ChunkHash]) -> Vec<bool> {
        let files = self.files();
        hashes.iter().map(|hash| files.iter().any(|file| file.has(hash))).collect()
    }
}

impl ChunkReader for Spool {
    fn get_many(&mut self, hashes: &[ChunkHash]) -> EngineResult<Vec<Option<Vec<u8>>>> {
        let found = self.get_many_as_read(hashes)?;
        if found.iter().all(Option::is_some) {
            return Ok(found);
        }
        // Files are only added, so only an absence can be out of date.
        self.refresh()?;
        self.get_many_as_read(hashes)
    }

    fn has_many(&mut self, hashes: &[ChunkHash]) -> EngineResult<Vec<bool>> {
        let found = self.has_many_as_read(hashes);
        if found.iter().all(|present| *present) {
            return Ok(found);
        }
        self.refresh()?;
        Ok(self.has_many_as_read(hashes))
    }

    fn size(&mut self) -> EngineResult<u64> {
        Ok(self.bytes())
    }
}
