//! The C interface of the engine, and the only place with `unsafe`.
//!
//! The `doltlite` crate builds and links the engine. Its own Rust wrapper is not enough here: it
//! cannot say where the next statement of a text begins, install an authorizer, switch triggers off
//! or read chunks. So this module declares the few C functions that are needed, and wraps them in
//! safe types. The crate's version is pinned exactly, because those named `doltlite…` are no public
//! API.

#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_uint, c_void};

// Linked for their symbols only: the engine, and the zlib that it needs.
use doltlite as _;
use libz_sys as _;

#[cfg(unix)]
mod calendar;
mod connection;
mod functions;
mod handle;
mod memory;
mod remote;
mod statement;

pub(super) use connection::{Connection, SqliteError};
pub use memory::return_large_blocks;
pub(super) use remote::{ChunkKind, ChunkWriter, ReadOnlyStore, chunk_children, chunk_kind};
#[cfg(test)]
pub(super) use statement::steps_taken;

/// How many bytes the engine's hashes have.
const HASH_BYTES: usize = doltswarm_core::limits::HASH_BYTES;

const OK: c_int = 0;
const ROW: c_int = 100;
const DONE: c_int = 101;

const OPEN_READONLY: c_int = 0x1;
const OPEN_READWRITE: c_int = 0x2;
const OPEN_CREATE: c_int = 0x4;

const INTEGER: c_int = 1;
const FLOAT: c_int = 2;
const TEXT: c_int = 3;
const BLOB: c_int = 4;

const DBCONFIG_ENABLE_TRIGGER: c_int = 1003;
const AUTH_DENY: c_int = 1;

/// Tells the engine to copy what is bound.
const TRANSIENT: isize = -1;

#[repr(C)]
struct Sqlite3 {
    _opaque: [u8; 0],
}

#[repr(C)]
struct Stmt {
    _opaque: [u8; 0],
}

#[repr(C)]
struct Vfs {
    _opaque: [u8; 0],
}

type Authorizer = unsafe extern "C" fn(
    *mut c_void,
    c_int,
    *const c_char,
    *const c_char,
    *const c_char,
    *const c_char,
) -> c_int;

type ChildCallback = unsafe extern "C" fn(*mut c_void, *const u8) -> c_int;

/// The head of the engine's `struct DoltliteRemote`; the rest of it is private to the engine.
#[repr(C)]
struct Remote {
    get_chunk: *const c_void,
    put_chunk: Option<unsafe extern "C" fn(*mut Remote, *const u8, *const u8, c_int) -> c_int>,
    has_chunks: Option<unsafe extern "C" fn(*mut Remote, *const u8, c_int, *mut u8) -> c_int>,
    get_chunks: Option<
        unsafe extern "C" fn(*mut Remote, *const u8, c_int, *mut *mut u8, *mut c_int) -> c_int,
    >,
    get_refs: Option<unsafe extern "C" fn(*mut Remote, *mut *mut u8, *mut c_int) -> c_int>,
    set_refs: *const c_void,
    set_refs_if: *const c_void,
    check_refs_if: *const c_void,
    commit: Option<unsafe extern "C" fn(*mut Remote) -> c_int>,
    close: Option<unsafe extern "C" fn(*mut Remote)>,
}

unsafe extern "C" {
    fn sqlite3_open_v2(
        path: *const c_char,
        db: *mut *mut Sqlite3,
        flags: c_int,
        vfs: *const c_char,
    ) -> c_int;
    fn sqlite3_close_v2(db: *mut Sqlite3) -> c_int;
    fn sqlite3_errmsg(db: *mut Sqlite3) -> *const c_char;
    fn sqlite3_extended_errcode(db: *mut Sqlite3) -> c_int;
    fn sqlite3_busy_timeout(db: *mut Sqlite3, millis: c_int) -> c_int;
    fn sqlite3_interrupt(db: *mut Sqlite3);
    fn sqlite3_progress_handler(
        db: *mut Sqlite3,
        steps: c_int,
        callback: Option<unsafe extern "C" fn(*mut c_void) -> c_int>,
        context: *mut c_void,
    );
    fn sqlite3_total_changes64(db: *mut Sqlite3) -> i64;
    fn sqlite3_get_autocommit(db: *mut Sqlite3) -> c_int;
    fn sqlite3_db_config(db: *mut Sqlite3, option: c_int, ...) -> c_int;
    fn sqlite3_set_authorizer(
        db: *mut Sqlite3,
        callback: Option<Authorizer>,
        context: *mut c_void,
    ) -> c_int;

    fn sqlite3_prepare_v2(
        db: *mut Sqlite3,
        sql: *const c_char,
        bytes: c_int,
        statement: *mut *mut Stmt,
        tail: *mut *const c_char,
    ) -> c_int;
    fn sqlite3_finalize(statement: *mut Stmt) -> c_int;
    fn sqlite3_step(statement: *mut Stmt) -> c_int;
    fn sqlite3_reset(statement: *mut Stmt) -> c_int;
    fn sqlite3_stmt_readonly(statement: *mut Stmt) -> c_int;
    fn sqlite3_bind_parameter_count(statement: *mut Stmt) -> c_int;
    fn sqlite3_bind_null(statement: *mut Stmt, index: c_int) -> c_int;
    fn sqlite3_bind_int64(statement: *mut Stmt, index: c_int, value: i64) -> c_int;
    fn sqlite3_bind_double(statement: *mut Stmt, index: c_int, value: f64) -> c_int;
    fn sqlite3_bind_text64(
        statement: *mut Stmt,
        index: c_int,
        text: *const c_char,
        bytes: u64,
        destructor: isize,
        encoding: u8,
    ) -> c_int;
    fn sqlite3_bind_blob64(
        statement: *mut Stmt,
        index: c_int,
        blob: *const c_void,
        bytes: u64,
        destructor: isize,
    ) -> c_int;
    fn sqlite3_column_count(statement: *mut Stmt) -> c_int;
    fn sqlite3_column_name(statement: *mut Stmt, column: c_int) -> *const c_char;
    fn sqlite3_column_type(statement: *mut Stmt, column: c_int) -> c_int;
    fn sqlite3_column_int64(statement: *mut Stmt, column: c_int) -> i64;
    fn sqlite3_column_double(statement: *mut Stmt, column: c_int) -> f64;
    fn sqlite3_column_text(statement: *mut Stmt, column: c_int) -> *const u8;
    fn sqlite3_column_blob(statement: *mut Stmt, column: c_int) -> *const u8;
    fn sqlite3_column_bytes(statement: *mut Stmt, column: c_int) -> c_int;

    fn sqlite3_vfs_find(name: *const c_char) -> *mut Vfs;
    fn sqlite3_free(memory: *mut c_void);
    fn doltliteRemoteOpenReadOnly(vfs: *mut Vfs, url: *const c_char) -> *mut Remote;
    fn doltliteFsRemoteOpen(vfs: *mut Vfs, path: *const c_char) -> *mut Remote;
    fn doltliteSetSessionMergeState(
        db: *mut Sqlite3,
        is_merging: u8,
        theirs: *const u8,
        conflicts: *const u8,
    ) -> c_int;
    fn doltlitePersistOrSaveWorkingSet(db: *mut Sqlite3) -> c_int;
    fn doltliteClassifyChunk(data: *const u8, bytes: c_int) -> c_uint;
    fn doltliteEnumerateChunkChildren(
        data: *const u8,
        bytes: c_int,
        callback: ChildCallback,
        context: *mut c_void,
    ) -> c_int;
}
