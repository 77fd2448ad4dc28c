//! Peers and where they were last seen, the swarm's grants, and heads that were rejected.

use doltswarm_core::id::{CommitHash, PeerId};
use doltswarm_core::limits;
use redb::{ReadableTable, ReadableTableMetadata, Table, TableDefinition, WriteTransaction};

use super::Store;
use super::codec;
use super::error::StoreError;

const PEERS: TableDefinition<&[u8; PeerId::BYTES], &[u8]> = TableDefinition::new("peers");
/// By the BLAKE3 hash of the grant's bytes.
const GRANTS: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("grants");
const REJECTED: TableDefinition<&[u8; CommitHash::BYTES], &[u8]> = TableDefinition::new("rejected");

/// A peer as the node remembers it: hints, believed only as far as a dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerEntry {
    /// The peer.
    pub peer: PeerId,
    /// Where it may be, as `host:port`, the best first.
    pub addresses: Vec<String>,
    /// Its name for people; may be empty.
    pub name: String,
    /// When it was last heard of, in milliseconds since 1970-01-01 UTC; 0 for never.
    pub last_seen_ms: u64,
}

fn failed(error: impl Into<redb::Error>) -> StoreError {
    StoreError::from_redb("keep peers and grants", error)
}

pub(super) fn create_tables(txn: &WriteTransaction) -> Result<(), StoreError> {
    txn.open_table(PEERS).map_err(failed)?;
    txn.open_table(GRANTS).map_err(failed)?;
    txn.open_table(REJECTED).map_err(failed)?;
    Ok(())
}

impl Store {
    /// The peers the node remembers, sorted by id.
    pub fn peers(&self) -> Result<Vec<PeerEntry>, StoreError> {
        self.read(|txn| {
            let table = txn.open_table(PEERS).map_err(failed)?;
            table
                .iter()
                .map_err(failed)?
                .map(|entry| {
                    let (peer, bytes) = entry.map_err(failed)?;
                    codec::decode_peer(PeerId::from_bytes(*peer.value()), bytes.value())
                })
                .collect()
        })
    }

    /// Remembers a peer, or what is new about it; on the disk when it returns.
    ///
    /// Where nothing is new but `last_seen_ms`, and that by less than [`limits::LAST_SEEN_GRAIN`],
    /// nothing is written. Beyond [`limits::PEERS_MAX`] the least recently seen peer is forgotten.
    ///
    /// # Errors
    ///
    /// [`StoreError::Invalid`] where the entry is over the limits on names and addresses.
    pub fn put_peer(&self, entry: &PeerEntry) -> Result<(), StoreError> {
        let record = codec::encode_peer(entry)?;
        let known = self.read(|txn| {
            let table = txn.open_table(PEERS).map_err(failed)?;
            let bytes = table.get(entry.peer.as_bytes()).map_err(failed)?;
            bytes.map(|bytes| codec::decode_peer(entry.peer, bytes.value())).transpose()
        })?;
        if known.is_some_and(|known| is_old_news(&known, entry)) {
            return Ok(());
        }
        self.write("keep a peer", |txn| {
            let mut table = txn.open_table(PEERS).map_err(failed)?;
            table.insert(entry.peer.as_bytes(), record.as_slice()).map_err(failed)?;
            while table.len().map_err(failed)? > limits::PEERS_MAX as u64 {
                let Some(oldest) = least_recently_seen(&table, &entry.peer)? else { break };
                table.remove(oldest.as_bytes()).map_err(failed)?;
            }
            Ok(())
        })
    }

    /// Forgets a peer; returns whether it was known.
    pub fn remove_peer(&self, peer: &PeerId) -> Result<bool, StoreError> {
        self.write("forget a peer", |txn| {
            let mut table = txn.open_table(PEERS).map_err(failed)?;
            let removed = table.remove(peer.as_bytes()).map_err(failed)?;
            Ok(removed.is_some())
        })
    }

    /// The swarm's grants and revocations as they travel, sorted by the hash of their bytes.
    pub fn grants(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        self.read(|txn| {
            let table = txn.open_table(GRANTS).map_err(failed)?;
            table
                .iter()
                .map_err(failed)?
                .map(|entry| {
                    let (digest, bytes) = entry.map_err(failed)?;
                    let bytes = bytes.value();
                    if bytes.len() > limits::GRANT_BYTES_MAX
                        || blake3::hash(bytes).as_bytes() != digest.value()
                    {
                        return Err(StoreError::corrupt("a grant does not have its own hash"));
                    }
                    Ok(bytes.to_vec())
                })
                .collect()
        })
    }

    /// Adds grants, which the caller has verified: all of them, durably, or none. Known ones are
    /// skipped.
    ///
    /// # Errors
    ///
    /// [`StoreError::Invalid`] if one is too large.
    pub fn add_grants(&self, grants: &[Vec<u8>]) -> Result<(), StoreError> {
        if let Some(large) = grants.iter().find(|grant| grant.len() > limits::GRANT_BYTES_MAX) {
            return Err(StoreError::invalid(format!(
                "a grant has {} bytes, the most is {}",
                large.len(),
                limits::GRANT_BYTES_MAX
            )));
        }
        self.write("keep grants", |txn| {
            let mut table = txn.open_table(GRANTS).map_err(failed)?;
            for grant in grants {
                table.insert(blake3::hash(grant).as_bytes(), grant.as_slice()).map_err(failed)?;
            }
            Ok(())
        })
    }

    /// The heads that were rejected and why, sorted by hash.
    pub fn rejected(&self) -> Result<Vec<(CommitHash, String)>, StoreError> {
        self.read(|txn| {
            let table = txn.open_table(REJECTED).map_err(failed)?;
            table
                .iter()
                .map_err(failed)?
                .map(|entry| {
                    let (head, bytes) = entry.map_err(failed)?;
                    let (_, reason) = codec::decode_rejected(bytes.value())?;
                    Ok((CommitHash::from_bytes(*head.value()), reason))
                })
                .collect()
        })
    }

    /// Remembers that a head was rejected. The reason is cut at [`limits::REASON_BYTES_MAX`].
    /// Beyond [`limits::REJECTED_MAX`] the oldest is forgotten.
    pub fn add_rejected(&self, head: &CommitHash, reason: &str) -> Result<(), StoreError> {
        let reason = &reason[..reason.floor_char_boundary(limits::REASON_BYTES_MAX)];
        self.write("keep a rejected head", |txn| {
            let mut table = txn.open_table(REJECTED).map_err(failed)?;
            let (mut newest, mut oldest) = (None, None);
            for entry in table.iter().map_err(failed)? {
                let (head, bytes) = entry.map_err(failed)?;
                let (sequence, _) = codec::decode_rejected(bytes.value())?;
                newest = newest.max(Some(sequence));
                if oldest.is_none_or(|(least, _)| sequence < least) {
                    oldest = Some((sequence, *head.value()));
                }
            }
            let sequence = codec::next_sequence(newest)?;
            let record = codec::encode_rejected(sequence, reason)?;
            table.insert(head.as_bytes(), record.as_slice()).map_err(failed)?;
            if table.len().map_err(failed)? > limits::REJECTED_MAX as u64
                && let Some((_, oldest)) = oldest
            {
                table.remove(&oldest).map_err(failed)?;
            }
            Ok(())
        })
    }

    /// Forgets that a head was rejected; returns whether it was.
    pub fn remove_rejected(&self, head: &CommitHash) -> Result<bool, StoreError> {
        self.write("forget a rejected head", |txn| {
            let mut table = txn.open_table(REJECTED).map_err(failed)?;
            let removed = table.remove(head.as_bytes()).map_err(failed)?;
            Ok(removed.is_some())
        })
    }
}

/// Whether writing `new` over `known` is not worth a disk sync.
fn is_old_news(known: &PeerEntry, new: &PeerEntry) -> bool {
    let grain = u64::try_from(limits::LAST_SEEN_GRAIN.as_millis()).unwrap_or(u64::MAX);
    known.addresses == new.addresses
        && known.name == new.name
        && new.last_seen_ms < known.last_seen_ms.saturating_add(grain)
}

/// The peer but `except` that was seen the longest ago.
fn least_recently_seen(
    table: &Table<'_, &[u8; PeerId::BYTES], &[u8]>,
    except: &PeerId,
) -> Result<Option<PeerId>, StoreError> {
    let mut oldest: Option<PeerEntry> = None;
    for entry in table.iter().map_err(failed)? {
        let (peer, bytes) = entry.map_err(failed)?;
        let entry = codec::decode_peer(PeerId::from_bytes(*peer.value()), bytes.value())?;
        if entry.peer != *except
            && oldest.as_ref().is_none_or(|oldest| entry.last_seen_ms < oldest.last_seen_ms)
        {
            oldest = Some(entry);
        }
    }
    Ok(oldest.map(|entry| entry.peer))
}
