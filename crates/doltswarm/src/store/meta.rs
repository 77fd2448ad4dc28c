//! What the node is: the swarm, and the few things it keeps about itself.

use std::net::SocketAddr;

use doltswarm_core::commit::{ConflictPolicy, EngineKind};
use doltswarm_core::id::{CommitHash, PeerId, SwarmId};
use doltswarm_core::limits;
use redb::{Database, ReadTransaction, TableDefinition, WriteTransaction};

use super::error::StoreError;
use super::{FORMAT_VERSION, Founding, Store};

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");

const VERSION: &str = "version";
const SWARM: &str = "swarm";
const FOUNDER: &str = "founder";
const FOUNDING: &str = "founding";
const ENGINE: &str = "engine";
const POLICY: &str = "policy";
const NAME: &str = "name";
const LISTEN_PORT: &str = "listen_port";
const ADDRESSES: &str = "addresses";
const COLLECTED_BYTES: &str = "collected_bytes";

/// Fills a new file: the founding, and every table, so that a reader always finds them.
pub(super) fn initialise(db: &Database, founding: &Founding) -> Result<(), StoreError> {
    let failed = |error: redb::Error| StoreError::from_redb("create its tables", error);
    let txn = db.begin_write().map_err(|error| failed(error.into()))?;
    {
        let mut meta = txn.open_table(META).map_err(|error| failed(error.into()))?;
        let values: [(&str, &[u8]); 6] = [
            (VERSION, &FORMAT_VERSION.to_le_bytes()),
            (SWARM, founding.swarm.as_bytes()),
            (FOUNDER, founding.founder.as_bytes()),
            (FOUNDING, founding.founding.as_bytes()),
            (ENGINE, founding.engine.as_str().as_bytes()),
            (POLICY, founding.policy.as_str().as_bytes()),
        ];
        for (key, value) in values {
            meta.insert(key, value).map_err(|error| failed(error.into()))?;
        }
    }
    super::aside::create_tables(&txn)?;
    super::commits::create_tables(&txn)?;
    super::merges::create_tables(&txn)?;
    super::peers::create_tables(&txn)?;
    super::invites::create_tables(&txn)?;
    txn.commit().map_err(|error| failed(error.into()))
}

/// Reads the version of the file's format.
pub(super) fn read_version(txn: &ReadTransaction) -> Result<u32, StoreError> {
    value(txn, VERSION)?
        .and_then(|bytes| bytes.try_into().ok())
        .map(u32::from_le_bytes)
        .ok_or_else(|| StoreError::corrupt("it does not say its format"))
}

/// Notes that the file has this program's format.
pub(super) fn write_version(txn: &WriteTransaction) -> Result<(), StoreError> {
    set(txn, VERSION, &FORMAT_VERSION.to_le_bytes())
}

/// Reads and checks what the file says the swarm is.
pub(super) fn read_founding(txn: &ReadTransaction) -> Result<Founding, StoreError> {
    let version = read_version(txn)?;
    if version != FORMAT_VERSION {
        return Err(StoreError::WrongVersion { found: version, expected: FORMAT_VERSION });
    }
    let wrong = |key: &str| StoreError::corrupt(format!("its `{key}` is missing or wrong"));
    let bytes = |key: &'static str| value(txn, key)?.ok_or_else(|| wrong(key));
    let word = |key: &'static str| String::from_utf8(bytes(key)?).map_err(|_| wrong(key));
    let founding = Founding {
        swarm: SwarmId::from_slice(&bytes(SWARM)?).ok_or_else(|| wrong(SWARM))?,
        founder: PeerId::from_slice(&bytes(FOUNDER)?).ok_or_else(|| wrong(FOUNDER))?,
        founding: CommitHash::from_slice(&bytes(FOUNDING)?).ok_or_else(|| wrong(FOUNDING))?,
        engine: EngineKind::from_word(&word(ENGINE)?).ok_or_else(|| wrong(ENGINE))?,
        policy: ConflictPolicy::from_word(&word(POLICY)?).ok_or_else(|| wrong(POLICY))?,
    };
    if founding.swarm != SwarmId::derive(&founding.founder, &founding.founding) {
        return Err(wrong(SWARM));
    }
    Ok(founding)
}

fn value(txn: &ReadTransaction, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let failed = |error: redb::Error| StoreError::from_redb("read about itself", error);
    let meta = txn.open_table(META).map_err(|error| failed(error.into()))?;
    let value = meta.get(key).map_err(|error| failed(error.into()))?;
    Ok(value.map(|value| value.value().to_vec()))
}

fn set(txn: &WriteTransaction, key: &str, value: &[u8]) -> Result<(), StoreError> {
    let failed = |error: redb::Error| StoreError::from_redb("write about itself", error);
    let mut meta = txn.open_table(META).map_err(|error| failed(error.into()))?;
    meta.insert(key, value).map_err(|error| failed(error.into()))?;
    Ok(())
}

impl Store {
    /// The node's name for people, where it was set.
    pub fn name(&self) -> Result<Option<String>, StoreError> {
        let Some(bytes) = self.read(|txn| value(txn, NAME))? else { return Ok(None) };
        String::from_utf8(bytes)
            .ok()
            .filter(|name| name.len() <= limits::NAME_BYTES_MAX)
            .map(Some)
            .ok_or_else(|| StoreError::corrupt("the node's name is not a name"))
    }

    /// Sets the node's name, of at most [`limits::NAME_BYTES_MAX`] bytes.
    pub fn set_name(&self, name: &str) -> Result<(), StoreError> {
        if name.len() > limits::NAME_BYTES_MAX {
            return Err(StoreError::invalid(format!(
                "a name has at most {} bytes",
                limits::NAME_BYTES_MAX
            )));
        }
        self.write("set the node's name", |txn| set(txn, NAME, name.as_bytes()))
    }

    /// The port the node listened on last: it takes the same again, so that addresses in tickets
    /// and in other peers' stores stay good.
    pub fn listen_port(&self) -> Result<Option<u16>, StoreError> {
        let Some(bytes) = self.read(|txn| value(txn, LISTEN_PORT))? else { return Ok(None) };
        let bytes = bytes.try_into().map_err(|_| StoreError::corrupt("the port is not a port"))?;
        Ok(Some(u16::from_le_bytes(bytes)))
    }

    /// Where the node listened last: it takes the same port again, and tickets made while it is
    /// down name these. Empty before its first start.
    pub fn own_addresses(&self) -> Result<Vec<SocketAddr>, StoreError> {
        let bytes = self.read(|txn| value(txn, ADDRESSES))?.unwrap_or_default();
        let wrong = || StoreError::corrupt("the node's addresses are not addresses");
        let text = String::from_utf8(bytes).map_err(|_| wrong())?;
        text.lines().map(|line| line.parse().map_err(|_| wrong())).collect()
    }

    /// Keeps where the node listens now.
    pub fn set_own_addresses(&self, addresses: &[SocketAddr]) -> Result<(), StoreError> {
        if self.own_addresses()? == addresses {
            return Ok(());
        }
        let lines: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
        self.write("keep the node's addresses", |txn| {
            set(txn, ADDRESSES, lines.join("\n").as_bytes())
        })
    }

    /// How many bytes the database had after garbage was last collected; 0 if it never was.
    pub fn size_after_collection(&self) -> Result<u64, StoreError> {
        let Some(bytes) = self.read(|txn| value(txn, COLLECTED_BYTES))? else { return Ok(0) };
        let bytes = bytes.try_into().map_err(|_| StoreError::corrupt("the size is not a size"))?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Keeps how many bytes the database has after garbage was collected.
    pub fn set_size_after_collection(&self, size: u64) -> Result<(), StoreError> {
        self.write("keep the size of the database", |txn| {
            set(txn, COLLECTED_BYTES, &size.to_le_bytes())
        })
    }

    /// Sets the port for the next start.
    pub fn set_listen_port(&self, port: u16) -> Result<(), StoreError> {
        if self.listen_port()? == Some(port) {
            return Ok(());
        }
        self.write("set the port", |txn| set(txn, LISTEN_PORT, &port.to_le_bytes()))
    }
}

/// Changes a value behind the store's back.
#[cfg(test)]
pub(super) fn set_for_test(store: &Store, key: &str, bytes: &[u8]) {
    store.write("set", |txn| set(txn, key, bytes)).expect("set");
}
