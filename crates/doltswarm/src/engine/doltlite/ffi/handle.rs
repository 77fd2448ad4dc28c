//! Stopping what a connection does.

use std::ffi::{c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::Mutex;

use super::Sqlite3;
use crate::engine::stop::{self, Interrupt};

/// After how many steps a statement asks whether it may go on: a fraction of a millisecond.
const STEPS_BETWEEN_LOOKS: c_int = 4_096;

/// A connection as other threads see it; empty once it is closed.
pub(super) struct Handle(Mutex<Option<NonNull<Sqlite3>>>);

// SAFETY: the only call that is made through the pointer is `sqlite3_interrupt`, which may come
// from any thread as long as the connection is open; the lock is held meanwhile, and `close` takes
// it.
unsafe impl Send for Handle {}
// SAFETY: as above; the pointer is only reached under the lock.
unsafe impl Sync for Handle {}

impl Handle {
    pub(super) fn new(db: NonNull<Sqlite3>) -> Self {
        Self(Mutex::new(Some(db)))
    }

    /// Lets go of the connection, which is about to be closed.
    pub(super) fn close(&self) {
        *self.0.lock().expect("because no holder of this lock panics") = None;
    }
}

impl Interrupt for Handle {
    fn interrupt(&self) {
        if let Some(db) = *self.0.lock().expect("because no holder of this lock panics") {
            // SAFETY: the connection is open, because the lock is held.
            unsafe { super::sqlite3_interrupt(db.as_ptr()) };
        }
    }
}

/// Makes statements of this connection ask whether they may go on.
pub(super) fn install_limits(db: NonNull<Sqlite3>) {
    // SAFETY: the handle is open; the callback needs no context.
    unsafe {
        super::sqlite3_progress_handler(
            db.as_ptr(),
            STEPS_BETWEEN_LOOKS,
            Some(look),
            ptr::null_mut(),
        );
    }
}

/// Ends the statement if it does not return 0.
unsafe extern "C" fn look(_context: *mut c_void) -> c_int {
    c_int::from(stop::is_over(STEPS_BETWEEN_LOOKS.unsigned_abs().into()))
}
