//! A grant: an admin's signed word that a key is a member, and its canonical bytes.
//!
//! ```text
//! version 1 | swarm 32 | member 32 | role 1 | granter 32 | name length 1 | name | signature 64
//! ```
//!
//! The signature is over a domain and all bytes before it. One grant has exactly one encoding.

use ed25519_dalek::SigningKey;

use crate::id::{PeerId, SwarmId};
use crate::limits::{GRANT_BYTES_MAX, NAME_BYTES_MAX};
use crate::sign::{BadSignature, peer_id, sign, verify};

const GRANT_DOMAIN: &[u8] = b"doltswarm v1 grant\0";
const VERSION: u8 = 1;
const SIGNATURE_BYTES: usize = 64;

// The longest grant fits, and the length of a name fits its byte.
const _: () = assert!(NAME_BYTES_MAX <= u8::MAX as usize);
const _: () = assert!(1 + 3 * 32 + 2 + NAME_BYTES_MAX + SIGNATURE_BYTES <= GRANT_BYTES_MAX);

/// What a member may do; each role may do what the ones below it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Pulls.
    Reader,
    /// Commits.
    Writer,
    /// Grants.
    Admin,
}

impl Role {
    const ALL: [Self; 3] = [Self::Reader, Self::Writer, Self::Admin];

    /// The word for it on the command line and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Writer => "writer",
            Self::Admin => "admin",
        }
    }

    /// Reads the word for it.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }

    const fn byte(self) -> u8 {
        match self {
            Self::Reader => 1,
            Self::Writer => 2,
            Self::Admin => 3,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.byte() == byte)
    }
}

/// An admin's word that a key is a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The swarm it is for.
    pub swarm: SwarmId,
    /// The new member.
    pub member: PeerId,
    /// What the member may do.
    pub role: Role,
    /// The member's name for people: at most [`NAME_BYTES_MAX`] bytes, no control characters; may
    /// be empty.
    pub name: String,
    /// The admin who grants.
    pub granter: PeerId,
}

/// A grant with its granter's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedGrant {
    /// The grant.
    pub grant: Grant,
    /// The granter's ed25519 signature.
    pub signature: [u8; SIGNATURE_BYTES],
}

/// Why bytes are not a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrantDecodeError {
    /// The sizes do not add up.
    #[error("{bytes} bytes are not a grant")]
    Size {
        /// How many bytes were given.
        bytes: usize,
    },
    /// A later version of DoltSwarm wrote it.
    #[error(
        "the grant has format version {version}, and only {VERSION} is known: update doltswarm"
    )]
    Version {
        /// The version it has.
        version: u8,
    },
    /// The role is none of the known ones.
    #[error("the grant names no known role")]
    Role,
    /// The name is too long, not UTF-8 or has control characters.
    #[error("the name in the grant is not at most {NAME_BYTES_MAX} bytes of plain text")]
    Name,
}

impl Grant {
    /// Signs it; `key` must be the granter's, else nobody will believe it.
    ///
    /// # Errors
    ///
    /// Where the name cannot be a member's name.
    pub fn sign(mut self, key: &SigningKey) -> Result<SignedGrant, GrantDecodeError> {
        check_name(&self.name)?;
        self.granter = peer_id(key);
        let signature = sign(key, &self.message());
        Ok(SignedGrant { grant: self, signature })
    }

    /// The canonical bytes, without the signature.
    pub(super) fn body(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(self.swarm.as_bytes());
        bytes.extend_from_slice(self.member.as_bytes());
        bytes.push(self.role.byte());
        bytes.extend_from_slice(self.granter.as_bytes());
        // A longer name was built by hand and never checked: its length wraps, so it fails to
        // decode.
        bytes.push(self.name.len().to_le_bytes()[0]);
        bytes.extend_from_slice(self.name.as_bytes());
        bytes
    }

    fn message(&self) -> Vec<u8> {
        [GRANT_DOMAIN, &self.body()].concat()
    }
}

impl SignedGrant {
    /// Returns the canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.grant.body();
        bytes.extend_from_slice(&self.signature);
        bytes
    }

    /// Reads canonical bytes, which may come from anyone. The signature is not looked at.
    ///
    /// # Errors
    ///
    /// Where the bytes are not exactly one grant.
    pub fn decode(bytes: &[u8]) -> Result<Self, GrantDecodeError> {
        let size = GrantDecodeError::Size { bytes: bytes.len() };
        if bytes.len() > GRANT_BYTES_MAX {
            return Err(size);
        }
        let mut reader = Reader(bytes);
        let version = reader.byte().ok_or(size)?;
        if version != VERSION {
            return Err(GrantDecodeError::Version { version });
        }
        let swarm = SwarmId::from_bytes(reader.array().ok_or(size)?);
        let member = PeerId::from_bytes(reader.array().ok_or(size)?);
        let role = Role::from_byte(reader.byte().ok_or(size)?).ok_or(GrantDecodeError::Role)?;
        let granter = PeerId::from_bytes(reader.array().ok_or(size)?);
        let name_bytes = usize::from(reader.byte().ok_or(size)?);
        let name = reader.take(name_bytes).ok_or(size)?;
        let name = std::str::from_utf8(name).map_err(|_| GrantDecodeError::Name)?.to_owned();
        check_name(&name)?;
        let signature = reader.array().ok_or(size)?;
        if !reader.0.is_empty() {
            return Err(size);
        }
        Ok(Self { grant: Grant { swarm, member, role, name, granter }, signature })
    }

    /// Checks the granter's signature. Whether the granter is an admin is the membership's
    /// business.
    ///
    /// # Errors
    ///
    /// Where the signature is bad, or the granter's id is no public key.
    pub fn verify(&self) -> Result<(), BadSignature> {
        verify(&self.grant.granter, &self.grant.message(), &self.signature)
    }
}

/// A name is shown in terminals, so it must not move the cursor.
fn check_name(name: &str) -> Result<(), GrantDecodeError> {
    let plain = name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control);
    if plain { Ok(()) } else { Err(GrantDecodeError::Name) }
}

/// Bytes not read yet.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signed(name: &str) -> SignedGrant {
        let key = SigningKey::from_bytes(&[3; 32]);
        let grant = Grant {
            swarm: SwarmId::from_bytes([1; 32]),
            member: PeerId::from_bytes([2; 32]),
            role: Role::Writer,
            name: name.into(),
            granter: peer_id(&key),
        };
        grant.sign(&key).unwrap()
    }

    #[test]
    fn encoding_round_trips_and_the_signature_covers_everything() {
        let signed = signed("ann");
        let bytes = signed.encode();
        assert_eq!(SignedGrant::decode(&bytes).as_ref(), Ok(&signed));
        assert_eq!(signed.verify(), Ok(()));
        for index in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[index] ^= 1;
            let verified = SignedGrant::decode(&altered).map(|grant| grant.verify().is_ok());
            assert_ne!(verified, Ok(true), "byte {index} is not covered");
            assert!(SignedGrant::decode(&bytes[..index]).is_err());
        }
        assert!(SignedGrant::decode(&[bytes.as_slice(), &[0]].concat()).is_err());
    }

    #[test]
    fn names_are_plain_and_short() {
        let key = SigningKey::from_bytes(&[3; 32]);
        for name in ["\u{1b}[2J".to_owned(), "x".repeat(NAME_BYTES_MAX + 1), "x".repeat(300)] {
            let grant = Grant { name, ..signed("").grant };
            assert_eq!(grant.clone().sign(&key), Err(GrantDecodeError::Name));
            let forced = SignedGrant { grant, signature: [0; 64] };
            assert!(SignedGrant::decode(&forced.encode()).is_err());
        }
        let longest = signed(&"é".repeat(NAME_BYTES_MAX / 2));
        assert_eq!(SignedGrant::decode(&longest.encode()), Ok(longest));
    }

    #[test]
    fn roles_have_words_and_an_order() {
        for role in Role::ALL {
            assert_eq!(Role::from_word(role.as_str()), Some(role));
        }
        assert_eq!(Role::from_word("owner"), None);
        assert!(Role::Reader < Role::Writer && Role::Writer < Role::Admin);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn decoding_anything_never_panics_and_is_canonical(
            mut bytes in prop::collection::vec(any::<u8>(), 0..600), begin_well: bool,
        ) {
            if let (true, Some(first)) = (begin_well, bytes.first_mut()) {
                *first = VERSION;
            }
            if let Ok(grant) = SignedGrant::decode(&bytes) {
                prop_assert_eq!(grant.encode(), bytes);
            }
        }
    }
}
