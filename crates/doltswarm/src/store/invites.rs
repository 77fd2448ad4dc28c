//! Invites: the secrets that this node gave out, of which it keeps only the hashes.

use redb::{ReadableTable, ReadableTableMetadata, Table, TableDefinition, WriteTransaction};

use doltswarm_core::limits;

use super::Store;
use super::codec;
use super::error::{RedeemError, StoreError};

/// By the hash of the secret.
const INVITES: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("invites");

/// An invite that this node made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    /// The hash of its secret: names it, and redeems nothing.
    pub id: [u8; 32],
    /// The word for the role it gives; the store does not interpret it.
    pub role: String,
    /// How many more times it can be redeemed.
    pub uses_left: u32,
    /// From when on it is worth nothing, in milliseconds since 1970-01-01 UTC.
    pub expires_ms: u64,
    /// When it was made, in milliseconds since 1970-01-01 UTC.
    pub created_ms: u64,
}

impl Invite {
    /// The id of the invite with this secret.
    pub fn id_of(secret: &[u8; 16]) -> [u8; 32] {
        blake3::derive_key("doltswarm v1 invite secret", secret)
    }

    fn is_spent(&self, now_ms: u64) -> bool {
        self.uses_left == 0 || self.expires_ms <= now_ms
    }
}

fn failed(error: impl Into<redb::Error>) -> StoreError {
    StoreError::from_redb("keep invites", error)
}

pub(super) fn create_tables(txn: &WriteTransaction) -> Result<(), StoreError> {
    txn.open_table(INVITES).map_err(failed)?;
    Ok(())
}

fn all(
    table: &impl ReadableTable<&'static [u8; 32], &'static [u8]>,
) -> Result<Vec<Invite>, StoreError> {
    table
        .iter()
        .map_err(failed)?
        .map(|entry| {
            let (id, bytes) = entry.map_err(failed)?;
            codec::decode_invite(*id.value(), bytes.value())
        })
        .collect()
}

impl Store {
    /// The invites this node made that were not withdrawn, spent ones too, oldest first.
    pub fn invites(&self) -> Result<Vec<Invite>, StoreError> {
        let mut invites = self.read(|txn| all(&txn.open_table(INVITES).map_err(failed)?))?;
        invites.sort_by_key(|invite| (invite.created_ms, invite.id));
        Ok(invites)
    }

    /// Whether any invite can still be redeemed.
    pub fn has_open_invite(&self, now_ms: u64) -> Result<bool, StoreError> {
        Ok(self.invites()?.iter().any(|invite| !invite.is_spent(now_ms)))
    }

    /// Adds an invite, or replaces the one with the same id; on the disk when it returns.
    ///
    /// # Errors
    ///
    /// [`StoreError::Invalid`] where there are [`limits::INVITES_MAX`] that are not spent.
    pub fn add_invite(&self, invite: &Invite) -> Result<(), StoreError> {
        let record = codec::encode_invite(invite)?;
        self.write("keep an invite", |txn| {
            let mut table = txn.open_table(INVITES).map_err(failed)?;
            table.insert(&invite.id, record.as_slice()).map_err(failed)?;
            if table.len().map_err(failed)? > limits::INVITES_MAX as u64 {
                make_room(&mut table, invite.created_ms)?;
            }
            Ok(())
        })
    }

    /// Withdraws an invite; returns whether it was there.
    pub fn remove_invite(&self, id: &[u8; 32]) -> Result<bool, StoreError> {
        self.write("withdraw an invite", |txn| {
            let mut table = txn.open_table(INVITES).map_err(failed)?;
            let removed = table.remove(id).map_err(failed)?;
            Ok(removed.is_some())
        })
    }

    /// Spends one use of the invite with this secret and returns the invite as it is then.
    ///
    /// Of two that redeem the last use at once, one gets it. The use is spent on the disk when this
    /// returns: a crash can lose a use, and never gives one twice.
    pub fn redeem_invite(&self, secret: &[u8; 16], now_ms: u64) -> Result<Invite, RedeemError> {
        let id = Invite::id_of(secret);
        self.write("redeem an invite", |txn| {
            let mut table = txn.open_table(INVITES).map_err(failed)?;
            let known = {
                let bytes = table.get(&id).map_err(failed)?.ok_or(RedeemError::Unknown)?;
                codec::decode_invite(id, bytes.value())?
            };
            let uses_left = known.uses_left.checked_sub(1).ok_or(RedeemError::UsedUp)?;
            if known.expires_ms <= now_ms {
                return Err(RedeemError::Expired);
            }
            let invite = Invite { uses_left, ..known };
            let record = codec::encode_invite(&invite)?;
            table.insert(&id, record.as_slice()).map_err(failed)?;
            Ok(invite)
        })
    }
}

/// Drops the spent invites.
fn make_room(
    table: &mut Table<'_, &'static [u8; 32], &'static [u8]>,
    now_ms: u64,
) -> Result<(), StoreError> {
    let invites = all(table)?;
    let spent: Vec<_> = invites.iter().filter(|invite| invite.is_spent(now_ms)).collect();
    if spent.is_empty() {
        return Err(StoreError::invalid(format!(
            "there are {} open invites already; withdraw some",
            limits::INVITES_MAX
        )));
    }
    for invite in spent {
        table.remove(&invite.id).map_err(failed)?;
    }
    Ok(())
}
