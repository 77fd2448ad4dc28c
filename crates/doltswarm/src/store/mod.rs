//! The node's store: what a node knows beside the database, in one file, `store.redb`.
//!
//! What a crash leaves behind. redb writes pages beside the old ones and then flips one header, so
//! the file is as before or as after each transaction, and every transaction here is durable when
//! its call returns. What may wait (the node's own commits, the cache of merges) waits in memory,
//! goes with the next transaction or with [`Store::flush`], and is derived again at start if it did
//! not get there. So there are two cases: before, and after.
//!
//! A full disk makes redb refuse the open file for ever, so the next call opens it anew. What
//! waited in memory is still there.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use doltswarm_core::commit::{ConflictPolicy, EngineKind};
use doltswarm_core::id::{CommitHash, PeerId, SwarmId};
use doltswarm_core::limits;
use redb::{Database, ReadTransaction, ReadableDatabase, WriteTransaction};

mod aside;
mod codec;
mod commits;
mod error;
mod invites;
mod merges;
mod meta;
mod peers;
#[cfg(test)]
mod tests;
mod upgrade;

pub use commits::SignersChange;
pub use error::{RedeemError, StoreError};
pub use invites::Invite;
pub use merges::RememberedMerge;
pub use peers::PeerEntry;

/// The store's file in the node's directory.
pub const FILE_NAME: &str = "store.redb";

/// The version of the tables and of every record in them.
const FORMAT_VERSION: u32 = 4;
/// The oldest version that [`Store::open`] brings up to date.
const FORMAT_VERSION_MIN: u32 = 2;

/// What a swarm is; it never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Founding {
    /// The swarm: derived from the next two.
    pub swarm: SwarmId,
    /// The peer that founded it.
    pub founder: PeerId,
    /// The first commit of all.
    pub founding: CommitHash,
    /// The engine of all peers.
    pub engine: EngineKind,
    /// What happens where two versions of a row meet.
    pub policy: ConflictPolicy,
}

/// A handle on the node's store. Clones share one open file; calls block, and may come from any
/// thread.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    founding: Founding,
    /// `None` after the file could not be opened anew, when the next call tries again, and when it
    /// is closed.
    db: RwLock<Option<Database>>,
    closed: AtomicBool,
    /// Set when redb refuses further work on the open file.
    stuck: AtomicBool,
    pending: Mutex<Pending>,
    /// Held through a write, so that what is taken off `pending` after the commit is what was
    /// copied from it before.
    writing: Mutex<()>,
}

/// What waits in memory for the next durable transaction, oldest first.
#[derive(Default)]
struct Pending {
    commits: Vec<commits::Record>,
    merges: Vec<RememberedMerge>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("dir", &self.inner.dir).finish_non_exhaustive()
    }
}

impl Store {
    /// Makes the store of a new node in `dir` and opens it.
    ///
    /// The file appears under its name only when it is whole: a crash before that leaves the
    /// directory without a store.
    ///
    /// # Errors
    ///
    /// [`StoreError::AlreadyThere`] where there is one; [`StoreError::Invalid`] where
    /// `founding.swarm` is not what its founder and founding commit give.
    pub fn create(dir: &Path, founding: &Founding) -> Result<Self, StoreError> {
        if founding.swarm != SwarmId::derive(&founding.founder, &founding.founding) {
            return Err(StoreError::invalid("the swarm's id does not come from its founding"));
        }
        let path = dir.join(FILE_NAME);
        if path.exists() {
            return Err(StoreError::AlreadyThere { dir: dir.to_owned() });
        }
        let unfinished = dir.join("store.redb.new");
        let io = |error| StoreError::from_io("create its file", &error);
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        create_private(&unfinished).map_err(io)?;
        let db = builder()
            .create(&unfinished)
            .map_err(|error| StoreError::from_redb("create its file", error))?;
        meta::initialise(&db, founding)?;
        drop(db);
        fs::rename(&unfinished, &path).map_err(io)?;
        sync_dir(dir).map_err(io)?;
        Self::open(dir)
    }

    /// Opens the store of the node in `dir`, and checks every page of it. One of an older format is
    /// rewritten first, in one transaction.
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`], [`StoreError::Locked`], [`StoreError::Corrupt`],
    /// [`StoreError::WrongVersion`], or what the file system says.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let db = open_file(dir)?;
        upgrade::upgrade(&db)?;
        let founding = meta::read_founding(&begin_read(&db)?)?;
        Ok(Self {
            inner: Arc::new(Inner {
                dir: dir.to_owned(),
                founding,
                db: RwLock::new(Some(db)),
                closed: AtomicBool::new(false),
                stuck: AtomicBool::new(false),
                pending: Mutex::default(),
                writing: Mutex::default(),
            }),
        })
    }

    /// What the swarm is.
    pub fn founding(&self) -> &Founding {
        &self.inner.founding
    }

    /// Writes what waits in memory; when it returns, that is on the disk.
    pub fn flush(&self) -> Result<(), StoreError> {
        let nothing_waits = {
            let pending = self.pending();
            pending.commits.is_empty() && pending.merges.is_empty()
        };
        if nothing_waits { Ok(()) } else { self.write("flush", |_| Ok(())) }
    }

    /// Writes what waits in memory and closes the file, whoever holds another handle: from then on
    /// every call is refused, and another process may open the store.
    ///
    /// # Errors
    ///
    /// What [`Self::flush`] says; the file is closed all the same.
    pub fn close(&self) -> Result<(), StoreError> {
        let flushed = self.flush();
        self.inner.closed.store(true, Ordering::Release);
        *self.inner.db.write().unwrap_or_else(PoisonError::into_inner) = None;
        flushed
    }

    /// Runs `f` in a read transaction: it sees one state of the file, without what waits in memory.
    fn read<T>(
        &self,
        f: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.inner.with_db(|db| f(&begin_read(db)?))
    }

    /// Runs `f` in a durable write transaction that first writes what waits in memory. Nothing of
    /// it stays where anything fails.
    fn write<T, E: From<StoreError>>(
        &self,
        what: &'static str,
        f: impl FnOnce(&WriteTransaction) -> Result<T, E>,
    ) -> Result<T, E> {
        let _writing = self.inner.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut refused = None;
        let result = self.inner.with_db(|db| {
            let failed = |error| StoreError::from_redb(what, error);
            let txn = db.begin_write().map_err(|error| failed(redb::Error::from(error)))?;
            let (commits, merges) = {
                let pending = self.pending();
                (pending.commits.clone(), pending.merges.clone())
            };
            commits::write(&txn, &commits)?;
            merges::write(&txn, &merges)?;
            let value = match f(&txn) {
                Ok(value) => value,
                Err(error) => {
                    refused = Some(error);
                    // Dropping the transaction takes all of it back.
                    return Ok(None);
                }
            };
            txn.commit().map_err(|error| failed(redb::Error::from(error)))?;
            let mut pending = self.pending();
            pending.commits.drain(..commits.len());
            pending.merges.drain(..merges.len());
            Ok(Some(value))
        });
        match (result, refused) {
            (_, Some(error)) => Err(error),
            (Err(error), None) => Err(error.into()),
            (Ok(value), None) => Ok(value.expect("because only a refusal gives no value")),
        }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.inner.pending()
    }
}

impl Inner {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        // Every holder leaves the two lists whole, so a panic elsewhere spoils nothing here.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `f` on the open file, which is opened anew where an earlier failure spoiled the handle.
    fn with_db<T>(
        &self,
        f: impl FnOnce(&Database) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::Closed);
        }
        if self.stuck.load(Ordering::Acquire) {
            let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
            if self.closed.load(Ordering::Acquire) {
                return Err(StoreError::Closed);
            }
            if self.stuck.load(Ordering::Acquire) {
                // The old handle holds the file's lock, so it has to go first.
                *db = None;
                *db = Some(open_file(&self.dir)?);
                self.stuck.store(false, Ordering::Release);
                tracing::info!(dir = %self.dir.display(), "opened the node's store anew");
            }
        }
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        let Some(db) = db.as_ref() else {
            return Err(StoreError::Failed {
                what: "open its file again",
                message: "another thread could not either".to_owned(),
            });
        };
        let result = f(db);
        if result.as_ref().is_err_and(StoreError::needs_reopen) {
            self.stuck.store(true, Ordering::Release);
        }
        result
    }
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(limits::STORE_CACHE_BYTES);
    // Without it redb trusts a file that was closed cleanly, and may panic on a damaged one.
    builder.set_check_integrity_on_open(true);
    builder
}

fn open_file(dir: &Path) -> Result<Database, StoreError> {
    let path = dir.join(FILE_NAME);
    match fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(StoreError::Missing { dir: dir.to_owned() });
        }
        Err(error) => return Err(StoreError::from_io("open its file", &error)),
        Ok(_) => {}
    }
    builder().open(path).map_err(|error| match error {
        redb::DatabaseError::DatabaseAlreadyOpen => StoreError::Locked { dir: dir.to_owned() },
        error => StoreError::from_redb("open its file", error),
    })
}

fn begin_read(db: &Database) -> Result<ReadTransaction, StoreError> {
    db.begin_read().map_err(|error| StoreError::from_redb("begin to read", error))
}

/// Makes an empty file that only its owner can read.
fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// Makes the names in a directory durable.
fn sync_dir(dir: &Path) -> std::io::Result<()> {
    // Elsewhere a directory cannot be opened as a file, and the file system keeps names in order.
    #[cfg(unix)]
    fs::File::open(dir)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = dir;
    Ok(())
}

impl Drop for Inner {
    fn drop(&mut self) {
        let pending = self.pending();
        if !pending.commits.is_empty() {
            // Not written here: a drop cannot say that it failed, and the start mends it.
            tracing::debug!(commits = pending.commits.len(), "the store closes without a flush");
        }
    }
}
