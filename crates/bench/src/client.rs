//! A MySQL client as any application has it, which knows nothing of DoltSwarm.

use doltswarm::DoltUrl;
use mysql::prelude::Queryable;
use mysql::{Conn, OptsBuilder};

use crate::error::BenchResult;

/// A connection to a server.
pub(crate) struct Client(Conn);

impl Client {
    /// Connects, and uses the database of `url`.
    pub(crate) fn open(url: &DoltUrl) -> BenchResult<Self> {
        Ok(Self(connect(url, Some(url.database.clone()))?))
    }

    /// Connects, and makes and uses the database of `url`, which the server does not have yet.
    pub(crate) fn create(url: &DoltUrl) -> BenchResult<Self> {
        connect(url, None)?.query_drop(format!("CREATE DATABASE `{}`", url.database))?;
        Self::open(url)
    }

    /// Runs a statement.
    pub(crate) fn run(&mut self, sql: &str) -> BenchResult<()> {
        Ok(self.0.query_drop(sql)?)
    }

    /// Commits all that is not committed yet.
    pub(crate) fn commit(&mut self) -> BenchResult<()> {
        self.run("CALL DOLT_COMMIT('-A', '-m', 'a measured write')")
    }

    /// Whether a query gives a row.
    pub(crate) fn has_row(&mut self, sql: &str) -> BenchResult<bool> {
        Ok(self.0.query_first::<mysql::Row, _>(sql)?.is_some())
    }
}

fn connect(url: &DoltUrl, database: Option<String>) -> BenchResult<Conn> {
    let options = OptsBuilder::new()
        .user(Some(url.user.clone()))
        .ip_or_hostname(Some(url.host.clone()))
        .tcp_port(url.port)
        .db_name(database)
        .prefer_socket(false)
        .tcp_nodelay(true);
    Ok(Conn::new(options)?)
}
