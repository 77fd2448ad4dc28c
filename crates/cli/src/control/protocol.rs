//! What goes over the control socket: lines of JSON.
//!
//! The node greets with a line, so that a client knows that it was taken and by which version. The
//! client writes one request, the node one reply; to [`Request::Events`] it writes one reply when
//! it listens and then one for each event, to [`Request::Watch`] one for each change. One
//! connection carries one request.

use std::io;
use std::net::SocketAddr;

use doltswarm::core::limits;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::args::KeepWord;
use crate::error::CommandError;

/// The version of this protocol. A client and a node of different versions refuse each other.
pub(crate) const VERSION: u32 = 3;
/// The longest greeting, in bytes.
pub(crate) const GREETING_BYTES_MAX: usize = 1 << 10;
/// The longest request, in bytes: the most SQL, with every character escaped, and the rest.
pub(crate) const REQUEST_BYTES_MAX: usize = 2 * limits::SQL_BYTES_MAX + (1 << 20);
/// The longest reply, in bytes.
pub(crate) const REPLY_BYTES_MAX: usize = 1 << 30;

/// The node's first line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Greeting {
    /// [`VERSION`] of the node.
    pub(crate) version: u32,
    /// The node's process.
    pub(crate) pid: u32,
}

/// What a node can be asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Execute and commit. Parameters, as [`Value::to_json`](doltswarm::Value::to_json) writes
    /// them, are for one statement.
    Exec {
        message: String,
        statements: Vec<String>,
        #[serde(default)]
        params: Vec<serde_json::Value>,
    },
    /// Commit what other programs left.
    Commit { message: String },
    /// Import a table from CSV.
    Import { table: String, key: Option<String>, csv: String, message: String },
    /// What will hurt.
    Lint {},
    /// Take back what a commit changed.
    Revert { commit: String, message: String },
    /// Make a table's rows what they were at a commit.
    Restore { table: String, at: String, message: String },
    /// Run a read-only query.
    Query {
        sql: String,
        #[serde(default)]
        params: Vec<serde_json::Value>,
    },
    /// What is going on.
    Status {},
    /// The other peers.
    Peers {},
    /// Where a peer is found.
    AddPeer { peer: String, addresses: Vec<SocketAddr> },
    /// Forget where a peer is found.
    RemovePeer { peer: String },
    /// Who is a member.
    Members {},
    /// The newest commits.
    Log { limit: usize },
    /// What differs between two commits.
    Diff { from: Option<String>, to: Option<String>, limit: usize },
    /// The conflicts.
    Conflicts { all: bool },
    /// One conflict.
    Conflict { id: String },
    /// Decide conflicts: those with these ids, or without any all open ones.
    Resolve {
        ids: Vec<String>,
        table: Option<String>,
        keep: Option<KeepWord>,
        set: Vec<String>,
        message: String,
    },
    /// The parked heads.
    Parked {},
    /// Close a parked head.
    CloseHead { head: String, take: bool, message: String },
    /// Throw away what other programs left.
    Discard {},
    /// Make a ticket.
    Invite { role: String, uses: u32, expires_ms: u64 },
    /// Ask for heads now.
    Pull { peer: Option<String> },
    /// Wait.
    Wait { commit: Option<String>, peers: Option<usize>, timeout_ms: u64 },
    /// Send every event from now on.
    Events {},
    /// Send the rows of a query, and how they change.
    Watch {
        sql: String,
        #[serde(default)]
        params: Vec<serde_json::Value>,
    },
}

impl Request {
    /// Whether it needs the network where no node runs.
    pub(crate) fn needs_network(&self) -> bool {
        matches!(self, Self::Pull { .. } | Self::Wait { .. } | Self::Events {} | Self::Watch { .. })
    }

    /// Whether it may take long and changes nothing of the caller's, so that a closing node gives
    /// it up in the middle.
    pub(crate) fn ends_with_node(&self) -> bool {
        self.needs_network() || matches!(self, Self::Query { .. })
    }

    /// Whether it is given up when nobody waits for the answer any more. A write that is, is done
    /// whole or not at all.
    pub(crate) fn ends_with_client(&self) -> bool {
        self.ends_with_node() || matches!(self, Self::Exec { .. })
    }
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    /// It is done; this is what the command prints with `--json`, but for queries.
    Done(serde_json::Value),
    /// It is not.
    Error(CommandError),
}

/// Reads one line of JSON, or `None` where the other side is gone.
pub(crate) async fn read<T: for<'a> Deserialize<'a>>(
    reader: &mut (impl AsyncBufRead + Unpin),
    bytes_max: usize,
) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    let mut limited = reader.take(bytes_max as u64 + 1);
    limited.read_until(b'\n', &mut line).await?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') {
        let why = if line.len() > bytes_max { "is too long" } else { "was cut off" };
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("the line {why}")));
    }
    Ok(Some(serde_json::from_slice(&line)?))
}

/// Writes one line of JSON.
pub(crate) async fn write(
    writer: &mut (impl AsyncWrite + Unpin),
    value: &impl Serialize,
) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    writer.write_all(&line).await?;
    writer.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn a_request_survives_the_wire() {
        let request = Request::Exec {
            message: "m\n".into(),
            statements: vec!["select ?, ';'".into()],
            params: vec![serde_json::json!({ "blob": "00" })],
        };
        let mut wire = Vec::new();
        block_on(write(&mut wire, &request)).unwrap();
        assert_eq!(wire.iter().filter(|byte| **byte == b'\n').count(), 1);
        let read_back = block_on(read::<Request>(&mut wire.as_slice(), 1_000)).unwrap();
        assert_eq!(read_back, Some(request));
    }

    #[test]
    fn long_cut_and_foreign_lines_are_errors() {
        let long = vec![b'x'; 101];
        for (bytes, part) in
            [(long.as_slice(), "too long"), (b"{\"do\":", "cut off"), (b"hi\n", "expected")]
        {
            let error = block_on(read::<Request>(&mut &*bytes, 100)).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
        assert_eq!(block_on(read::<Request>(&mut &b""[..], 100)).unwrap(), None);
        let unknown = b"{\"do\":\"format_disk\"}\n";
        assert!(block_on(read::<Request>(&mut &unknown[..], 100)).is_err());
    }
}
