//! Which keys signed which commits: a set for each commit, the same on every peer in the end.
//!
//! Mostly a commit has the one signature that it came with. It gets more if a database was copied
//! before its commits were signed, and has none here if an older `store.redb` was put beside the
//! database. Peers with equal heads compare digests, and ask for signatures if these differ.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use doltswarm_core::commit::UserCommit;
use doltswarm_core::id::{CommitHash, PeerId, SwarmId};
use doltswarm_core::limits::{HEADS_PER_MESSAGE_MAX, SIGNATURES_ASKED_INTERVAL};
use doltswarm_core::membership::Membership;
use doltswarm_core::message::{SignedCommit, SignersDigest};
use doltswarm_core::sign::{keep_lowest, parse_tag_message, sign_commit, verify_commit};
use doltswarm_core::walk::Found;

use super::input::{Infos, Input};
use super::{Driver, Shared};
use crate::engine::{Engine, EngineResult};
use crate::identity::Identity;
use crate::net::{CallError, PeerLink};
use crate::store::{Founding, SignersChange, Store, StoreError};

/// Verified signatures by commit, lowest key first.
pub(crate) type Signatures = BTreeMap<CommitHash, Vec<SignedCommit>>;

/// Why signatures were refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unverified {
    /// The signature is not one.
    #[error("commit {0} has a bad signature")]
    Bad(CommitHash),
    /// No signer may write, as far as this node knows.
    #[error("commit {0} is signed by a key that may not write to this swarm")]
    NotAWriter(CommitHash),
}

/// Checks signatures, and that each commit has one by a key that may write. Those by other keys do
/// not count.
pub(crate) fn verify_signatures(
    swarm: &SwarmId,
    membership: &Membership,
    signed: &[SignedCommit],
) -> Result<Signatures, Unverified> {
    let (mut verified, mut strangers) = (Signatures::new(), Vec::new());
    for commit in signed {
        if !membership.may_write(&commit.signer) {
            strangers.push(commit.hash);
            continue;
        }
        verify_commit(swarm, commit).map_err(|_| Unverified::Bad(commit.hash))?;
        verified.entry(commit.hash).or_default().push(commit.clone());
    }
    if let Some(commit) = strangers.into_iter().find(|commit| !verified.contains_key(commit)) {
        return Err(Unverified::NotAWriter(commit));
    }
    verified.values_mut().for_each(keep_lowest);
    Ok(verified)
}

/// Notes new commits' signatures in a digest.
pub(crate) fn add_to(digest: &mut SignersDigest, signed: &[SignedCommit]) {
    signed.iter().for_each(|signed| digest.add(&signed.hash, &signed.signer));
}

/// The signatures that the database has as tags, as they are: nothing of them is verified.
pub(crate) fn tagged(engine: &mut dyn Engine) -> EngineResult<Vec<SignedCommit>> {
    let tags = engine.signature_tags()?;
    Ok(tags.iter().filter_map(|(commit, text)| parse_tag_message(*commit, text).ok()).collect())
}

/// Commits under main that the store does not have, told apart: which of them this node signs.
pub(crate) struct Unknown<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) founding: &'a Founding,
    pub(crate) membership: &'a Membership,
    /// The signatures among the database's tags.
    pub(crate) tags: &'a [SignedCommit],
    pub(crate) infos: &'a Infos,
}

impl Unknown<'_> {
    /// Takes in commits, parents first, each with its signatures: none if it is another's and no
    /// tag has a good signature of it.
    ///
    /// New commits are signed here, whoever's name they bear. A commit is not new if it, or one
    /// above it, is another node's or was signed before: then the store is older than the database.
    pub(crate) fn sign(&self, found: Vec<Found>) -> Vec<(Found, PeerId, Vec<SignedCommit>)> {
        let me = self.identity.peer_id();
        let mut known: BTreeSet<CommitHash> = self.tags.iter().map(|signed| signed.hash).collect();
        for found in found.iter().rev() {
            let is_known = known.contains(&found.hash)
                || self.node_of(&found.hash).is_some_and(|node| node != me.short());
            if is_known {
                known.insert(found.hash);
                known.extend(&found.builds_on);
            }
        }
        let one = |found: Found| {
            let is_mine = self.node_of(&found.hash).is_some_and(|node| node == me.short());
            let tagged = self.good_tags(&found.hash);
            let (signer, signatures) = match tagged.first() {
                Some(first) => (first.signer, tagged),
                None if is_mine || !known.contains(&found.hash) => {
                    tracing::info!(commit = %found.hash, "signing a commit found at start");
                    let key = self.identity.signing_key();
                    (me, vec![sign_commit(key, &self.founding.swarm, &found.hash)])
                }
                None => (self.author_of(&found.hash), Vec::new()),
            };
            (found, signer, signatures)
        };
        found.into_iter().map(one).collect()
    }

    fn good_tags(&self, commit: &CommitHash) -> Vec<SignedCommit> {
        let swarm = &self.founding.swarm;
        let is_good = |signed: &&SignedCommit| {
            signed.hash == *commit
                && self.membership.may_write(&signed.signer)
                && verify_commit(swarm, signed).is_ok()
        };
        self.tags.iter().filter(is_good).cloned().collect()
    }

    /// The short id of the node that the commit's e-mail names, if it is of the form that nodes
    /// use.
    fn node_of(&self, commit: &CommitHash) -> Option<&str> {
        let email = &self.infos.get(commit)?.author_email;
        let node = email.strip_suffix("@doltswarm")?;
        let is_id = node.len() == self.identity.peer_id().short().len()
            && node.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_id.then_some(node)
    }

    /// Who is taken for the author until a signature tells.
    fn author_of(&self, commit: &CommitHash) -> PeerId {
        let named = self.node_of(commit).and_then(|node| {
            self.membership.members().into_iter().find(|member| member.peer.short() == node)
        });
        named.map_or(self.founding.founder, |member| member.peer)
    }
}

/// Asks a peer for all signatures of the commits under `heads`, and verifies those that are new
/// here.
async fn ask(
    shared: &Arc<Shared>,
    link: &PeerLink,
    heads: &[CommitHash],
) -> Result<Vec<SignedCommit>, CallError> {
    let (mut signed, mut had): (Vec<SignedCommit>, &[CommitHash]) = (Vec::new(), &[]);
    for heads in heads.chunks(HEADS_PER_MESSAGE_MAX) {
        signed.extend(link.list_commits(heads, had).await?);
        had = heads;
    }
    let shared = Arc::clone(shared);
    let news = tokio::task::spawn_blocking(move || verified_news(&shared, signed)).await;
    Ok(news.unwrap_or_else(|_| Ok(Vec::new())).unwrap_or_else(|error| {
        tracing::warn!(%error, "signatures could not be compared with the node's own");
        Vec::new()
    }))
}

/// Of these signatures the good ones that the store does not have.
fn verified_news(
    shared: &Shared,
    signed: Vec<SignedCommit>,
) -> Result<Vec<SignedCommit>, StoreError> {
    let hashes: Vec<CommitHash> = signed.iter().map(|signed| signed.hash).collect();
    let here = shared.store.signatures(&hashes)?;
    let membership = shared.membership().clone();
    let is_new = |(signed, here): &(SignedCommit, Vec<SignedCommit>)| {
        here.iter().all(|here| here.signer != signed.signer)
            && membership.may_write(&signed.signer)
            && verify_commit(&shared.founding.swarm, signed).is_ok()
    };
    Ok(signed.into_iter().zip(here).filter(is_new).map(|(signed, _)| signed).collect())
}

impl Driver {
    /// A peer with equal heads has other signatures.
    pub(super) fn compare_signers(&mut self, peer: PeerId, signers: SignersDigest) {
        if signers == self.signers || !self.node.has_equal_heads(&peer) {
            return;
        }
        let now = self.now();
        let Some(network) = &self.network else { return };
        let known = self.known.entry(peer).or_default();
        if known.signatures_asked.is_some_and(|then| now - then < SIGNATURES_ASKED_INTERVAL) {
            return;
        }
        known.signatures_asked = Some(now);
        let (link, shared) = (network.link(peer), self.shared());
        let heads: Vec<CommitHash> = self.node.heads().iter().copied().collect();
        tokio::spawn(async move {
            match ask(&shared, &link, &heads).await {
                Ok(signed) => {
                    let _ = shared.inputs.send(Input::Signatures { signed });
                }
                Err(error) => tracing::debug!(%peer, %error, "signatures were not answered"),
            }
        });
    }

    /// Keeps verified signatures of commits that are here.
    pub(super) fn signatures_arrived(&mut self, signed: &[SignedCommit]) {
        if signed.is_empty() {
            return;
        }
        let changes = match self.shared.store.add_signatures(signed) {
            Ok(changes) => changes,
            Err(error) => {
                tracing::warn!(%error, "signatures were not kept; they are asked for again");
                return;
            }
        };
        let mut authors = Vec::new();
        for SignersChange { commit, before, after } in &changes {
            before.iter().for_each(|signer| self.signers.remove(commit, signer));
            after.iter().for_each(|signer| self.signers.add(commit, signer));
            authors.extend(after.first().map(|author| (*commit, *author)));
        }
        let now = self.now();
        self.node.handle_signers(now, &authors);
        self.tags.heads_changed();
    }
}

/// Stores commits found at start with the signatures that there are.
pub(crate) fn keep_found(
    store: &Store,
    found: Vec<(Found, PeerId, Vec<SignedCommit>)>,
) -> Result<(Vec<UserCommit>, Vec<SignedCommit>), StoreError> {
    let (mut commits, mut signed) = (Vec::new(), Vec::new());
    for (found, signer, signatures) in found {
        commits.push(found.signed_by(signer));
        signed.extend(signatures);
    }
    store.add_found_commits(&commits, &signed)?;
    Ok((commits, signed))
}
