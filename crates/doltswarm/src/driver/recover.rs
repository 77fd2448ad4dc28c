//! What a node derives again at start, and resolving new commits against the commit graph.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use doltswarm_core::fold::MergeMemory;
use doltswarm_core::graph::CommitGraph;
use doltswarm_core::id::{CommitHash, PeerId};
use doltswarm_core::limits::MERGES_REMEMBERED_MAX;
use doltswarm_core::membership::{Membership, SignedGrant};
use doltswarm_core::message::SignersDigest;
use doltswarm_core::node::{Node, NodeConfig, Restored};
use doltswarm_core::time::Time;
use doltswarm_core::walk::{Found, Walk, WalkError, WalkResult};

use super::foreign::{Refused, inspect_main, refused_before};
use super::signatures::{Unknown, add_to, keep_found, tagged};
use super::{EngineHandle, Infos, Known, Shared, collect};
use crate::engine::{Engine, EngineResult};
use crate::identity::Identity;
use crate::store::{Founding, Store};
use crate::swarm::OpenError;

/// What is derived at start from the store and the database.
pub(crate) struct Recovered {
    graph: CommitGraph,
    signers: SignersDigest,
    memory: MergeMemory,
    main: CommitHash,
    included: Vec<CommitHash>,
    set_aside: BTreeMap<CommitHash, String>,
    refused: Refused,
}

impl Recovered {
    /// The commits of other programs that were taken off main, before and now.
    pub(super) fn refused(&self) -> &Refused {
        &self.refused
    }

    /// Which keys signed which commits.
    pub(super) fn signers(&self) -> SignersDigest {
        self.signers
    }

    pub(super) fn into_node(self, config: NodeConfig, peers: Vec<PeerId>) -> Node {
        let Self { graph, memory, main, included, set_aside, .. } = self;
        let restored = Restored { graph, memory, main, included, peers, set_aside };
        Node::new(config, restored, Time::ZERO)
    }

    pub(super) fn known(&self, shared: &Arc<Shared>) -> BTreeMap<PeerId, Known> {
        let me = shared.identity.peer_id();
        let mut known: BTreeMap<PeerId, Known> = shared
            .membership()
            .members()
            .into_iter()
            .map(|member| (member.peer, Known { name: member.name, ..Known::default() }))
            .collect();
        for peer in shared.store.peers().unwrap_or_default() {
            let entry = known.entry(peer.peer).or_default();
            entry.addresses = peer.addresses.iter().filter_map(|text| text.parse().ok()).collect();
            entry.seen_unix_ms = (peer.last_seen_ms > 0).then_some(peer.last_seen_ms);
            if !peer.name.is_empty() {
                entry.name = peer.name;
            }
        }
        known.remove(&me);
        known
    }
}

/// Restores the graph from the store and takes in what main has beyond it: commits that were made
/// just before a crash, and commits that other programs made while the node was down. They are
/// signed by this peer. If the store is older than the database, others' commits are among them:
/// these keep the signatures that there are, and peers are asked for those that are missing.
///
/// # Errors
///
/// [`OpenError::Store`] where the store or the database is damaged.
pub(crate) async fn recover(
    store: &Store,
    engine: &EngineHandle,
    identity: &Identity,
    founding: &Founding,
    membership: &Membership,
) -> Result<Recovered, OpenError> {
    let damaged = |what: String| OpenError::Store(what);
    let (mut graph, mut signers) = restore_graph(store)?;
    if forget_lost_commits(store, engine, &graph).await? {
        (graph, signers) = restore_graph(store)?;
    }
    let reader = store.clone();
    let ((main, infos, refused), tags) = engine
        .call(move |engine| -> EngineResult<_> {
            Ok((inspected_main(engine, &reader)?, tagged(engine)?))
        })
        .await
        .map_err(|_| damaged("the engine stopped".into()))?
        .map_err(|e| damaged(format!("main cannot be read: {e}")))?;
    let (found, included) = resolve(&graph, main, &infos)
        .map_err(|e| damaged(format!("main does not belong to this swarm: {e}")))?;
    let unknown = Unknown { identity, founding, membership, tags: &tags, infos: &infos };
    let (commits, signed) =
        keep_found(store, unknown.sign(found)).map_err(|e| damaged(e.to_string()))?;
    add_to(&mut signers, &signed);
    for commit in commits {
        graph.insert(commit).map_err(|e| damaged(format!("main cannot be walked: {e}")))?;
    }
    let mut memory = MergeMemory::default();
    // Newest first; the memory drops the oldest insertion.
    let merges = store.merges(MERGES_REMEMBERED_MAX).map_err(|e| damaged(e.to_string()))?;
    for merge in merges.into_iter().rev() {
        memory.insert(merge.ours, merge.theirs, Ok(merge.commit));
    }
    let set_aside = store.set_aside().map_err(|e| damaged(e.to_string()))?;
    Ok(Recovered { graph, signers, memory, main, included, set_aside, refused })
}

/// Where main is, with what is new there, after what another program put there was inspected; and
/// all that was refused.
fn inspected_main(
    engine: &mut dyn Engine,
    store: &Store,
) -> EngineResult<(CommitHash, Infos, Refused)> {
    let mut refused = refused_before(engine)?;
    let mut main = engine.main()?;
    let mut infos = collect(engine, store, &[main])?;
    // A merge is derived; what it is made of was inspected.
    if infos.values().all(|info| info.as_merge().is_some()) {
        return Ok((main, infos, refused));
    }
    // Main was good as far as the store knows it.
    let known = std::iter::successors(Some(main), |commit| {
        infos.get(commit).and_then(|info| info.parents.first().copied())
    });
    if let Some(floor) = known.last()
        && floor != main
    {
        let (now, fresh) = inspect_main(engine, main, &floor)?;
        if now != main {
            main = now;
            infos = collect(engine, store, &[main])?;
        }
        refused.extend(fresh);
    }
    Ok((main, infos, refused))
}

/// The graph of all accepted commits, as the store has it, and which keys signed them.
pub(crate) fn restore_graph(store: &Store) -> Result<(CommitGraph, SignersDigest), OpenError> {
    let damaged = |what: String| OpenError::Store(what);
    let mut graph = CommitGraph::default();
    let (commits, signers) = store.restore().map_err(|e| damaged(e.to_string()))?;
    for commit in commits {
        graph.insert(commit).map_err(|e| damaged(format!("the node's store is damaged: {e}")))?;
    }
    Ok((graph, signers))
}

/// Who is a member by all grants that the store has.
pub(crate) fn restore_membership(
    store: &Store,
    founding: &Founding,
) -> Result<Membership, OpenError> {
    let grants = store.grants().map_err(|e| OpenError::Store(e.to_string()))?;
    let decoded: Result<Vec<SignedGrant>, _> =
        grants.iter().map(|grant| SignedGrant::decode(grant)).collect();
    let decoded = decoded.map_err(|e| OpenError::Store(e.to_string()))?;
    Ok(Membership::restore(founding.swarm, founding.founder, decoded))
}

/// Forgets the commits that the database does not hold, so that they are pulled again: someone has
/// put an older copy of the database in place. Says whether there were any.
///
/// A commit that the database holds is there with all below it, so it is enough to go down from the
/// heads as long as commits are missing.
async fn forget_lost_commits(
    store: &Store,
    engine: &EngineHandle,
    graph: &CommitGraph,
) -> Result<bool, OpenError> {
    let mut open: Vec<CommitHash> = graph.heads().iter().copied().collect();
    let mut lost = BTreeSet::new();
    while !open.is_empty() {
        let asked = open.clone();
        let missing = engine
            .call(move |engine| {
                let missing = |commit: &CommitHash| Ok(engine.commit_info(commit)?.is_none());
                asked.iter().map(missing).collect::<EngineResult<Vec<bool>>>()
            })
            .await?
            .map_err(|error| OpenError::Store(format!("the database cannot be read: {error}")))?;
        let missing = open.iter().zip(missing).filter(|(_, missing)| *missing);
        let missing: Vec<CommitHash> = missing.map(|(commit, _)| *commit).collect();
        let below = missing.iter().filter_map(|commit| graph.get(commit));
        let below: BTreeSet<CommitHash> = below.flat_map(|commit| commit.builds_on).collect();
        lost.extend(missing);
        open = below.into_iter().filter(|commit| !lost.contains(commit)).collect();
    }
    if lost.is_empty() {
        return Ok(false);
    }
    if lost.contains(&store.founding().founding) {
        let text = "the database is not this node's: it does not hold the founding commit";
        return Err(OpenError::Store(text.into()));
    }
    tracing::warn!(
        commits = lost.len(),
        "the database is an older copy: the commits it lacks are pulled again"
    );
    store.forget_commits(&lost).map_err(|error| OpenError::Store(error.to_string()))?;
    Ok(true)
}

/// Resolves the new user commits under `tip`, parents first, and the user commits that `tip`
/// includes.
///
/// # Errors
///
/// [`WalkError`] where `infos` do not connect `tip` to the graph.
pub(crate) fn resolve(
    graph: &CommitGraph,
    tip: CommitHash,
    infos: &Infos,
) -> Result<(Vec<Found>, Vec<CommitHash>), WalkError> {
    let WalkResult { found, mut frontier } = resolve_all(graph, &[tip], infos)?;
    Ok((found, frontier.remove(&tip).unwrap_or_default()))
}

/// [`resolve`] for several tips at once.
pub(crate) fn resolve_all(
    graph: &CommitGraph,
    tips: &[CommitHash],
    infos: &Infos,
) -> Result<WalkResult, WalkError> {
    let mut walk = Walk::new(tips.iter().copied());
    while let Some(needed) = walk.next(graph) {
        let info = infos.get(&needed).cloned().ok_or(WalkError::Unfinished { missing: needed })?;
        walk.supply(info)?;
    }
    walk.finish(graph)
}
