//! Where an engine takes chunks from.

use doltswarm_core::id::ChunkHash;

/// Where the chunks of one pull come from. Calls block, and may come from several threads.
pub trait ChunkSource: Send + Sync {
    /// The chunks, in the order asked; `None` where the source does not have one. Every chunk given
    /// has the hash it was asked by.
    ///
    /// # Errors
    ///
    /// A text for people; what the engine was doing fails with it.
    fn get_many(&self, hashes: &[ChunkHash]) -> Result<Vec<Option<Vec<u8>>>, String>;

    /// Whether the source has each chunk, in the order asked.
    ///
    /// # Errors
    ///
    /// As for [`Self::get_many`].
    fn has_many(&self, hashes: &[ChunkHash]) -> Result<Vec<bool>, String> {
        Ok(self.get_many(hashes)?.iter().map(Option::is_some).collect())
    }

    /// How many bytes the source holds, at most: an engine takes much of it in another way than
    /// little. A source that does not know holds much.
    fn bytes(&self) -> u64 {
        u64::MAX
    }
}
