//! The table `swarm_conflicts` as SQL of the server.

use doltswarm_core::id::CommitHash;

use super::session::{During, Link, SqlError, number, text};
use super::settle::Stop;
use super::store::commit_text;
use crate::engine::record::{Record, TABLE, by_id};
use crate::engine::{EngineError, EngineResult};

/// The same columns as in every engine. MySQL needs a length for the text that is the key; texts
/// compare byte by byte.
const CREATE: &str = "CREATE TABLE swarm_conflicts (
    id VARCHAR(64) NOT NULL PRIMARY KEY,
    kind VARCHAR(32) NOT NULL,
    table_name VARCHAR(255) NOT NULL,
    row_key LONGTEXT NOT NULL,
    base LONGTEXT,
    loser LONGTEXT,
    winner LONGTEXT,
    state VARCHAR(16) NOT NULL,
    CONSTRAINT swarm_conflicts_state CHECK (state IN ('open', 'resolved'))
) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin";

/// Creates the table on main; refuses where something of that name is there.
///
/// A table that is there but was never committed is left over from a founding that was cut short.
pub(super) fn create_table(link: &mut Link) -> EngineResult<()> {
    // Not in the information schema: the server looks at all its databases then, and stumbles where
    // one of them is just made or dropped.
    let tables = link.rows("SHOW TABLES", &[]).during("look for swarm_conflicts")?;
    let is_there = tables.iter().any(|row| text(row.first()).eq_ignore_ascii_case(TABLE));
    let sql = "SELECT count(*) FROM dolt_status WHERE table_name = ? AND status = 'new table'";
    let rows = link.rows(sql, &[TABLE.into()]).during("look for swarm_conflicts")?;
    let is_new = number(rows.first().and_then(|row| row.first())) > 0;
    if is_there && !is_new {
        let message = format!(
            "the database already has a table `{TABLE}`: it belongs to a swarm already, or the \
             table has to be renamed first"
        );
        return Err(EngineError::Rejected { message });
    }
    if is_there {
        link.run("DROP TABLE swarm_conflicts", &[]).during("make swarm_conflicts anew")?;
    }
    link.run(CREATE, &[]).map(|_| ()).during("create swarm_conflicts")
}

/// Adds `records` as open conflicts, but those that the table has already, open or resolved.
/// Returns how many were new.
pub(super) fn add(link: &mut Link, records: &[Record], base: &CommitHash) -> Result<u64, SqlError> {
    let rows = by_id(records, base);
    let mut added = 0;
    for (id, record) in rows {
        let sql = "SELECT 1 FROM swarm_conflicts WHERE id = ?";
        if !link.rows(sql, &[id.as_str().into()])?.is_empty() {
            continue;
        }
        let sql = "INSERT INTO swarm_conflicts \
                   (id, kind, table_name, row_key, base, loser, winner, state) \
                   VALUES (?, ?, ?, ?, ?, ?, ?, 'open')";
        let params = [
            id.into(),
            record.kind.into(),
            record.table.into(),
            record.key.into(),
            record.base.into(),
            record.loser.into(),
            record.winner.into(),
        ];
        added += link.run(sql, &params)?;
    }
    Ok(added)
}

/// Unites the table of the two sides on the connection's branch: it only grows, and what is
/// resolved on either side is resolved. A table that is gone, or has another form, is made anew.
pub(super) fn unite(link: &mut Link, ours: &CommitHash, theirs: &CommitHash) -> Result<(), Stop> {
    match fill(link, theirs) {
        Err(error) if error.is_rejection() => Ok(make_anew(link, [ours, theirs])?),
        done => Ok(done.during("unite the conflicts")?),
    }
}

/// Adds to the table on the connection's branch what `first` has in it, or makes it anew of what
/// the two have. Of rows with one id that of `first` stands, unless the branch has it.
pub(super) fn fill_first(link: &mut Link, [first, second]: [&CommitHash; 2]) -> EngineResult<()> {
    match fill(link, first) {
        Err(error) if error.is_rejection() => make_anew(link, [first, second]),
        done => done.during("unite the conflicts"),
    }
}

fn make_anew(link: &mut Link, sides: [&CommitHash; 2]) -> EngineResult<()> {
    link.run("DROP TABLE IF EXISTS swarm_conflicts", &[]).during("make swarm_conflicts anew")?;
    link.run(CREATE, &[]).during("make swarm_conflicts anew")?;
    for side in sides {
        match fill(link, side) {
            // A side that has no such table, or one of another form, has no records.
            Err(error) if !error.is_rejection() => return Err(error.during("unite the conflicts")),
            _ => {}
        }
    }
    Ok(())
}

/// Adds what a commit has in the table.
fn fill(link: &mut Link, commit: &CommitHash) -> Result<(), SqlError> {
    let at = commit_text(commit);
    let columns = "id, kind, table_name, row_key, base, loser, winner, state";
    let sql = format!(
        "INSERT INTO swarm_conflicts ({columns}) SELECT {columns} \
         FROM swarm_conflicts AS OF '{at}' AS theirs \
         WHERE NOT EXISTS (SELECT 1 FROM swarm_conflicts AS own WHERE own.id = theirs.id)"
    );
    link.run(&sql, &[])?;
    // One by one: an UPDATE that reads the same table AS OF a commit is refused by the server.
    let sql = format!(
        "SELECT own.id FROM swarm_conflicts AS own \
         JOIN swarm_conflicts AS OF '{at}' AS theirs ON own.id = theirs.id \
         WHERE own.state = 'open' AND theirs.state = 'resolved' ORDER BY own.id"
    );
    for row in link.rows(&sql, &[])? {
        link.run("UPDATE swarm_conflicts SET state = 'resolved' WHERE id = ?", &row)?;
    }
    Ok(())
}

/// Makes the table what it is in `commit`, on the connection's branch.
pub(super) fn restore(link: &mut Link, commit: &CommitHash) -> Result<(), SqlError> {
    link.run("DELETE FROM swarm_conflicts", &[])?;
    let sql = format!(
        "INSERT INTO swarm_conflicts \
         (id, kind, table_name, row_key, base, loser, winner, state) \
         SELECT id, kind, table_name, row_key, base, loser, winner, state \
         FROM swarm_conflicts AS OF '{}'",
        commit_text(commit)
    );
    link.run(&sql, &[]).map(|_| ())
}

/// Fails where the open transaction did more to the table than resolve: rows only change, and only
/// from `open` to `resolved`.
pub(super) fn require_resolutions(link: &mut Link) -> EngineResult<()> {
    let sql = "SELECT count(*) FROM dolt_diff('HEAD', 'WORKING', 'swarm_conflicts') WHERE NOT \
               (diff_type = 'modified' AND from_state = 'open' AND to_state = 'resolved' \
               AND from_id <=> to_id AND from_kind <=> to_kind \
               AND from_table_name <=> to_table_name AND from_row_key <=> to_row_key \
               AND from_base <=> to_base AND from_loser <=> to_loser \
               AND from_winner <=> to_winner)";
    let refused = || EngineError::Rejected {
        message: format!(
            "{TABLE} is the swarm's own: resolve a conflict with \
             UPDATE {TABLE} SET state = 'resolved' WHERE id = …"
        ),
    };
    let rows = match link.rows(sql, &[]) {
        // The table has other columns, or is gone.
        Err(error) if error.is_rejection() => return Err(refused()),
        rows => rows.during("look at the resolutions")?,
    };
    match number(rows.first().and_then(|row| row.first())) {
        0 => Ok(()),
        _ => Err(refused()),
    }
}
