//! What a node does for each request.

use std::path::Path;
use std::time::Duration;

use doltswarm::core::id::PeerId;
use doltswarm::core::membership::Role;
use doltswarm::{
    ImportOptions, InviteOptions, NodeFiles, OpenError, QueryChange, Row, Rows, Statement, Swarm,
    WaitFor,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::control::decide;
use crate::control::protocol::Request;
use crate::error::{CommandError, CommandResult};

/// Does what `request` asks and gives what `--json` prints.
///
/// The answer to a query is `{"columns": […], "rows": [[…]]}`, which also a table can be made of.
pub(crate) async fn handle(swarm: &Swarm, request: Request) -> CommandResult<Value> {
    match request {
        Request::Exec { message, statements, params } => {
            let statements = with_params(statements, &params)?;
            to_json(swarm.exec_and_commit(&message, statements).await?)
        }
        Request::Commit { message } => to_json(swarm.commit(&message).await?),
        Request::Import { table, key, csv, message } => {
            let options = ImportOptions { table, key };
            to_json(swarm.import_csv(csv, options, &message).await?)
        }
        Request::Lint {} => to_json(swarm.lint().await?),
        Request::Revert { commit, message } => to_json(swarm.revert(&commit, &message).await?),
        Request::Restore { table, at, message } => {
            to_json(swarm.restore(&table, &at, &message).await?)
        }
        Request::Query { sql, params } => {
            Ok(rows_to_json(&swarm.query(&sql, values(&params)?).await?))
        }
        Request::Status {} => to_json(swarm.status().await?),
        Request::Members {} => to_json(swarm.members().await?),
        Request::Log { limit } => to_json(swarm.log(limit).await?),
        Request::Diff { from, to, limit } => {
            to_json(swarm.diff(from.as_deref(), to.as_deref(), limit).await?)
        }
        Request::Conflicts { all } => to_json(swarm.conflicts(all).await?),
        Request::Conflict { id } => decide::conflict(swarm, &id).await,
        Request::Resolve { ids, table, keep, set, message } => {
            decide::resolve(swarm, ids, table, keep, set, message).await
        }
        Request::Parked {} => to_json(swarm.parked().await?),
        Request::CloseHead { head, take, message } => {
            decide::close_head(swarm, &head, take, &message).await
        }
        Request::Discard {} => decide::discard(swarm).await,
        Request::Peers {}
        | Request::AddPeer { .. }
        | Request::RemovePeer { .. }
        | Request::Invite { .. }
        | Request::Pull { .. }
        | Request::Wait { .. } => handle_peers(swarm, request).await,
        Request::Events {} | Request::Watch { .. } => {
            Err(CommandError::failed("this is not one answer but a stream"))
        }
    }
}

/// Does what `request` asks where the node is not up and its database does not answer, for this
/// reason: what the node's own files say.
pub(crate) fn handle_files(
    dir: &Path,
    request: &Request,
    error: OpenError,
) -> CommandResult<Value> {
    match request {
        Request::Status {} => to_json(NodeFiles::read(dir)?.status(error.to_string())),
        Request::Peers {} => to_json(NodeFiles::read(dir)?.peers()),
        Request::Members {} => to_json(NodeFiles::read(dir)?.members()),
        _ => Err(error.into()),
    }
}

/// The requests that are about other peers.
async fn handle_peers(swarm: &Swarm, request: Request) -> CommandResult<Value> {
    match request {
        Request::AddPeer { peer, addresses } => {
            let id = find_member(swarm, &peer).await?;
            swarm.add_peer(id, addresses.clone()).await?;
            Ok(json!({ "added": id.to_string(), "addresses": addresses }))
        }
        Request::RemovePeer { peer } => {
            let id = find_peer(swarm, &peer).await?;
            swarm.remove_peer(id).await?;
            Ok(json!({ "removed": id.to_string() }))
        }
        Request::Invite { role, uses, expires_ms } => {
            let known = Role::from_word(&role)
                .ok_or_else(|| CommandError::usage(format!("`{role}` is not a role")))?;
            let expires = Duration::from_millis(expires_ms);
            let ticket = swarm.invite(InviteOptions { role: known, uses, expires }).await?;
            Ok(json!({
                "ticket": ticket.to_string(),
                "role": role,
                "uses": uses,
                "expires_ms": expires_ms,
            }))
        }
        Request::Pull { peer } => pull(swarm, peer).await,
        Request::Wait { commit, peers, timeout_ms } => {
            let timeout = Duration::from_millis(timeout_ms);
            to_json(swarm.wait(WaitFor { commit, peers }, timeout).await?)
        }
        _ => to_json(swarm.peers().await?),
    }
}

async fn pull(swarm: &Swarm, peer: Option<String>) -> CommandResult<Value> {
    let peer = match peer {
        Some(text) => Some(find_peer(swarm, &text).await?),
        None => None,
    };
    let report = swarm.pull(peer).await?;
    let others = swarm.peers().await?;
    if report.asked == 0 && !others.is_empty() {
        let problems: Vec<String> = others
            .iter()
            .filter_map(|other| other.problem.as_ref().map(|problem| (other, problem)))
            .map(|(other, problem)| format!("{}: {problem}", short(&other.id)))
            .collect();
        let reasons =
            if problems.is_empty() { String::new() } else { format!(" ({})", problems.join("; ")) };
        return Err(CommandError::failed(format!("no peer answered{reasons}"))
            .hint("is `doltswarm up` running there? `doltswarm peers add` says where a peer is"));
    }
    to_json(report)
}

/// Finds a peer by its id, the beginning of its id, or its name.
async fn find_peer(swarm: &Swarm, text: &str) -> CommandResult<PeerId> {
    let peers = swarm.peers().await?.into_iter().map(|peer| (peer.id, peer.name)).collect();
    find(peers, text, "peer", "`doltswarm peers` lists them")
}

/// Finds a member by its id, the beginning of its id, or its name.
async fn find_member(swarm: &Swarm, text: &str) -> CommandResult<PeerId> {
    let members = swarm.members().await?.into_iter();
    let members = members.map(|member| (member.id, member.name)).collect();
    find(members, text, "member", "`doltswarm members` lists them")
}

/// Finds somebody among those with these ids and names.
///
/// Members choose their names, so a name that looks like the beginning of another's id is
/// ambiguous, and never stands for that other.
fn find(known: Vec<(String, String)>, text: &str, what: &str, hint: &str) -> CommandResult<PeerId> {
    if let Ok(id) = text.parse::<PeerId>() {
        return Ok(id);
    }
    let matches = |(id, name): &&(String, String)| name == text || id.starts_with(text);
    let found: Vec<&str> = known
        .iter()
        .filter(|_| !text.is_empty())
        .filter(matches)
        .map(|(id, _)| id.as_str())
        .collect();
    match found[..] {
        [id] => id.parse().map_err(|error| CommandError::failed(format!("{error}"))),
        [] => Err(CommandError::failed(format!("no {what} is called `{text}`")).hint(hint)),
        _ => Err(CommandError::failed(format!("`{text}` may be {}", found.join(" or ")))
            .hint("give more digits of the id")),
    }
}

fn short(id: &str) -> &str {
    id.get(..10).unwrap_or(id)
}

/// How the rows of a query changed: `{"columns": […], "added": [[…]], "changed": [[[…], […]]],
/// "removed": [[…]]}`.
pub(crate) fn change_to_json(change: &QueryChange) -> Value {
    let row = |row: &Row| -> Value { row.iter().map(doltswarm::Value::to_json).collect() };
    let rows = |rows: &[Row]| -> Value { rows.iter().map(row).collect() };
    let pairs = change.changed.iter().map(|(before, now)| json!([row(before), row(now)]));
    json!({
        "columns": change.columns,
        "added": rows(&change.added),
        "changed": pairs.collect::<Vec<_>>(),
        "removed": rows(&change.removed),
    })
}

/// The statements, of which parameters need to be the only one.
fn with_params(statements: Vec<String>, params: &[Value]) -> CommandResult<Vec<Statement>> {
    match &statements[..] {
        [sql] if !params.is_empty() => Ok(vec![Statement::new(sql.clone(), values(params)?)]),
        _ if params.is_empty() => Ok(statements.into_iter().map(Statement::from).collect()),
        _ => Err(CommandError::usage("parameters need exactly one statement")),
    }
}

/// Parameters as they come over the socket.
pub(crate) fn values(params: &[Value]) -> CommandResult<Vec<doltswarm::Value>> {
    let values = params.iter().map(|json| {
        let wrong = || CommandError::usage(format!("{json} is not a parameter"));
        doltswarm::Value::from_json(json).ok_or_else(wrong)
    });
    values.collect()
}

/// A report as `--json` prints it.
pub(super) fn to_json(report: impl Serialize) -> CommandResult<Value> {
    Ok(serde_json::to_value(report)?)
}

fn rows_to_json(rows: &Rows) -> Value {
    let values: Vec<Value> = rows
        .rows
        .iter()
        .map(|row| row.iter().map(doltswarm::Value::to_json).collect::<Vec<_>>().into())
        .collect();
    json!({ "columns": rows.columns, "rows": values })
}
