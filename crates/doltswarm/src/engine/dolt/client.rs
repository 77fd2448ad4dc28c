//! One connection of the asynchronous MySQL client, for threads that wait.
//!
//! An engine's jobs run one after the other on a thread of their own, so here a statement is waited
//! for. Each connection is driven by the thread that waits for it and by nobody else: none of this
//! may run on a thread of an asynchronous runtime, which panics rather than stand still.

use std::future::Future;
use std::time::Duration;

use doltswarm_core::limits::{DOLT_CONNECT_TIMEOUT, DOLT_GOODBYE_TIMEOUT, DOLT_STATEMENT_TIMEOUT};
use mysql_async::prelude::{Protocol, Queryable};
use mysql_async::{Column, Conn, Error, IoError, Opts, Params, QueryResult, Row};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// Why something came to nothing.
#[derive(Debug)]
pub(super) enum ClientError {
    /// What the client or the server says.
    MySql(Error),
    /// The server was silent for so long.
    Silent(Duration),
    /// This machine has no room for another connection.
    Io(std::io::Error),
}

impl std::fmt::Display for ClientError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            // The client says "Input/output error" twice before it says which.
            Self::MySql(Error::Io(IoError::Io(error))) => error.fmt(f),
            Self::MySql(error) => error.fmt(f),
            Self::Silent(limit) => write!(f, "no answer within {} s", limit.as_secs()),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl From<Error> for ClientError {
    fn from(error: Error) -> Self {
        Self::MySql(error)
    }
}

/// A connection and what drives it.
pub(super) struct Client {
    /// Nothing when the connection is dropped.
    driven: Option<(Runtime, Conn)>,
}

impl Client {
    /// Connects.
    pub(super) fn connect(opts: Opts) -> Result<Self, ClientError> {
        let runtime =
            Builder::new_current_thread().enable_all().build().map_err(ClientError::Io)?;
        let conn = wait(&runtime, DOLT_CONNECT_TIMEOUT, Conn::new(opts))?;
        Ok(Self { driven: Some((runtime, conn)) })
    }

    fn driven(&mut self) -> (&Runtime, &mut Conn) {
        let (runtime, conn) = self.driven.as_mut().expect("because only drop takes it");
        (runtime, conn)
    }

    /// Whether the server answers.
    pub(super) fn ping(&mut self) -> bool {
        let (runtime, conn) = self.driven();
        wait(runtime, DOLT_STATEMENT_TIMEOUT, conn.ping()).is_ok()
    }

    /// Runs a statement and reads its answer to the end. Where there are parameters, the server
    /// gets them as values beside the text.
    ///
    /// After [`ClientError::Silent`] the connection is in the middle of an answer, and of no more
    /// use.
    pub(super) fn run(
        &mut self,
        sql: &str,
        params: Vec<mysql_async::Value>,
        answer: &mut Answer<'_>,
    ) -> Result<(), ClientError> {
        let (runtime, conn) = self.driven();
        wait(runtime, DOLT_STATEMENT_TIMEOUT, async {
            if params.is_empty() {
                read(conn.query_iter(sql).await?, answer).await
            } else {
                read(conn.exec_iter(sql, Params::Positional(params)).await?, answer).await
            }
        })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let Some((runtime, conn)) = self.driven.take() else { return };
        // On a thread that must not wait the server learns it from the connection's end.
        if tokio::runtime::Handle::try_current().is_err() {
            let _ = wait(&runtime, DOLT_GOODBYE_TIMEOUT, conn.disconnect());
        } else {
            drop(conn);
        }
        runtime.shutdown_background();
    }
}

/// Who hears of an answer.
pub(super) struct Answer<'a> {
    /// Gets the columns once, before the rows.
    pub(super) columns: &'a mut dyn FnMut(&[Column]),
    /// Gets each row.
    pub(super) row: &'a mut dyn FnMut(Row),
    /// How many rows the statement changed.
    pub(super) changed: u64,
}

/// A procedure has an answer of its own behind its rows, whose rows count as well.
async fn read<P: Protocol>(
    mut result: QueryResult<'_, '_, P>,
    answer: &mut Answer<'_>,
) -> Result<(), Error> {
    (answer.columns)(result.columns_ref());
    answer.changed = result.affected_rows();
    while !result.is_empty() {
        result.for_each(&mut *answer.row).await?;
    }
    result.drop_result().await
}

fn wait<T>(
    runtime: &Runtime,
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, ClientError> {
    let done = runtime.block_on(async { timeout(limit, work).await });
    Ok(done.map_err(|_| ClientError::Silent(limit))??)
}
