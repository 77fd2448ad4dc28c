//! Connections: dialling, greeting, adverts, and what peers know of the membership.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use doltswarm_core::id::PeerId;
use doltswarm_core::limits::{ADDRESSES_PER_PEER_MAX, ADVERT_TOLD_MAX, PEER_RECORDS_MAX};
use doltswarm_core::membership::SignedGrant;
use doltswarm_core::message::{
    Advert, HeadReply, HeadRequest, Hello, PROTOCOL_VERSION, PeerRecord,
};
use doltswarm_core::node::OpId;

use super::input::Input;
use super::{Driver, Known};
use crate::net::{CallError, NetEvent, Refusal};
use crate::store::PeerEntry;
use crate::swarm::{PeersError, SwarmEvent};

/// The time of day in milliseconds since 1970; 0 where the clock is before that.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Driver {
    /// Dials every known peer that has an address.
    pub(super) fn dial_known(&mut self) {
        if self.network.is_none() {
            return;
        }
        let now = self.now();
        for (peer, known) in &self.known {
            if !known.addresses.is_empty() {
                self.dialer.handle_known(now, *peer);
            }
        }
        self.dial_due();
    }

    /// Whether dialling makes sense now.
    pub(super) fn dialable(&self) -> bool {
        self.network.is_some() && !self.shared.isolated.load(Ordering::Acquire)
    }

    /// Dials the peers whose turn it is.
    pub(super) fn dial_due(&mut self) {
        let Some(network) = self.network.clone().filter(|_| self.dialable()) else { return };
        let now = self.now();
        while let Some(peer) = self.dialer.poll_dial(now) {
            let Some(known) = self.known.get(&peer) else {
                self.dialer.handle_forgotten(&peer);
                continue;
            };
            let (network, addresses) = (network.clone(), known.addresses.clone());
            let inputs = self.shared.inputs.clone();
            tokio::spawn(async move {
                if let Err(error) = network.connect(peer, &addresses).await {
                    let reason = error.to_string();
                    let _ = inputs.send(Input::DialFailed { peer, reason });
                }
            });
        }
    }

    pub(super) fn dial_failed(&mut self, peer: PeerId, reason: String) {
        tracing::debug!(%peer, %reason, "a dial failed");
        let now = self.now();
        self.dialer.handle_failed(now, peer);
        if let Some(known) = self.known.get_mut(&peer) {
            known.problem = Some(reason);
        }
    }

    pub(super) fn net_event(&mut self, event: NetEvent) {
        let now = self.now();
        match event {
            NetEvent::Connected { peer, .. } => {
                self.linked.insert(peer);
                self.dialer.handle_connected(now, peer);
                // Of two processes with one key each would think that it was welcome.
                if !self.known.get(&peer).is_some_and(|known| known.lives.is_refused(now)) {
                    self.greet(peer);
                }
            }
            NetEvent::Disconnected { peer } => {
                self.linked.remove(&peer);
                self.greeted.remove(&peer);
                self.grants_digest_told.remove(&peer);
                self.dialer.handle_disconnected(now, peer);
                self.node.handle_disconnected(now, peer);
            }
        }
    }

    /// This node's hello.
    pub(super) fn hello(&self) -> Hello {
        let addresses =
            self.network.as_ref().map(|network| network.addresses()).unwrap_or_default();
        Hello {
            protocol: PROTOCOL_VERSION,
            swarm: self.shared.founding.swarm,
            engine: self.shared.founding.engine,
            engine_version: self.shared.engine_version(),
            policy: self.shared.founding.policy,
            name: self.shared.name.clone(),
            addresses: addresses
                .iter()
                .take(ADDRESSES_PER_PEER_MAX)
                .map(SocketAddr::to_string)
                .collect(),
            grants_digest: self.shared.membership().digest(),
            life: self.life,
        }
    }

    /// The database's server is back, and may be of another version: peers are told.
    pub(super) fn engine_came_back(&mut self, version: String) {
        let before = self.shared.engine_version();
        if before == version {
            return;
        }
        tracing::info!(%before, %version, "the engine has another version now");
        let mut known =
            self.shared.engine_version.lock().expect("because no holder of this lock panics");
        *known = version;
        drop(known);
        for peer in self.linked.clone() {
            self.greet(peer);
        }
    }

    fn greet(&mut self, peer: PeerId) {
        let Some(network) = &self.network else { return };
        let (link, hello) = (network.link(peer), self.hello());
        self.grants_digest_told.insert(peer, hello.grants_digest);
        let inputs = self.shared.inputs.clone();
        tokio::spawn(async move {
            let result = link.hello(&hello).await;
            let _ = inputs.send(Input::Greeted { peer, result });
        });
    }

    pub(super) fn greeted(&mut self, peer: PeerId, result: Result<Hello, CallError>) {
        match result {
            Ok(hello) => {
                match self.check_hello(&hello).and_then(|()| self.check_life(peer, &hello)) {
                    Ok(()) => {
                        // Not sooner: one that is still joining will not be found where it is now.
                        let seen_at = self.network.as_ref().and_then(|net| net.address_of(&peer));
                        self.learn_addresses(peer, seen_at.as_slice());
                        self.welcome(peer, &hello);
                    }
                    Err(reason) => self.drop_peer(peer, reason),
                }
            }
            // A peer that is still joining fetches on this connection and comes back as a member.
            Err(CallError::Refused(Refusal::NotAllowed(reason))) => {
                tracing::debug!(%peer, %reason, "a peer does not take a greeting yet");
            }
            // That connection is gone by itself; another may have taken its place meanwhile.
            Err(error @ (CallError::NotConnected | CallError::Unreachable(_))) => {
                tracing::debug!(%peer, %error, "a greeting was not answered");
            }
            Err(error) => self.drop_peer(peer, error.to_string()),
        }
    }

    fn drop_peer(&mut self, peer: PeerId, reason: String) {
        tracing::info!(%peer, %reason, "a peer is not in step");
        if let Some(known) = self.known.get_mut(&peer) {
            known.problem = Some(reason);
        }
        if let Some(network) = &self.network {
            network.disconnect(&peer);
        }
    }

    /// Whether a hello is that of a peer of this swarm; the reason names both sides' values.
    pub(super) fn check_hello(&self, hello: &Hello) -> Result<(), String> {
        let mine = self.hello();
        let differ = |what: &str, theirs: String, ours: String| {
            Err(format!("{what} differs: the peer has {theirs}, this node has {ours}"))
        };
        if hello.protocol != mine.protocol {
            return differ("protocol", hello.protocol.to_string(), mine.protocol.to_string());
        }
        if hello.swarm != mine.swarm {
            return differ("swarm", hello.swarm.to_string(), mine.swarm.to_string());
        }
        if hello.engine != mine.engine {
            return differ("engine", hello.engine.as_str().into(), mine.engine.as_str().into());
        }
        if hello.policy != mine.policy {
            return differ(
                "conflict policy",
                hello.policy.as_str().into(),
                mine.policy.as_str().into(),
            );
        }
        if hello.engine_version != mine.engine_version {
            tracing::warn!(theirs = %hello.engine_version, ours = %mine.engine_version,
                "a peer runs another version of the engine");
        }
        Ok(())
    }

    /// Whether the hello comes from the one process that uses the peer's key. If not, all that use
    /// it are refused for a while, so that people are told on each, and dial ever more seldom.
    pub(super) fn check_life(&mut self, peer: PeerId, hello: &Hello) -> Result<(), String> {
        let now = self.now();
        let known = self.known.entry(peer).or_default();
        if known.lives.handle_hello(now, hello.life) {
            return Ok(());
        }
        let text = "two running nodes use the same key, that of this peer: a node's directory was copied; \
                    stop one of them, and join with the other one anew";
        known.problem = Some(text.to_owned());
        Err(format!(
            "the peer {peer} refuses: {text}",
            peer = self.shared.identity.peer_id().short()
        ))
    }

    /// A peer of this swarm said a good hello: in either direction the first one counts.
    pub(super) fn welcome(&mut self, peer: PeerId, hello: &Hello) {
        self.heard(peer);
        let addresses: Vec<SocketAddr> =
            hello.addresses.iter().filter_map(|text| text.parse().ok()).collect();
        self.learn_addresses(peer, &addresses);
        let known = self.known.entry(peer).or_default();
        known.engine_version = Some(hello.engine_version.clone());
        known.problem = None;
        self.dialer.handle_healthy(&peer);
        let known = self.known.entry(peer).or_default();
        if !hello.name.is_empty() {
            known.name.clone_from(&hello.name);
        }
        if hello.grants_digest != self.shared.membership().digest() {
            self.ask_grants(peer);
        }
        // A hello may arrive after the end of its connection, and nobody would tell of that end
        // again: the peer would seem to be there for ever. One that arrives before its connection
        // is told loses nothing, because that is greeted then.
        if self.linked.contains(&peer) && self.greeted.insert(peer) {
            let now = self.now();
            self.node.handle_connected(now, peer);
        }
    }

    fn heard(&mut self, peer: PeerId) {
        self.known.entry(peer).or_default().seen_unix_ms = Some(unix_ms());
    }

    /// Keeps the newest addresses of a member, newest first.
    pub(super) fn learn_addresses(&mut self, peer: PeerId, addresses: &[SocketAddr]) {
        if peer == self.shared.identity.peer_id() {
            return;
        }
        let known = self.known.entry(peer).or_default();
        let before = known.addresses.clone();
        for addr in addresses.iter().rev().filter(|addr| addr.port() != 0) {
            known.addresses.retain(|have| have != addr);
            known.addresses.insert(0, *addr);
        }
        known.addresses.truncate(ADDRESSES_PER_PEER_MAX);
        if known.addresses != before {
            self.keep_peer(peer);
            let now = self.now();
            self.dialer.handle_known(now, peer);
        }
    }

    fn keep_peer(&self, peer: PeerId) {
        let Some(Known { name, addresses, seen_unix_ms, .. }) = self.known.get(&peer) else {
            return;
        };
        let stored = PeerEntry {
            peer,
            name: name.clone(),
            addresses: addresses.iter().map(SocketAddr::to_string).collect(),
            last_seen_ms: seen_unix_ms.unwrap_or(0),
        };
        if let Err(error) = self.shared.store.put_peer(&stored) {
            tracing::warn!(%error, "a peer's address was not kept");
        }
    }

    fn ask_grants(&self, peer: PeerId) {
        let Some(network) = &self.network else { return };
        let (link, inputs) = (network.link(peer), self.shared.inputs.clone());
        tokio::spawn(async move {
            match link.list_grants().await {
                Ok(grants) => {
                    let _ = inputs.send(Input::Grants { from: peer, grants });
                }
                Err(error) => tracing::debug!(%peer, %error, "grants were not answered"),
            }
        });
    }

    pub(super) fn grants_arrived(&mut self, from: PeerId, grants: &[Vec<u8>]) {
        let mut new = Vec::new();
        for bytes in grants {
            match SignedGrant::decode(bytes) {
                Ok(grant) => new.push(grant),
                Err(error) => tracing::warn!(peer = %from, %error, "a peer sent a malformed grant"),
            }
        }
        self.add_grants(new);
    }

    /// Takes in grants, keeps them, and tells connected peers that do not know them.
    pub(super) fn add_grants(&mut self, grants: Vec<SignedGrant>) {
        let mut added = Vec::new();
        {
            let mut membership =
                self.shared.membership.write().expect("because no holder of this lock panics");
            for grant in grants {
                match membership.add(grant.clone()) {
                    Ok(true) => added.push(grant),
                    Ok(false) => {}
                    Err(error) => tracing::warn!(%error, "a grant was refused"),
                }
            }
        }
        if added.is_empty() {
            return;
        }
        let encoded: Vec<Vec<u8>> = added.iter().map(SignedGrant::encode).collect();
        if let Err(error) = self.shared.store.add_grants(&encoded) {
            tracing::warn!(%error, "grants were not kept; they are asked for again");
        }
        let me = self.shared.identity.peer_id();
        for grant in &added {
            let (peer, role) = (grant.grant.member, grant.grant.role);
            let event =
                SwarmEvent::MemberAdded { peer: peer.to_string(), role: role.as_str().into() };
            self.shared.emit(event);
            if peer != me {
                self.known.entry(peer).or_default().name.clone_from(&grant.grant.name);
            }
        }
        let now = self.now();
        self.node.handle_membership_changed(now);
        self.dial_known();
        let digest = self.shared.membership().digest();
        let behind: Vec<PeerId> = self
            .greeted
            .iter()
            .copied()
            .filter(|peer| self.grants_digest_told.get(peer) != Some(&digest))
            .collect();
        for peer in behind {
            self.greet(peer);
        }
    }

    pub(super) fn advertise(&mut self, op: OpId, peer: PeerId, advert: Advert) {
        let Some(network) = &self.network else { return };
        let (link, inputs) = (network.link(peer), self.shared.inputs.clone());
        tokio::spawn(async move {
            let result = link.advertise_head(&advert).await;
            let _ = inputs.send(Input::Advertised { op, result });
        });
    }

    /// Tells every connected peer, outside the core's own schedule: a repeated advert is harmless.
    pub(super) fn advertise_to_all(&self) -> Result<(), PeersError> {
        let network = self.network.as_ref().ok_or(PeersError::Offline)?;
        let told = self.greeted.iter().copied().take(ADVERT_TOLD_MAX).collect();
        let advert = self.node.advert(told);
        for peer in &self.greeted {
            let (link, advert) = (network.link(*peer), advert.clone());
            tokio::spawn(async move {
                if let Err(error) = link.advertise_head(&advert).await {
                    tracing::debug!(peer = %link.peer(), %error, "an advert was not taken");
                }
            });
        }
        Ok(())
    }

    pub(super) fn request_heads(&mut self, op: OpId, peer: PeerId, request: HeadRequest) {
        self.last_request = Some(op);
        let Some(network) = &self.network else { return };
        let (link, inputs) = (network.link(peer), self.shared.inputs.clone());
        tokio::spawn(async move {
            let result = link.request_head_with(request).await;
            let _ = inputs.send(Input::Heads { op, peer, result });
        });
    }

    pub(super) fn heads_answered(
        &mut self,
        op: OpId,
        peer: PeerId,
        result: Result<HeadReply, CallError>,
    ) {
        let now = self.now();
        self.pull_answered(op, peer);
        self.dialer.handle_visited(&peer);
        match result {
            Ok(reply) => {
                self.heard(peer);
                if reply.grants_digest != self.shared.membership().digest() {
                    self.ask_grants(peer);
                }
                for PeerRecord { peer, addresses } in reply.peers.iter().take(PEER_RECORDS_MAX) {
                    // Only members: an address of a stranger is nothing to dial.
                    if self.shared.membership().is_member(peer)
                        && self.known.get(peer).is_none_or(|known| known.addresses.is_empty())
                    {
                        let addresses: Vec<SocketAddr> =
                            addresses.iter().filter_map(|text| text.parse().ok()).collect();
                        self.learn_addresses(*peer, &addresses);
                    }
                    self.keep_in_mind(*peer);
                }
                self.node.handle_heads(now, op, Ok(reply.answer));
                self.compare_signers(peer, reply.signers);
            }
            Err(error) => {
                tracing::debug!(%peer, %error, "a request for heads failed");
                self.node.handle_heads(now, op, Err(()));
            }
        }
    }

    /// Cuts the node off from all peers, or ends that.
    pub(super) fn isolate(&mut self, isolated: bool) {
        self.shared.isolated.store(isolated, Ordering::Release);
        let Some(network) = self.network.clone() else { return };
        if isolated {
            for peer in self.known.keys() {
                network.disconnect(peer);
            }
        } else {
            let now = self.now();
            for peer in self.known.keys().copied().collect::<Vec<_>>() {
                self.dialer.handle_known(now, peer);
            }
            self.dial_due();
        }
    }

    /// What this node tells others of where members are.
    pub(super) fn peer_records(&mut self) -> Vec<PeerRecord> {
        let told_of = self.told_of();
        let known = told_of.iter().filter_map(|peer| Some((peer, self.known.get(peer)?)));
        known
            .filter(|(_, known)| !known.addresses.is_empty())
            .take(PEER_RECORDS_MAX)
            .map(|(peer, known)| PeerRecord {
                peer: *peer,
                addresses: known.addresses.iter().map(SocketAddr::to_string).collect(),
            })
            .collect()
    }

    /// Shares what the driver keeps of a peer with the status.
    pub(super) fn known(&self, peer: &PeerId) -> Option<&Known> {
        self.known.get(peer)
    }

    /// Forgets a peer's addresses and stops dialling it.
    pub(super) fn forget_peer(&mut self, peer: &PeerId) -> Result<(), String> {
        self.dialer.handle_forgotten(peer);
        if let Some(known) = self.known.get_mut(peer) {
            known.addresses.clear();
        }
        if let Some(network) = &self.network {
            network.disconnect(peer);
        }
        self.shared.store.remove_peer(peer).map(|_| ()).map_err(|error| error.to_string())
    }

    /// A handle for tasks that outlive a call on the driver.
    pub(super) fn shared(&self) -> Arc<super::Shared> {
        Arc::clone(&self.shared)
    }
}
