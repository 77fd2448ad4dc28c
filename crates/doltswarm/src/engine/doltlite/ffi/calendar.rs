//! A `gmtime` that threads do not share.
//!
//! The engine calls `gmtime` to read and write the dates of commits. POSIX lets that function
//! answer in one buffer for the whole process, and glibc and musl do: a thread that reads a date
//! while another database is used gets a mixture of two dates, and then makes a merge commit with
//! another hash than everyone else. The symbol defined here takes the place of the C library's in
//! every program that links this crate; it does the same, but for a buffer of each thread's own.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr;

thread_local! {
    static BUFFER: UnsafeCell<MaybeUninit<libc::tm>> = const { UnsafeCell::new(MaybeUninit::uninit()) };
}

/// As in POSIX: the calendar date of `time` in UTC, valid until this thread's next call; null where
/// the year does not fit.
// SAFETY: no other function of this name is linked statically, and this one keeps the contract of
// POSIX, which is all that callers anywhere in the process rely on.
#[unsafe(no_mangle)]
unsafe extern "C" fn gmtime(time: *const libc::time_t) -> *mut libc::tm {
    // While the thread ends there is no buffer any more, and nothing that could use the answer.
    let buffer = BUFFER.try_with(|buffer| buffer.get().cast::<libc::tm>());
    let Ok(buffer) = buffer else { return ptr::null_mut() };
    // SAFETY: the caller's pointer is valid by the contract of `gmtime`; the buffer is this
    // thread's alone, large enough, and lives as long as the thread.
    unsafe { libc::gmtime_r(time, buffer) }
}
