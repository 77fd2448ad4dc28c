//! How the C library, which the engine and Rust both take memory from, gives it back.

/// From how many bytes on a block of memory is a mapping of its own: less than a large row, and
/// far more than the nodes of trees.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED_BLOCK_BYTES_MIN: libc::c_int = 1 << 20;

/// Makes large blocks of memory go back to the operating system as soon as they are freed.
///
/// The GNU C library does so by itself until the first one is freed; from then on it keeps blocks
/// of up to 32 MiB for later. A node that once moved large rows so keeps up to several times their
/// size. For programs, at their start: the setting is one of the whole process.
pub fn return_large_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the call sets a number of the allocator, which may be done at any time.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BLOCK_BYTES_MIN);
    }
}
