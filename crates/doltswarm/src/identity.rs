//! The node's key: who it is on the network and whose signature its commits carry.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use doltswarm_core::id::PeerId;
use ed25519_dalek::{SECRET_KEY_LENGTH, SigningKey};

/// The key's file in the node's directory.
pub const FILE_NAME: &str = "key";

/// The length of the file: the seed in hexadecimal and a line feed.
const FILE_BYTES: usize = 2 * SECRET_KEY_LENGTH + 1;

/// A node's ed25519 key. The secret is wiped from memory on drop, and `Debug` does not print it.
#[derive(Clone)]
pub struct Identity {
    key: SigningKey,
}

/// Why the key could not be made or loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The node has no key.
    #[error("there is no key at {}: this directory is not a node", path.display())]
    Missing {
        /// The key's file.
        path: PathBuf,
    },
    /// There is a key already; it is never overwritten.
    #[error("there is a key already at {}", path.display())]
    AlreadyThere {
        /// The key's file.
        path: PathBuf,
    },
    /// Other users of the machine can read the key.
    #[error(
        "the key {} can be read by others (mode {mode:03o}): run `chmod 600 {}`, and if others use this machine make a new node",
        path.display(), path.display()
    )]
    Exposed {
        /// The key's file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file does not hold a key.
    #[error(
        "{} is not a key: expected {} hexadecimal digits and a line feed; restore it from a backup",
        path.display(), 2 * SECRET_KEY_LENGTH
    )]
    Malformed {
        /// The key's file.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("cannot {what} the key {}: {source}", path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// The key's file.
        path: PathBuf,
        /// What the file system says.
        source: io::Error,
    },
    /// The operating system gave no randomness.
    #[error("the operating system gives no random bytes: {0}")]
    NoRandomness(getrandom::Error),
}

impl Identity {
    /// Makes a new key that is in no file.
    pub fn generate() -> Result<Self, IdentityError> {
        let mut seed = [0; SECRET_KEY_LENGTH];
        getrandom::fill(&mut seed).map_err(IdentityError::NoRandomness)?;
        Ok(Self::from_secret_bytes(&seed))
    }

    /// The key with this seed.
    pub fn from_secret_bytes(seed: &[u8; SECRET_KEY_LENGTH]) -> Self {
        Self { key: SigningKey::from_bytes(seed) }
    }

    /// Makes a new key and writes it to `dir`, durably, readable by its owner only.
    ///
    /// # Errors
    ///
    /// [`IdentityError::AlreadyThere`] where the directory has one.
    pub fn create(dir: &Path) -> Result<Self, IdentityError> {
        let path = dir.join(FILE_NAME);
        let identity = Self::generate()?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => IdentityError::AlreadyThere { path: path.clone() },
            _ => IdentityError::Io { what: "create", path: path.clone(), source },
        })?;
        if let Err(source) = identity.write(file, dir) {
            // Half a key is of no use, and would be in the way of the next try.
            let _ = fs::remove_file(&path);
            return Err(IdentityError::Io { what: "write", path, source });
        }
        Ok(identity)
    }

    fn write(&self, mut file: File, dir: &Path) -> io::Result<()> {
        let mut text = [b'\n'; FILE_BYTES];
        HEXLOWER.encode_mut(self.key.as_bytes(), &mut text[..FILE_BYTES - 1]);
        file.write_all(&text)?;
        file.sync_all()?;
        // The name is durable with its directory; elsewhere than on Unix none can be opened.
        #[cfg(unix)]
        File::open(dir)?.sync_all()?;
        #[cfg(not(unix))]
        let _ = dir;
        Ok(())
    }

    /// Loads the key of the node in `dir`.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Exposed`] where its group or others may read or write the file.
    pub fn load(dir: &Path) -> Result<Self, IdentityError> {
        let path = dir.join(FILE_NAME);
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => IdentityError::Missing { path: path.clone() },
            _ => IdentityError::Io { what: "read", path: path.clone(), source },
        };
        let file = File::open(&path).map_err(failed)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // Asked of the open file: the path could be another by now.
            let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(IdentityError::Exposed { path, mode });
            }
        }
        let mut text = Vec::with_capacity(FILE_BYTES + 1);
        file.take(FILE_BYTES as u64 + 1).read_to_end(&mut text).map_err(failed)?;
        let digits = text.strip_suffix(b"\n").unwrap_or(&text);
        let mut seed = [0; SECRET_KEY_LENGTH];
        let is_key =
            digits.len() == 2 * SECRET_KEY_LENGTH && HEXLOWER.decode_mut(digits, &mut seed).is_ok();
        if !is_key {
            return Err(IdentityError::Malformed { path });
        }
        Ok(Self::from_secret_bytes(&seed))
    }

    /// The peer this key is.
    pub fn peer_id(&self) -> PeerId {
        PeerId::from_bytes(self.key.verifying_key().to_bytes())
    }

    /// The key, for signing.
    pub fn signing_key(&self) -> &SigningKey {
        &self.key
    }

    /// The secret seed, for the transport, which has the same key. Never log it.
    pub fn secret_bytes(&self) -> [u8; SECRET_KEY_LENGTH] {
        self.key.to_bytes()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.peer_id()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_survives_a_reload_and_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Identity::load(dir.path()), Err(IdentityError::Missing { .. })));
        let made = Identity::create(dir.path()).unwrap();
        let loaded = Identity::load(dir.path()).unwrap();
        assert_eq!(made.secret_bytes(), loaded.secret_bytes());
        assert_eq!(made.peer_id(), loaded.peer_id());
        assert!(matches!(Identity::create(dir.path()), Err(IdentityError::AlreadyThere { .. })));
        assert_eq!(Identity::load(dir.path()).unwrap().peer_id(), made.peer_id());
    }

    #[test]
    fn debug_shows_the_peer_and_no_secret() {
        let identity = Identity::from_secret_bytes(&[0x5a; 32]);
        let shown = format!("{identity:?}");
        assert_eq!(shown, format!("Identity({})", identity.peer_id().short()));
        assert!(!shown.contains("5a5a"));
    }

    #[cfg(unix)]
    #[test]
    fn key_that_others_can_read_is_refused_with_the_cure() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        Identity::create(dir.path()).unwrap();
        let path = dir.path().join(FILE_NAME);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        for exposed in [0o640, 0o604, 0o620, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(exposed)).unwrap();
            let error = Identity::load(dir.path()).unwrap_err();
            assert!(matches!(error, IdentityError::Exposed { mode, .. } if mode == exposed));
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        Identity::load(dir.path()).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn what_is_not_a_key_is_said_to_be_none() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        Identity::create(dir.path()).unwrap();
        let path = dir.path().join(FILE_NAME);
        let good = fs::read(&path).unwrap();
        let long = [good.as_slice(), b"00"].concat();
        let upper = good.to_ascii_uppercase();
        for bad in [&b""[..], b"\n", &good[..63], &long, &upper[..], &[0xff; 65]] {
            fs::write(&path, bad).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let loaded = Identity::load(dir.path());
            if bad == good.as_slice() {
                continue; // A key without letters reads the same in upper case.
            }
            assert!(matches!(loaded, Err(IdentityError::Malformed { .. })), "{loaded:?}");
        }
        fs::write(&path, &good[..64]).unwrap();
        Identity::load(dir.path()).expect("the line feed may be missing");
    }
}
