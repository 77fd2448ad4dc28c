//! Where a node's files are, and how a new node is put in place.

use std::path::{Path, PathBuf};

use super::OpenError;
use super::open::file_error;
use crate::lock::{DirLock, LockError};

/// The files of a node's directory.
pub(crate) struct Layout {
    dir: PathBuf,
}

impl Layout {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The database's file; where a server has the database, there is none.
    pub(crate) fn database(&self) -> PathBuf {
        self.dir.join("database.db")
    }

    /// The folder through which chunks go to and from a server.
    pub(crate) fn exchange(&self) -> PathBuf {
        self.dir.join("dolt")
    }

    /// What is in the directory of either.
    pub(crate) fn in_the_way(&self) -> Option<PathBuf> {
        [self.database(), self.exchange()].into_iter().find(|path| path.exists())
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.dir.join("store.redb")
    }

    fn config(&self) -> PathBuf {
        self.dir.join(crate::config::FILE_NAME)
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.dir.join("key")
    }

    /// Where a node is put together, so that a crash on the way leaves no half of one in place.
    pub(crate) fn building(&self) -> PathBuf {
        self.dir.join("building")
    }

    /// Whether the directory holds a node: its store is put in place last.
    pub(crate) fn is_node(&self) -> bool {
        self.store().exists() || self.is_half_in_place()
    }

    /// Whether a crash came when the database was in place and the store was not.
    fn is_half_in_place(&self) -> bool {
        let building = Self::new(&self.building());
        !self.store().exists()
            && self.in_the_way().is_some()
            && building.store().exists()
            && building.in_the_way().is_none()
    }

    pub(crate) fn lock(&self) -> Result<DirLock, OpenError> {
        DirLock::acquire(&self.dir).map_err(|error| match error {
            LockError::HeldBy { dir, pid } => OpenError::Locked { dir, pid: pid.unwrap_or(0) },
            LockError::Io { path, source } => file_error("lock", &path, source),
        })
    }

    /// Makes the directory and the place to build in, empty.
    pub(crate) fn prepare(&self) -> Result<(), OpenError> {
        let building = self.building();
        if building.exists() {
            std::fs::remove_dir_all(&building)
                .map_err(|source| file_error("clear", &building, source))?;
        }
        std::fs::create_dir_all(&building).map_err(|source| file_error("create", &building, source))
    }

    /// Puts what was built in place: the database first, the store last. A configuration that is
    /// there already stays.
    pub(crate) fn put_in_place(&self) -> Result<(), OpenError> {
        let building = Self::new(&self.building());
        if let Some(path) = self.in_the_way() {
            return Err(OpenError::InTheWay { path });
        }
        if !self.config().exists() {
            rename(&building.config(), &self.config())?;
        }
        for (from, to) in
            [(building.database(), self.database()), (building.exchange(), self.exchange())]
        {
            if from.exists() {
                rename(&from, &to)?;
            }
        }
        self.put_store_in_place()
    }

    /// Does what a crash kept [`Self::put_in_place`] from doing.
    pub(crate) fn finish(&self) -> Result<(), OpenError> {
        if self.is_half_in_place() { self.put_store_in_place() } else { Ok(()) }
    }

    fn put_store_in_place(&self) -> Result<(), OpenError> {
        rename(&Self::new(&self.building()).store(), &self.store())?;
        let _ = std::fs::remove_dir_all(self.building());
        Ok(())
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), OpenError> {
    std::fs::rename(from, to).map_err(|source| file_error("put in place", to, source))
}
