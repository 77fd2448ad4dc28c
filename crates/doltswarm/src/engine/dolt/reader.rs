//! Reading main on a connection of its own.

use super::guard::{Mode, judge};
use super::options::DoltOptions;
use super::session::{During, Losses, Purpose, Session, SqlError};
use crate::engine::{EngineError, EngineResult, Reader, Rows, Value};

/// A reader of main.
pub(super) struct DoltReader {
    session: Session,
    database: String,
}

impl DoltReader {
    pub(super) fn open(options: &DoltOptions, losses: &Losses) -> EngineResult<Self> {
        let mut session = Session::new(options, Purpose::Read, losses);
        session.link()?;
        Ok(Self { session, database: options.url.database.clone() })
    }
}

impl Reader for DoltReader {
    fn query(&mut self, sql: &str, params: &[Value], limit: usize) -> EngineResult<Rows> {
        let [piece] = &judge(sql, Mode::Read, &self.database)?[..] else {
            let message = "a query is one statement".to_owned();
            return Err(EngineError::Rejected { message });
        };
        let link = self.session.link()?;
        // The server refuses writes in it; this is for what the text does not show.
        link.run("START TRANSACTION READ ONLY", &[]).during("begin to read")?;
        let read = link.read(piece.sql, params, limit);
        if link.run("ROLLBACK", &[]).is_err() {
            self.session.close();
        }
        let (rows, more) = read.map_err(SqlError::of_caller)?;
        if more { Err(EngineError::TooLarge { limit }) } else { Ok(rows) }
    }
}
