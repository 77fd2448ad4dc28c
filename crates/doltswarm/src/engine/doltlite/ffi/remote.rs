//! The engine's chunks: reading them from a file, and what one refers to.

use std::ffi::{CString, c_int, c_void};
use std::path::Path;
use std::ptr::{self, NonNull};

use super::{HASH_BYTES, Remote};

/// What the engine takes a chunk for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum ChunkKind {
    /// A commit.
    Commit,
    /// A node of a table's or an index's tree.
    Node,
    /// The list of a commit's tables.
    Catalog,
    /// Something that no commit refers to, or nothing the engine knows.
    Other,
}

/// A handle that reads a database's chunks, apart from every connection.
pub(in super::super) struct ReadOnlyStore {
    remote: NonNull<Remote>,
}

// SAFETY: the handle owns its file and memory, the engine is built thread-safe, and `&mut self` on
// every method keeps it to one thread at a time.
unsafe impl Send for ReadOnlyStore {}

impl ReadOnlyStore {
    /// Opens the file at `path`, or returns `None` where the engine cannot read it.
    pub(in super::super) fn open(path: &Path) -> Option<Self> {
        let url = CString::new(format!("file://{}", path.to_str()?)).ok()?;
        // SAFETY: `url` is NUL-terminated and the default VFS exists for the life of the process.
        let remote = unsafe {
            super::doltliteRemoteOpenReadOnly(super::sqlite3_vfs_find(ptr::null()), url.as_ptr())
        };
        NonNull::new(remote).map(|remote| Self { remote })
    }

    /// Reads the chunks named by `hashes`, or returns the engine's error code.
    pub(in super::super) fn get(
        &mut self,
        hashes: &[[u8; HASH_BYTES]],
    ) -> Result<Vec<Option<Vec<u8>>>, i32> {
        let count = c_int::try_from(hashes.len()).map_err(|_| 18)?;
        let mut data = vec![ptr::null_mut::<u8>(); hashes.len()];
        let mut sizes = vec![0 as c_int; hashes.len()];
        // SAFETY: the handle is open; `hashes` is `count` hashes without gaps, and both out-arrays
        // have `count` places.
        let code = unsafe {
            let get = self.remote.as_ref().get_chunks.ok_or(1)?;
            get(
                self.remote.as_ptr(),
                hashes.as_ptr().cast(),
                count,
                data.as_mut_ptr(),
                sizes.as_mut_ptr(),
            )
        };
        let chunks = data.into_iter().zip(sizes).map(|(data, size)| take(data, size)).collect();
        if code == super::OK { Ok(chunks) } else { Err(code) }
    }

    /// Whether each chunk is there, or the engine's error code.
    pub(in super::super) fn has(&mut self, hashes: &[[u8; HASH_BYTES]]) -> Result<Vec<bool>, i32> {
        has(self.remote, hashes)
    }

    /// Looks at the file again: reading its root is what makes the engine do so.
    pub(in super::super) fn refresh(&mut self) -> Result<(), i32> {
        let (mut data, mut size) = (ptr::null_mut(), 0);
        // SAFETY: the handle is open and both out-pointers are valid.
        let code = unsafe {
            let refs = self.remote.as_ref().get_refs.ok_or(1)?;
            refs(self.remote.as_ptr(), &mut data, &mut size)
        };
        take(data, size);
        if code == super::OK { Ok(()) } else { Err(code) }
    }
}

impl Drop for ReadOnlyStore {
    fn drop(&mut self) {
        // SAFETY: the handle is open and is not used again.
        unsafe {
            if let Some(close) = self.remote.as_ref().close {
                close(self.remote.as_ptr());
            }
        }
    }
}

/// A handle that adds chunks to a database, apart from every connection.
///
/// From the first chunk that is put until the commit it keeps other writers out of the database.
pub(in super::super) struct ChunkWriter {
    remote: NonNull<Remote>,
}

impl ChunkWriter {
    /// Opens the file at `path`, or returns `None` where the engine cannot write it.
    pub(in super::super) fn open(path: &Path) -> Option<Self> {
        let path = CString::new(path.to_str()?).ok()?;
        // SAFETY: `path` is NUL-terminated and the default VFS exists for the life of the process.
        let remote = unsafe {
            super::doltliteFsRemoteOpen(super::sqlite3_vfs_find(ptr::null()), path.as_ptr())
        };
        NonNull::new(remote).map(|remote| Self { remote })
    }

    /// Whether each chunk is there, those put included, or the engine's error code.
    pub(in super::super) fn has(&mut self, hashes: &[[u8; HASH_BYTES]]) -> Result<Vec<bool>, i32> {
        has(self.remote, hashes)
    }

    /// Adds a chunk, or returns the engine's error code; one that does not have its hash is
    /// refused.
    pub(in super::super) fn put(
        &mut self,
        hash: &[u8; HASH_BYTES],
        chunk: &[u8],
    ) -> Result<(), i32> {
        let bytes = c_int::try_from(chunk.len()).map_err(|_| 18)?;
        // SAFETY: the handle is open; `hash` is one hash and `chunk` is readable for `bytes` bytes.
        // Both are copied before the call returns.
        let code = unsafe {
            let put = self.remote.as_ref().put_chunk.ok_or(1)?;
            put(self.remote.as_ptr(), hash.as_ptr(), chunk.as_ptr(), bytes)
        };
        if code == super::OK { Ok(()) } else { Err(code) }
    }

    /// Makes durable what was put and lets other writers in, or returns the engine's error code.
    pub(in super::super) fn commit(&mut self) -> Result<(), i32> {
        // SAFETY: the handle is open.
        let code = unsafe {
            let commit = self.remote.as_ref().commit.ok_or(1)?;
            commit(self.remote.as_ptr())
        };
        if code == super::OK { Ok(()) } else { Err(code) }
    }
}

impl Drop for ChunkWriter {
    /// What was put and not committed is gone.
    fn drop(&mut self) {
        // SAFETY: the handle is open and is not used again.
        unsafe {
            if let Some(close) = self.remote.as_ref().close {
                close(self.remote.as_ptr());
            }
        }
    }
}

fn has(remote: NonNull<Remote>, hashes: &[[u8; HASH_BYTES]]) -> Result<Vec<bool>, i32> {
    let count = c_int::try_from(hashes.len()).map_err(|_| 18)?;
    let mut present = vec![0_u8; hashes.len()];
    // SAFETY: the caller's handle is open; `hashes` is `count` hashes without gaps, and the
    // out-array has `count` places.
    let code = unsafe {
        let has = remote.as_ref().has_chunks.ok_or(1)?;
        has(remote.as_ptr(), hashes.as_ptr().cast(), count, present.as_mut_ptr())
    };
    if code != super::OK {
        return Err(code);
    }
    Ok(present.into_iter().map(|present| present != 0).collect())
}

/// Copies memory that the engine allocated, and frees it.
fn take(data: *mut u8, size: c_int) -> Option<Vec<u8>> {
    if data.is_null() {
        return None;
    }
    let size = usize::try_from(size).unwrap_or(0);
    // SAFETY: the engine gave `data` with `size` bytes to the caller, to be freed once with its own
    // allocator.
    unsafe {
        let copy = std::slice::from_raw_parts(data, size).to_vec();
        super::sqlite3_free(data.cast());
        Some(copy)
    }
}

/// What kind of chunk these bytes are.
pub(in super::super) fn chunk_kind(chunk: &[u8]) -> ChunkKind {
    let Ok(bytes) = c_int::try_from(chunk.len()) else { return ChunkKind::Other };
    // SAFETY: `chunk` is readable for `bytes` bytes; the function only reads.
    match unsafe { super::doltliteClassifyChunk(chunk.as_ptr(), bytes) } {
        1 => ChunkKind::Commit,
        2 => ChunkKind::Node,
        3 => ChunkKind::Catalog,
        _ => ChunkKind::Other,
    }
}

/// The hashes of the chunks that this one refers to, or the engine's error code.
pub(in super::super) fn chunk_children(chunk: &[u8]) -> Result<Vec<[u8; HASH_BYTES]>, i32> {
    let bytes = c_int::try_from(chunk.len()).map_err(|_| 18)?;
    let mut children: Vec<[u8; HASH_BYTES]> = Vec::new();
    let context = ptr::from_mut(&mut children).cast::<c_void>();
    // SAFETY: `chunk` is readable for `bytes` bytes and `context` is what `collect` expects, for
    // the length of this call.
    let code =
        unsafe { super::doltliteEnumerateChunkChildren(chunk.as_ptr(), bytes, collect, context) };
    if code == super::OK { Ok(children) } else { Err(code) }
}

unsafe extern "C" fn collect(context: *mut c_void, hash: *const u8) -> c_int {
    // SAFETY: `context` is the vector of `chunk_children`, which no one else touches meanwhile;
    // `hash` points at one hash, with no promise of alignment beyond a byte.
    unsafe {
        let children = &mut *context.cast::<Vec<[u8; HASH_BYTES]>>();
        children.push(hash.cast::<[u8; HASH_BYTES]>().read());
    }
    super::OK
}
