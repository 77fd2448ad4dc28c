//! What a node does for the requests that decide something.

use doltswarm::{Closing, ConflictSelection, Keep, Swarm};
use serde_json::{Value, json};

use super::handler::to_json;
use crate::args::KeepWord;
use crate::error::{CommandError, CommandResult};
use crate::literal;

/// Throws away what other programs left uncommitted.
pub(super) async fn discard(swarm: &Swarm) -> CommandResult<Value> {
    Ok(json!({ "discarded": swarm.discard().await? }))
}

/// One conflict, with where it comes from.
pub(super) async fn conflict(swarm: &Swarm, id: &str) -> CommandResult<Value> {
    let conflict = swarm.conflict(id).await?;
    let origin = to_json(swarm.conflict_origin(&conflict).await?)?;
    let mut answer = to_json(swarm.conflict_values(conflict).await?)?;
    if let (Some(answer), Value::Object(origin)) = (answer.as_object_mut(), origin) {
        answer.extend(origin);
    }
    Ok(answer)
}

/// Resolves the conflicts with these ids, or without any all open ones.
pub(super) async fn resolve(
    swarm: &Swarm,
    ids: Vec<String>,
    table: Option<String>,
    keep: Option<KeepWord>,
    set: Vec<String>,
    message: String,
) -> CommandResult<Value> {
    let which = match ids.is_empty() {
        true => ConflictSelection::Open { table },
        false => ConflictSelection::Ids(ids),
    };
    let keep = match keep {
        Some(KeepWord::Winner) => Keep::Winner,
        Some(KeepWord::Loser) => Keep::Loser,
        Some(KeepWord::Both) => Keep::Both,
        None => {
            let cells = set.iter().map(|text| literal::assignment(text));
            Keep::Set(cells.collect::<Result<_, _>>().map_err(CommandError::usage)?)
        }
    };
    to_json(swarm.resolve_conflicts(which, keep, &message).await?)
}

/// Closes a parked head.
pub(super) async fn close_head(
    swarm: &Swarm,
    head: &str,
    take: bool,
    message: &str,
) -> CommandResult<Value> {
    let how = if take { Closing::Take } else { Closing::Drop };
    to_json(swarm.close_head(head, how, message).await?)
}
