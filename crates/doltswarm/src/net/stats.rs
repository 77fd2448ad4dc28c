//! Counts what the network did.

use std::sync::atomic::{AtomicU64, Ordering};

/// What one network did since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetStats {
    /// Adverts that a peer confirmed to have heard.
    pub adverts_sent: u64,
    /// Well-formed adverts that came.
    pub adverts_received: u64,
    /// Bytes of chunks that came and were what they were asked for.
    pub chunk_bytes_received: u64,
}

/// The running counts. Each is exact; a snapshot of several is not taken at one instant.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    adverts_sent: AtomicU64,
    adverts_received: AtomicU64,
    chunk_bytes_received: AtomicU64,
}

impl Counters {
    pub(crate) fn advert_sent(&self) {
        self.adverts_sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn advert_received(&self) {
        self.adverts_received.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn chunk_received(&self, bytes: usize) {
        self.chunk_bytes_received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> NetStats {
        NetStats {
            adverts_sent: self.adverts_sent.load(Ordering::Relaxed),
            adverts_received: self.adverts_received.load(Ordering::Relaxed),
            chunk_bytes_received: self.chunk_bytes_received.load(Ordering::Relaxed),
        }
    }
}
