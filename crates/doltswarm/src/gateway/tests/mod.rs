//! Tests of the gateway: as the engine uses it, and as nobody should.

use std::collections::HashMap;
use std::sync::Mutex;

use doltswarm_core::id::ChunkHash;

use super::*;

mod engine;
mod raw;

/// Chunks in memory.
#[derive(Default)]
struct Memory {
    chunks: Mutex<HashMap<ChunkHash, Vec<u8>>>,
}

impl ChunkSource for Memory {
    fn get_many(&self, hashes: &[ChunkHash]) -> Result<Vec<Option<Vec<u8>>>, String> {
        let chunks = self.chunks.lock().unwrap();
        Ok(hashes.iter().map(|hash| chunks.get(hash).cloned()).collect())
    }
}

/// A source that fails.
struct Broken(&'static str);

impl ChunkSource for Broken {
    fn get_many(&self, _: &[ChunkHash]) -> Result<Vec<Option<Vec<u8>>>, String> {
        Err(self.0.to_owned())
    }
}
