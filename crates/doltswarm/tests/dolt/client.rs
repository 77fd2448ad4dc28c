//! Another program: a client of MySQL on a node's database, which knows nothing of the node.

use mysql::prelude::Queryable;
use mysql::{Conn, OptsBuilder, Row};

use crate::support::Home;

/// A connection to the database of the node in `home`.
pub(crate) fn connect(home: &Home) -> Conn {
    try_connect(home).expect("the server lets us in")
}

pub(crate) fn try_connect(home: &Home) -> mysql::Result<Conn> {
    let url = &home.database.as_ref().expect("the database is on a server").url;
    let options = OptsBuilder::new()
        .user(Some(&url.user))
        .ip_or_hostname(Some(&url.host))
        .tcp_port(url.port)
        .db_name(Some(&url.database))
        .prefer_socket(false);
    Conn::new(options)
}

/// Runs statements, one after the other.
pub(crate) fn run(conn: &mut Conn, statements: &[&str]) {
    for sql in statements {
        conn.query_drop(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

/// Commits all that is not committed; returns the commit.
pub(crate) fn commit(conn: &mut Conn) -> String {
    try_commit(conn, true).expect("there is something to commit")
}

/// Commits everything, or else what was added before.
pub(crate) fn try_commit(conn: &mut Conn, everything: bool) -> mysql::Result<String> {
    let flag = if everything { "'-A', " } else { "" };
    let sql = format!("CALL DOLT_COMMIT({flag}'-m', 'by another program')");
    conn.query_first(sql).map(|hash: Option<String>| hash.expect("the server names the commit"))
}

/// The rows of a query, each as texts with commas between them.
pub(crate) fn texts(conn: &mut Conn, sql: &str) -> Vec<String> {
    let rows: Vec<Row> = conn.query(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let text = |row: Row| {
        let columns = row.unwrap().into_iter().map(mysql::from_value::<Option<String>>);
        columns.map(|text| text.unwrap_or_else(|| "NULL".into())).collect::<Vec<_>>().join(",")
    };
    rows.into_iter().map(text).collect()
}
