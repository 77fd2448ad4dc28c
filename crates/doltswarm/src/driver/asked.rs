//! Answering peers.

use std::net::SocketAddr;

use doltswarm_core::id::{CommitHash, PeerId};
use doltswarm_core::limits::{DIFFERENCE_BASES_MAX, GRANTS_PER_MESSAGE_MAX, PULL_COMMITS_MAX};
use doltswarm_core::membership::{Grant, Role, SignedGrant};
use doltswarm_core::message::{Advert, AdvertReply, HeadReply, HeadRequest, Hello, SignedCommit};

use super::Driver;
use super::connect::unix_ms;
use super::input::{Asked, Needed};
use crate::net::{JoinAnswer, JoinAsk, Refusal};

/// Why an admin that granted as often as it may grants nothing more.
pub(super) const TOO_MANY_GRANTS: &str =
    "this peer has granted as often as one peer may: let another admin invite";

impl Driver {
    pub(super) fn asked(&mut self, asked: Asked) {
        match asked {
            Asked::Hello { from, hello, seen_at, reply } => {
                let _ = reply.send(self.answer_hello(from, &hello, seen_at));
            }
            Asked::Advert { from, advert, reply } => {
                let _ = reply.send(self.answer_advert(from, advert));
            }
            Asked::Heads { from, request, reply } => {
                let _ = reply.send(self.answer_heads(from, request));
            }
            Asked::Commits { want, have, reply } => {
                let _ = reply.send(self.answer_commits(&want, &have));
            }
            Asked::Needed { want, have, reply } => {
                let _ = reply.send(Ok(self.needed(&want, &have)));
            }
            Asked::Grants { reply } => {
                let grants =
                    self.shared.membership().grants().iter().map(SignedGrant::encode).collect();
                let _ = reply.send(Ok(grants));
            }
            Asked::Join { from, ask, reply } => {
                let _ = reply.send(self.answer_join(from, &ask));
            }
        }
    }

    fn answer_hello(
        &mut self,
        from: PeerId,
        hello: &Hello,
        seen_at: Option<SocketAddr>,
    ) -> Result<Hello, Refusal> {
        self.check_hello(hello).map_err(Refusal::Mismatch)?;
        self.check_life(from, hello).map_err(Refusal::Mismatch)?;
        if let Some(addr) = seen_at {
            self.learn_addresses(from, &[addr]);
        }
        self.welcome(from, hello);
        Ok(self.hello())
    }

    fn answer_advert(&mut self, from: PeerId, advert: Advert) -> Result<AdvertReply, Refusal> {
        let now = self.now();
        self.node
            .handle_advert(now, from, advert)
            .map_err(|fault| Refusal::Misbehaved(fault.to_string()))
    }

    fn answer_heads(
        &mut self,
        from: PeerId,
        request: Option<HeadRequest>,
    ) -> Result<HeadReply, Refusal> {
        let now = self.now();
        if let Some(request) = request {
            self.node.handle_asked(now, from, request);
        }
        let peers = self.peer_records();
        Ok(HeadReply {
            answer: self.node.heads_answer(&request.unwrap_or_default()),
            grants_digest: self.shared.membership().digest(),
            signers: self.signers,
            peers,
        })
    }

    fn answer_commits(
        &self,
        want: &[CommitHash],
        have: &[CommitHash],
    ) -> Result<Vec<SignedCommit>, Refusal> {
        let commits = self.node.graph().difference(want, have);
        if commits.len() > PULL_COMMITS_MAX {
            return Err(Refusal::Busy);
        }
        let signatures = self.shared.store.signatures(&commits).map_err(|error| {
            tracing::error!(%error, "signatures could not be read");
            Refusal::Internal("signatures could not be read".into())
        })?;
        // A commit without a signature here is one that this node could not serve either.
        Ok(signatures.into_iter().flatten().collect())
    }

    fn needed(&self, want: &[CommitHash], have: &[CommitHash]) -> Needed {
        let graph = self.node.graph();
        let mut bases: Vec<CommitHash> =
            have.iter().copied().filter(|commit| graph.contains(commit)).collect();
        // The highest have most in common with what is wanted.
        bases.sort_by_key(|commit| (std::cmp::Reverse(graph.height(commit)), *commit));
        bases.truncate(DIFFERENCE_BASES_MAX);
        Needed { commits: graph.difference(want, have), bases }
    }

    fn answer_join(&mut self, from: PeerId, ask: &JoinAsk) -> Result<JoinAnswer, Refusal> {
        let founding = self.shared.founding.clone();
        if ask.swarm != founding.swarm {
            return Err(Refusal::Mismatch(format!(
                "swarm differs: the ticket names {}, this node is in {}",
                ask.swarm, founding.swarm
            )));
        }
        // A member that lost the answer may ask again; the ticket is not used up twice.
        if !self.shared.membership().is_member(&from) {
            self.admit(from, ask)?;
        }
        let grants = self.grants_for(&from);
        Ok(JoinAnswer {
            hello: self.hello(),
            founder: founding.founder,
            founding: founding.founding,
            grants,
        })
    }

    /// All grants if they fit in a message, else those that make the peer a member: it asks for the
    /// others then.
    fn grants_for(&self, peer: &PeerId) -> Vec<Vec<u8>> {
        let membership = self.shared.membership();
        let all = membership.grants();
        if all.len() <= GRANTS_PER_MESSAGE_MAX {
            return all.iter().map(SignedGrant::encode).collect();
        }
        membership.grants_for(peer).iter().map(SignedGrant::encode).collect()
    }

    fn admit(&mut self, from: PeerId, ask: &JoinAsk) -> Result<(), Refusal> {
        if !self.shared.membership().has_room(&self.shared.identity.peer_id()) {
            return Err(Refusal::NotAllowed(TOO_MANY_GRANTS.into()));
        }
        let redeemed = self.shared.store.redeem_invite(&ask.secret, unix_ms());
        let invite = redeemed.map_err(|error| Refusal::NotAllowed(error.to_string()))?;
        let role = Role::from_word(&invite.role)
            .ok_or_else(|| Refusal::Internal("the ticket's role is unknown".into()))?;
        tracing::info!(peer = %from, role = role.as_str(), "a ticket was used");
        let grant = Grant {
            swarm: self.shared.founding.swarm,
            member: from,
            role,
            name: ask.name.clone(),
            granter: self.shared.identity.peer_id(),
        };
        let signed = grant
            .sign(self.shared.identity.signing_key())
            .map_err(|error| Refusal::NotAllowed(error.to_string()))?;
        self.add_grants(vec![signed]);
        Ok(())
    }
}
