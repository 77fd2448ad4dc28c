//! Commits that no engine of ours would make, made by hand on the liar's own database.

use doltswarm::core::commit::{EngineKind, MERGE_AUTHOR_EMAIL, MERGE_AUTHOR_NAME, merge_message};
use doltswarm::core::id::CommitHash;
use mysql::prelude::Queryable;

use crate::mallory::Mallory;

/// The branches are those of parked heads, because nothing else of a database is shown.
const SIDE: &str = "parked/side";
pub(crate) const FORGERY: &str = "parked/forgery";
const DATE: &str = "2027-01-15T08:00:00Z";

/// A client of either kind of database.
enum Hand {
    File(doltlite::Connection),
    Server(Box<mysql::Conn>),
}

impl Hand {
    fn on(mallory: &Mallory) -> Self {
        let Some(server) = mallory.home.server() else {
            let path = mallory.home.path.join("database.db");
            return Self::File(doltlite::Connection::open(path).expect("it opens"));
        };
        let url = server.url;
        let options = mysql::OptsBuilder::new()
            .user(Some(&url.user))
            .ip_or_hostname(Some(&url.host))
            .tcp_port(url.port)
            .db_name(Some(&url.database))
            .prefer_socket(false);
        Self::Server(Box::new(mysql::Conn::new(options).expect("the server lets us in")))
    }

    /// Calls one of the engine's procedures, and returns the first thing that it answers.
    fn call(&mut self, procedure: &str, arguments: &[&str]) -> Option<String> {
        let marks = vec!["?"; arguments.len()].join(", ");
        match self {
            Self::File(database) => {
                let text = |text: &&str| doltlite::Value::Text((*text).to_owned());
                let params: Vec<_> = arguments.iter().map(text).collect();
                let sql = format!("SELECT {procedure}({marks})");
                let row =
                    database.query_row(&sql, &params).unwrap_or_else(|e| panic!("{sql}: {e:?}"));
                row.and_then(|row| row.get(0).and_then(doltlite::Value::as_str).map(str::to_owned))
            }
            Self::Server(database) => {
                let sql = format!("CALL {procedure}({marks})");
                let row: Option<mysql::Row> = database
                    .exec_first(&sql, arguments.to_vec())
                    .unwrap_or_else(|e| panic!("{sql}: {e}"));
                row.and_then(|row| row.get_opt(0)?.ok())
            }
        }
    }

    fn run(&mut self, sql: &str) {
        match self {
            Self::File(database) => database.execute_batch(sql).expect("it runs"),
            Self::Server(database) => database.query_drop(sql).expect("it runs"),
        }
    }

    /// Commits all that changed.
    fn commit(&mut self, kind: EngineKind, message: &str, author: &str) -> CommitHash {
        let arguments = ["-A", "-m", message, "--author", author, "--date", DATE];
        let hash = self.call("dolt_commit", &arguments).expect("a hash");
        kind.read_hash(&hash).expect("a hash")
    }
}

/// A commit beside main, on `base`.
pub(crate) fn side(mallory: &Mallory, base: &str) -> CommitHash {
    let mut hand = Hand::on(mallory);
    hand.call("dolt_checkout", &["-b", SIDE, base]);
    hand.run("INSERT INTO t VALUES (2, 'theirs')");
    hand.commit(mallory.kind, "theirs", "mallory <mallory@example.org>")
}

/// Makes what looks like the merge commit of two commits, with what `sql` does to it.
pub(crate) fn merge(
    mallory: &Mallory,
    ours: &CommitHash,
    theirs: &CommitHash,
    sql: &str,
) -> CommitHash {
    let mut hand = Hand::on(mallory);
    let text = |commit: &CommitHash| mallory.kind.write_hash(commit);
    hand.call("dolt_checkout", &["-b", FORGERY, &text(ours)]);
    hand.run("BEGIN");
    hand.call("dolt_merge", &[&text(theirs), "--no-commit", "--no-ff"]);
    hand.run(sql);
    let author = format!("{MERGE_AUTHOR_NAME} <{MERGE_AUTHOR_EMAIL}>");
    hand.commit(mallory.kind, &merge_message(ours, theirs), &author)
}
