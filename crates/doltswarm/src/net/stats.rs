//! Counts what the network did.

use std::sync::atomic::{AtomicU64, Ordering};

/// What one network did since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetStats {
    /// Adverts that a peer confirmed to have heard.
    pub adverts_sent: u64,
    /// Well-formed adverts that came.
    pub adverts_received: u64,
    /// Calls on the channels for transfers, repeated ones included: each is at least one round
    /// trip.
    pub transfer_calls: u64,
    /// Chunks that came and were what they were asked for.
    pub chunks_received: u64,
    /// The bytes of these chunks.
    pub chunk_bytes_received: u64,
    /// Bytes written to the streams of all connections, before encryption.
    pub stream_bytes_sent: u64,
    /// Bytes read from the streams of all connections, after decryption.
    pub stream_bytes_received: u64,
}

/// The running counts. Each is exact; a snapshot of several is not taken at one instant.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    adverts_sent: AtomicU64,
    adverts_received: AtomicU64,
    transfer_calls: AtomicU64,
    chunks_received: AtomicU64,
    chunk_bytes_received: AtomicU64,
    stream_bytes_sent: AtomicU64,
    stream_bytes_received: AtomicU64,
}

impl Counters {
    pub(crate) fn advert_sent(&self) {
        self.adverts_sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn advert_received(&self) {
        self.adverts_received.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn transfer_call(&self) {
        self.transfer_calls.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn chunk_received(&self, bytes: usize) {
        self.chunks_received.fetch_add(1, Ordering::Relaxed);
        self.chunk_bytes_received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.stream_bytes_sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.stream_bytes_received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> NetStats {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        NetStats {
            adverts_sent: read(&self.adverts_sent),
            adverts_received: read(&self.adverts_received),
            transfer_calls: read(&self.transfer_calls),
            chunks_received: read(&self.chunks_received),
            chunk_bytes_received: read(&self.chunk_bytes_received),
            stream_bytes_sent: read(&self.stream_bytes_sent),
            stream_bytes_received: read(&self.stream_bytes_received),
        }
    }
}
