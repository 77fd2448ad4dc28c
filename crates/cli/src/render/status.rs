//! The status: what is in step, what is not, and what to do.

use std::fmt::Write;

use serde_json::Value;

use crate::render::peers;
use crate::render::text::{clean, count, flag, list, number, short, text, texts};

/// The status for people: who and where, then whether in step, then only what needs a person.
pub(crate) fn status(status: &Value) -> String {
    let mut out = String::new();
    let name = text(status, "name");
    let name = if name.is_empty() { name } else { format!("  {name}") };
    line(&mut out, "swarm", &text(status, "swarm"));
    line(&mut out, "peer", &format!("{}{name}", text(status, "peer")));
    line(
        &mut out,
        "engine",
        &format!(
            "{} {}, conflicts: {}",
            text(status, "engine"),
            text(status, "engine_version"),
            text(status, "policy")
        ),
    );
    let commits = count(number(status, "commits"), "user commit");
    line(&mut out, "main", &format!("{}  {commits}", text(status, "main")));
    if !texts(status, "addresses").is_empty() {
        line(&mut out, "listens", &texts(status, "addresses").join(", "));
    }
    line(&mut out, "in step", &in_step(status));
    needs_attention(&mut out, status);
    if !list(status, "peers").is_empty() {
        out.push('\n');
        out.push_str(&peers::list(&status["peers"]));
    }
    out
}

fn line(out: &mut String, label: &str, value: &str) {
    let _ = writeln!(out, "{label:<8} {value}");
}

/// Whether this node is in step, and with whom, or why not.
fn in_step(status: &Value) -> String {
    let peers = list(status, "peers");
    let connected = peers.iter().filter(|peer| flag(peer, "connected")).count();
    let same = peers.iter().filter(|peer| flag(peer, "connected") && flag(peer, "in_sync")).count();
    if peers.is_empty() && flag(status, "in_sync") {
        return "yes, and alone: `doltswarm invite` prints a ticket for another machine".to_owned();
    }
    if flag(status, "in_sync") {
        let known = count(peers.len() as u64, "peer");
        return format!("yes, with {same} of {known}");
    }
    let dirty = texts(status, "dirty");
    let why = if status["database_problem"].is_object() {
        "the database does not answer, and the node waits for it".to_owned()
    } else if !dirty.is_empty() {
        format!("main waits for uncommitted changes in {}", dirty.join(", "))
    } else if !flag(status, "online") {
        "the node is not up: start it with `doltswarm up`".to_owned()
    } else if status["problem"].is_object() {
        "main cannot follow the heads".to_owned()
    } else if connected == 0 {
        "no other peer can be reached".to_owned()
    } else if same < connected {
        format!("{same} of {} connected peers have the same heads", connected)
    } else {
        "main is being derived".to_owned()
    };
    format!("no: {why}")
}

fn needs_attention(out: &mut String, status: &Value) {
    let problem = &status["database_problem"];
    if problem.is_object() {
        line(
            out,
            "database",
            &format!("since {}: {}", text(problem, "since"), text(problem, "reason")),
        );
    }
    let problem = &status["problem"];
    if problem.is_object() {
        let commits: Vec<String> =
            texts(problem, "commits").iter().map(|commit| short(commit)).collect();
        let what = format!(
            "main cannot follow {} ({} failures, tried again): {}",
            commits.join(" and "),
            number(problem, "failures"),
            text(problem, "reason")
        );
        line(out, "problem", &what);
    }
    let dirty = texts(status, "dirty");
    if !dirty.is_empty() {
        let tables = dirty.join(", ");
        let keep = "commit with `doltswarm commit -m MESSAGE`";
        line(out, "dirty", &format!("{tables}: {keep}, or throw away with `doltswarm discard`"));
    }
    for missing in list(status, "missing_modules") {
        let (table, module) = (text(missing, "table"), text(missing, "module"));
        let what =
            format!("`{table}` needs {module}, which this program lacks: it merges as a whole");
        line(out, "module", &what);
    }
    let ours = text(status, "engine_version");
    for peer in list(status, "peers") {
        let theirs = text(peer, "engine_version");
        if !theirs.is_empty() && theirs != ours {
            let who = format!("{} {}", short(&text(peer, "id")), text(peer, "name"));
            let what = format!("{who} runs {theirs}, this peer {ours}: merges may differ");
            line(out, "version", &what);
        }
    }
    let open = number(&status["conflicts"], "open");
    if open > 0 {
        line(out, "open", &format!("{}: see `doltswarm conflicts`", count(open, "conflict")));
    }
    for head in list(status, "parked") {
        let what = format!("{} {}", short(&text(head, "head")), text(head, "reason"));
        line(out, "parked", &format!("{what}; see `doltswarm parked`"));
    }
    set_aside(out, status);
    for refused in list(status, "rejected") {
        let heads: Vec<String> = texts(refused, "heads").iter().map(|head| short(head)).collect();
        let from = short(&text(refused, "peer"));
        let what = format!("{} from {from}: {}", heads.join(" "), text(refused, "reason"));
        line(out, "refused", &what);
    }
    for refused in list(status, "refused") {
        let commit = text(refused, "commit");
        let reason = text(refused, "reason");
        let what = format!("{reason}: the commit is on the branch refused/{commit}");
        line(out, "refused", &what);
    }
}

/// How many heads that are set aside the status names one by one.
const SET_ASIDE_SHOWN_MAX: usize = 8;

fn set_aside(out: &mut String, status: &Value) {
    let heads = list(status, "set_aside");
    for head in heads.iter().take(SET_ASIDE_SHOWN_MAX) {
        let signer = short(&text(head, "signer"));
        let what = format!("{} by {signer}: {}", short(&text(head, "head")), text(head, "reason"));
        line(out, "aside", &what);
    }
    if let Some(more) = heads.len().checked_sub(SET_ASIDE_SHOWN_MAX).filter(|more| *more > 0) {
        line(
            out,
            "aside",
            &format!("and {}: see `doltswarm status --json`", count(more as u64, "more head")),
        );
    }
}

/// The parked heads.
pub(crate) fn parked(heads: &Value) -> String {
    let mut out = String::new();
    for head in crate::render::text::items(heads) {
        let _ = writeln!(out, "{}\n    {}", text(head, "head"), text(head, "reason"));
    }
    if out.is_empty() {
        out.push_str("nothing is parked\n");
    } else {
        out.push_str("\n`doltswarm parked take HEAD -m WHY` brings one into main, `parked drop` gives it up\n");
    }
    out
}

/// One event in one line: its name and its fields.
pub(crate) fn event(event: &Value) -> String {
    let mut out = format!("{:<20}", text(event, "event").replace('_', " "));
    for (key, value) in event.as_object().into_iter().flatten().filter(|(key, _)| *key != "event") {
        let shown = match value {
            Value::String(text) if is_id(text) => short(text),
            Value::String(text) => clean(text),
            Value::Array(items) => {
                let items = items.iter().filter_map(Value::as_str);
                let items = items.map(|item| if is_id(item) { short(item) } else { clean(item) });
                items.collect::<Vec<_>>().join(",")
            }
            other => clean(&other.to_string()),
        };
        let _ = write!(out, " {key}={shown}");
    }
    out.trim_end().to_owned()
}

fn is_id(text: &str) -> bool {
    text.len() >= 32 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn status_says_what_to_do() {
        let alone = json!({ "in_sync": true, "online": true, "peers": [], "main": "aa" });
        assert!(status(&alone).contains("doltswarm invite"));
        let newer = json!({ "id": "ab", "name": "bob", "engine_version": "2.3.0" });
        let mixed =
            json!({ "in_sync": true, "online": true, "peers": [newer], "engine_version": "2.2.0" });
        assert!(status(&mixed).contains("version  ab bob runs 2.3.0, this peer 2.2.0"));
        let problem = json!({ "since": "2026-01-01T00:00:00Z", "reason": "gone" });
        let gone =
            json!({ "in_sync": false, "online": true, "peers": [], "database_problem": problem });
        assert!(status(&gone).contains("no: the database does not answer"));
        assert!(status(&gone).contains("database since 2026-01-01T00:00:00Z: gone"));
        let down = json!({ "in_sync": false, "online": false, "peers": [{ "id": "ab" }] });
        assert!(status(&down).contains("no: the node is not up"));
        let dirty =
            json!({ "in_sync": false, "online": true, "dirty": ["t"], "conflicts": { "open": 2 } });
        let text = status(&dirty);
        assert!(text.contains("uncommitted changes in t"), "{text}");
        assert!(text.contains("2 conflicts: see `doltswarm conflicts`"), "{text}");
    }

    #[test]
    fn an_engine_that_fails_again_and_again_is_shown() {
        let problem = json!({ "reason": "disk I/O error", "commits": ["ab", "cd"], "failures": 3 });
        let text = status(&json!({ "in_sync": false, "online": true, "problem": problem }));
        assert!(text.contains("in step  no: main cannot follow the heads"), "{text}");
        let expected =
            "problem  main cannot follow ab and cd (3 failures, tried again): disk I/O error";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn the_first_heads_that_are_set_aside_are_named() {
        let head = json!({ "head": "ab", "signer": "cd", "reason": "too large" });
        let heads: Vec<_> = (0..10).map(|_| head.clone()).collect();
        let text = status(&json!({ "in_sync": false, "online": true, "set_aside": heads }));
        assert_eq!(text.matches("aside    ab by cd: too large\n").count(), 8, "{text}");
        assert!(text.contains("aside    and 2 more heads: see"), "{text}");
    }

    #[test]
    fn an_event_is_one_line_with_short_ids() {
        let line =
            event(&json!({ "event": "main_moved", "from": "a".repeat(40), "fast_forward": true }));
        assert_eq!(line, "main moved           from=aaaaaaaaaa fast_forward=true");
    }
}
