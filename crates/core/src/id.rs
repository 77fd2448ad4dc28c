//! The names of things: fixed-size byte strings that never mix.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;

/// The text given is not the form that an id is written in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {what}: expected {expected}")]
pub struct ParseIdError {
    what: &'static str,
    expected: String,
    text: String,
}

impl ParseIdError {
    pub(crate) fn new(what: &'static str, expected: impl Into<String>, text: &str) -> Self {
        // A hostile text must not become a long log line.
        Self { what, expected: expected.into(), text: text.chars().take(80).collect() }
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// How many bytes one has.
            pub const BYTES: usize = $bytes;

            /// Wraps raw bytes.
            pub const fn from_bytes(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            /// Takes the bytes from a slice of exactly [`Self::BYTES`] bytes.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// Returns the raw bytes.
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }

            /// Returns the first ten hexadecimal digits: for people, never for lookups.
            pub fn short(&self) -> String {
                HEXLOWER.encode(&self.0[..5])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.short())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                HEXLOWER
                    .decode(text.as_bytes())
                    .ok()
                    .and_then(|bytes| Self::from_slice(&bytes))
                    .ok_or_else(|| {
                        let expected = format!("{} hexadecimal digits", 2 * $bytes);
                        ParseIdError::new($what, expected, text)
                    })
            }
        }
    };
}

id!(
    /// A peer: its ed25519 public key, which is also its address on the network.
    PeerId, 32, "peer id"
);
id!(
    /// A swarm: a hash over the founder's key and the founding commit.
    SwarmId, 32, "swarm id"
);
id!(
    /// A commit of the database. Ordering is by bytes, the same on every peer.
    ///
    /// `Display` is hexadecimal, which is how DoltLite writes hashes.
    CommitHash, 20, "commit hash"
);
id!(
    /// A chunk of the engine's storage; a commit's hash is that of its chunk.
    ChunkHash, 20, "chunk hash"
);

impl From<CommitHash> for ChunkHash {
    fn from(commit: CommitHash) -> Self {
        Self(commit.0)
    }
}

impl SwarmId {
    /// Names the swarm that `founder` founded with `founding`.
    pub fn derive(founder: &PeerId, founding: &CommitHash) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("doltswarm v1 swarm id");
        hasher.update(founder.as_bytes());
        hasher.update(founding.as_bytes());
        Self(*hasher.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_garbage_is_named() {
        let hash = CommitHash::from_bytes([0xab; 20]);
        assert_eq!(hash.to_string().parse::<CommitHash>(), Ok(hash));
        let error = "xyz".parse::<CommitHash>().unwrap_err();
        assert_eq!(error.to_string(), "`xyz` is not a commit hash: expected 40 hexadecimal digits");
    }

    #[test]
    fn swarm_id_depends_on_both_parts() {
        let (a, b) = (PeerId::from_bytes([1; 32]), PeerId::from_bytes([2; 32]));
        let (x, y) = (CommitHash::from_bytes([1; 20]), CommitHash::from_bytes([2; 20]));
        assert_ne!(SwarmId::derive(&a, &x), SwarmId::derive(&b, &x));
        assert_ne!(SwarmId::derive(&a, &x), SwarmId::derive(&a, &y));
    }
}
