//! Peers and members.

use serde_json::Value;

use crate::render::table::Table;
use crate::render::text::{flag, items, short, text};

/// The other peers, with what is wrong.
pub(crate) fn list(peers: &Value) -> String {
    let mut table = Table::new(["peer", "name", "role", "address", "state"]);
    for peer in items(peers) {
        let id = short(&text(peer, "id"));
        let cells =
            [id, text(peer, "name"), text(peer, "role"), text(peer, "address"), state(peer)];
        table.row(cells);
    }
    if items(peers).is_empty() { "no other peer is known\n".to_owned() } else { table.render() }
}

fn state(peer: &Value) -> String {
    let state = match (flag(peer, "connected"), flag(peer, "in_sync")) {
        (true, true) => "in step".to_owned(),
        (true, false) => "connected, not in step".to_owned(),
        (false, _) => match peer["last_seen_ms"].as_u64() {
            Some(millis) => format!("away, last seen {} ago", ago(millis)),
            None => "away".to_owned(),
        },
    };
    let problem = text(peer, "problem");
    if problem.is_empty() { state } else { format!("{state}: {problem}") }
}

/// A duration, in its largest whole unit.
fn ago(millis: u64) -> String {
    match millis / 1000 {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7199 => format!("{} min", seconds / 60),
        seconds @ 7200..=172_799 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// The members.
pub(crate) fn members(members: &Value) -> String {
    let mut table = Table::new(["id", "name", "role", ""]);
    for member in items(members) {
        let this = if flag(member, "this") { "this peer" } else { "" };
        table.row([
            text(member, "id"),
            text(member, "name"),
            text(member, "role"),
            this.to_owned(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_peer_that_is_away_says_since_when_and_why() {
        let peer = json!({ "id": "ab", "connected": false, "last_seen_ms": 130_000, "problem": "refused" });
        assert_eq!(state(&peer), "away, last seen 2 min ago: refused");
        assert!(list(&json!([peer])).starts_with("peer  name  role  address  state\n"));
    }
}
