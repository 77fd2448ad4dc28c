//! The engine without DoltSwarm, as an application would use it by itself.

use std::path::Path;

use doltlite::Connection;
use doltswarm::DoltServer;

use crate::client::Client;
use crate::error::{BenchError, BenchResult};
use crate::schema::TABLE;

/// Two databases of the engine, one for each way to write.
pub(super) enum Bare {
    /// Files.
    DoltLite { one: Connection, two: Connection },
    /// On a server, each with a connection of its own.
    Dolt { one: Client, two: Client },
}

impl Bare {
    /// Makes the databases, in `dir` or on `server`, each with the table.
    pub(super) fn create(dir: &Path, server: Option<&DoltServer>) -> BenchResult<Self> {
        let Some(server) = server else {
            let [one, two] = ["one.db", "two.db"].map(|name| file(&dir.join(name)));
            return Ok(Self::DoltLite { one: one?, two: two? });
        };
        let [one, two] = ["one", "two"].map(|name| {
            let mut url = server.url.clone();
            name.clone_into(&mut url.database);
            let mut client = Client::create(&url)?;
            client.run(TABLE)?;
            client.commit()?;
            Ok::<_, BenchError>(client)
        });
        Ok(Self::Dolt { one: one?, two: two? })
    }

    /// Writes and commits in one transaction.
    pub(super) fn in_one(&mut self, insert: &str) -> BenchResult<()> {
        match self {
            Self::DoltLite { one, .. } => {
                one.execute_batch("BEGIN IMMEDIATE")?;
                one.execute_batch(insert)?;
                commit(one)?;
                Ok(one.execute_batch("COMMIT")?)
            }
            Self::Dolt { one, .. } => {
                // The commit ends the transaction.
                one.run("START TRANSACTION")?;
                one.run(insert)?;
                one.commit()
            }
        }
    }

    /// Writes, and commits as a second step.
    pub(super) fn in_two(&mut self, insert: &str) -> BenchResult<()> {
        match self {
            Self::DoltLite { two, .. } => {
                two.execute_batch(insert)?;
                Ok(commit(two)?)
            }
            Self::Dolt { two, .. } => {
                two.run(insert)?;
                two.commit()
            }
        }
    }
}

fn file(path: &Path) -> BenchResult<Connection> {
    let connection = Connection::open(path)?;
    connection.execute_batch(TABLE)?;
    commit(&connection)?;
    Ok(connection)
}

fn commit(connection: &Connection) -> doltlite::Result<()> {
    let sql = "SELECT dolt_commit('-A', '-m', 'a measured write', '--author', \
               'bench <bench@doltswarm>', '--date', '2026-01-01T00:00:00Z')";
    connection.query(sql, &[]).map(drop)
}
