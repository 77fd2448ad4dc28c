//! Where the nodes of this binary have their databases: in files. The binary `dolt` runs the same
//! tests on a server.

use doltswarm::DoltServer;

/// A database on a server; here there is none.
pub(crate) enum Database {}

impl Database {
    pub(crate) fn server(&self) -> DoltServer {
        match *self {}
    }
}

pub(crate) fn database() -> Option<Database> {
    None
}
