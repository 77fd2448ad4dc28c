//! Joining a swarm: a ticket, a clone of one head, and the rest as in any pull.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use doltswarm_core::commit::{EngineKind, UserCommit};
use doltswarm_core::graph::CommitGraph;
use doltswarm_core::id::{ChunkHash, CommitHash, SwarmId};
use doltswarm_core::limits::HEADS_PER_MESSAGE_MAX;
use doltswarm_core::membership::{Membership, SignedGrant};
use doltswarm_core::message::SignedCommit;
use doltswarm_core::walk::Found;

use super::database::{Database, format_of};
use super::layout::Layout;
use super::newcomer::Newcomer;
use super::open::{check_name, file_error, store_error, write_config};
use super::{JoinError, JoinOptions, JoinProgress, OpenError, Swarm};
use crate::driver::{
    FetchError, Infos, Signatures, collect, fetch_chunks, lost_records, resolve_all, roots,
    verify_signatures,
};
use crate::engine::{ChunkFormat, ChunkSource};
use crate::identity::Identity;
use crate::net::{
    CallError, DialError, JoinAnswer, JoinAsk, NetConfig, Network, PeerLink, PeerService,
};
use crate::staging::Staging;
use crate::store::{Founding, PeerEntry, Store};
use crate::ticket::Ticket;

type Progress = Arc<dyn Fn(JoinProgress) + Send + Sync>;

impl Swarm {
    /// Clones the swarm that `ticket` names into `dir` and becomes a member. The database is here
    /// and verified when this returns; the node is opened as `options.open` says.
    ///
    /// A join that was interrupted goes on where it was when it is called again with the same
    /// directory; the ticket is not used up twice.
    ///
    /// # Errors
    ///
    /// [`JoinError::Unreachable`], [`JoinError::Refused`], [`JoinError::Interrupted`] may pass;
    /// [`JoinError::PeerMisbehaved`] does not. In every case there is no node in `dir`.
    pub async fn join(
        dir: &Path,
        ticket: &Ticket,
        options: JoinOptions,
        progress: impl Fn(JoinProgress) + Send + Sync + 'static,
    ) -> Result<Self, JoinError> {
        check_name(&options.name)?;
        let layout = Layout::new(dir);
        if layout.is_node() {
            return Err(OpenError::AlreadyANode { dir: dir.to_owned() }.into());
        }
        if let Some(path) = layout.in_the_way() {
            return Err(OpenError::InTheWay { path }.into());
        }
        std::fs::create_dir_all(dir).map_err(|source| file_error("create", dir, source))?;
        let lock = layout.lock()?;
        layout.prepare()?;
        let identity = super::open::key_of(dir)?;
        let engine = match options.dolt {
            Some(_) => EngineKind::Dolt,
            None => EngineKind::DoltLite,
        };
        let format = format_of(engine);
        let door = Arc::new(Newcomer::default());
        let bind = match options.bind.is_empty() {
            true => any_port_towards(&ticket.addresses),
            false => options.bind.clone(),
        };
        let config = NetConfig { secret_key: identity.secret_bytes(), bind };
        let service = Arc::clone(&door) as Arc<dyn PeerService>;
        let network = Network::bind(config, service, Arc::clone(&format))
            .await
            .map_err(|error| OpenError::Bind(error.to_string()))?;
        let join = Join {
            dir,
            layout: &layout,
            ticket,
            options: &options,
            identity: &identity,
            network: &network,
            door: &door,
            format,
            progress: Arc::new(progress),
        };
        let joined = join.run().await;
        network.close().await;
        let _ = std::fs::remove_dir_all(layout.building());
        joined?;
        (join.progress)(JoinProgress::Done);
        Ok(Self::open_locked(dir, options.open.clone(), lock).await?)
    }
}

/// Any port, on no more of this machine than it takes to reach `addresses`.
fn any_port_towards(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    if addresses.is_empty() {
        return vec![(Ipv4Addr::UNSPECIFIED, 0).into()];
    }
    let towards = |v6: bool| {
        let mut same = addresses.iter().filter(|addr| addr.is_ipv6() == v6).peekable();
        same.peek()?;
        let loopback = same.all(|addr| addr.ip().is_loopback());
        let ip: IpAddr = match (v6, loopback) {
            (false, true) => Ipv4Addr::LOCALHOST.into(),
            (false, false) => Ipv4Addr::UNSPECIFIED.into(),
            (true, true) => Ipv6Addr::LOCALHOST.into(),
            (true, false) => Ipv6Addr::UNSPECIFIED.into(),
        };
        Some(SocketAddr::new(ip, 0))
    };
    [towards(false), towards(true)].into_iter().flatten().collect()
}

struct Join<'a> {
    dir: &'a Path,
    layout: &'a Layout,
    ticket: &'a Ticket,
    options: &'a JoinOptions,
    identity: &'a Identity,
    network: &'a Network,
    door: &'a Newcomer,
    format: Arc<dyn ChunkFormat>,
    progress: Progress,
}

impl Join<'_> {
    async fn run(&self) -> Result<(), JoinError> {
        let peer = self.ticket.inviter;
        (self.progress)(JoinProgress::Connecting { peer });
        let answer = self.knock().await?;
        let (founding, mut membership) = self.check_answer(&answer)?;
        self.door.admit(membership.clone());
        (self.progress)(JoinProgress::Admitted);
        self.network
            .connect(peer, &self.ticket.addresses)
            .await
            .map_err(|error| self.unreachable(&error.to_string()))?;
        let link = self.network.link(peer);
        if membership.digest() != answer.hello.grants_digest {
            // There are more than the answer holds, and commits that other members signed.
            for bytes in link.list_grants().await.map_err(interrupted)? {
                let grant = SignedGrant::decode(&bytes)
                    .map_err(|error| JoinError::PeerMisbehaved(error.to_string()))?;
                let _ = membership.add(grant);
            }
        }
        let heads = link.request_all_heads().await.map_err(interrupted)?;
        if heads.is_empty() {
            return Err(JoinError::PeerMisbehaved("it names no heads".into()));
        }
        let signatures = self.signatures(&link, &founding, &membership, &heads).await?;
        let staging = self.fetch(&link, &roots(&heads, &signatures)).await?;
        let inviter = PeerEntry {
            peer,
            name: answer.hello.name,
            addresses: self.ticket.addresses.iter().map(SocketAddr::to_string).collect(),
            last_seen_ms: 0,
        };
        self.store(founding, &membership, heads, signatures, inviter, staging).await
    }

    fn unreachable(&self, reason: &str) -> JoinError {
        let addresses: Vec<String> =
            self.ticket.addresses.iter().map(SocketAddr::to_string).collect();
        JoinError::Unreachable {
            peer: self.ticket.inviter.short(),
            addresses: addresses.join(", "),
            reason: reason.to_owned(),
        }
    }

    async fn knock(&self) -> Result<JoinAnswer, JoinError> {
        let ask = JoinAsk {
            swarm: self.ticket.swarm,
            secret: self.ticket.secret,
            name: self.options.name.clone(),
        };
        let answer = self.network.join(self.ticket.inviter, &self.ticket.addresses, ask).await;
        answer.map_err(|error| match error {
            error if error.is_retryable() => self.unreachable(&error.to_string()),
            CallError::Refused(refusal) => JoinError::Refused(refusal.to_string()),
            CallError::Dial(DialError::DoorClosed) => JoinError::Refused(
                "the peer has no invitation open, so it was used up or has expired: ask for a new one"
                    .into(),
            ),
            CallError::Dial(error) => self.unreachable(&error.to_string()),
            error => JoinError::PeerMisbehaved(error.to_string()),
        })
    }

    /// The ticket's swarm id vouches for the founder and the founding commit, and the founder's key
    /// for the grants.
    fn check_answer(&self, answer: &JoinAnswer) -> Result<(Founding, Membership), JoinError> {
        let misbehaved = |text: &str| JoinError::PeerMisbehaved(text.to_owned());
        if SwarmId::derive(&answer.founder, &answer.founding) != self.ticket.swarm {
            return Err(misbehaved("its founder and founding commit are not those of the ticket"));
        }
        Database::of(answer.hello.engine, self.layout, self.options.dolt.as_ref())?;
        let mut membership = Membership::new(self.ticket.swarm, answer.founder);
        for bytes in &answer.grants {
            let grant = SignedGrant::decode(bytes)
                .map_err(|error| JoinError::PeerMisbehaved(error.to_string()))?;
            // A grant that does not count is no reason to stay out.
            let _ = membership.add(grant);
        }
        if !membership.is_member(&self.identity.peer_id()) {
            return Err(misbehaved("it took the ticket but granted nothing"));
        }
        let founding = Founding {
            swarm: self.ticket.swarm,
            founder: answer.founder,
            founding: answer.founding,
            engine: answer.hello.engine,
            policy: answer.hello.policy,
        };
        Ok((founding, membership))
    }

    async fn signatures(
        &self,
        link: &PeerLink,
        founding: &Founding,
        membership: &Membership,
        heads: &[CommitHash],
    ) -> Result<Signatures, JoinError> {
        let (mut signed, mut had): (Vec<SignedCommit>, &[CommitHash]) = (Vec::new(), &[]);
        for heads in heads.chunks(HEADS_PER_MESSAGE_MAX) {
            signed.extend(link.list_commits(heads, had).await.map_err(interrupted)?);
            // What lies under these is here now; nearly all of history does.
            had = heads;
        }
        (self.progress)(JoinProgress::Verifying { commits: signed.len() as u64 });
        let (swarm, membership) = (founding.swarm, membership.clone());
        // A long history is seconds of work for one core.
        let verified =
            tokio::task::spawn_blocking(move || verify_signatures(&swarm, &membership, &signed));
        verified
            .await
            .map_err(|_| JoinError::Interrupted("the program is stopping".into()))?
            .map_err(|error| JoinError::PeerMisbehaved(error.to_string()))
    }

    async fn fetch(&self, link: &PeerLink, roots: &[ChunkHash]) -> Result<Arc<Staging>, JoinError> {
        let staging = Staging::open(self.dir, Arc::clone(&self.format))
            .map_err(|error| OpenError::Store(error.to_string()))?;
        let staging = Arc::new(staging);
        let progress = Arc::clone(&self.progress);
        let remote = link.chunk_store();
        let fetching = fetch_chunks(
            &remote,
            &self.format,
            &staging,
            roots,
            |hashes| async move { Ok(vec![false; hashes.len()]) },
            move |chunks, bytes| progress(JoinProgress::Fetching { chunks, bytes }),
        );
        fetching.await.map_err(fetch_failed)?;
        Ok(staging)
    }

    /// Lets the engine clone from the staged chunks, checks that every user commit carries a
    /// verified signature, and puts the node in place.
    async fn store(
        &self,
        founding: Founding,
        membership: &Membership,
        heads: Vec<CommitHash>,
        signatures: Signatures,
        inviter: PeerEntry,
        staging: Arc<Staging>,
    ) -> Result<(), JoinError> {
        (self.progress)(JoinProgress::Storing);
        let building = self.layout.building();
        let server = self.options.dolt.clone();
        let grants: Vec<Vec<u8>> = membership.grants().iter().map(SignedGrant::encode).collect();
        let stored = tokio::task::spawn_blocking(move || {
            let building = Layout::new(&building);
            let store = Store::create(building.dir(), &founding).map_err(store_error)?;
            let database = Database::of(founding.engine, &building, server.as_ref())?;
            let (commits, kept) =
                clone(&database, &founding, &store, &heads, signatures, &staging)?;
            store.add_commits(&commits, &kept).map_err(store_error)?;
            store.add_grants(&grants).map_err(store_error)?;
            store.put_peer(&inviter).map_err(store_error)?;
            Ok::<_, JoinError>(staging)
        });
        let staging = stored
            .await
            .map_err(|_| JoinError::Interrupted("the program is stopping".into()))??;
        write_config(&self.layout.building(), &self.options.name, self.options.dolt.as_ref())?;
        self.layout.put_in_place()?;
        staging.clear().map_err(|error| OpenError::Store(error.to_string()))?;
        Ok(())
    }
}

type Accepted = (Vec<UserCommit>, Vec<SignedCommit>);

fn clone(
    database: &Database,
    founding: &Founding,
    store: &Store,
    heads: &[CommitHash],
    signatures: Signatures,
    staging: &Arc<Staging>,
) -> Result<Accepted, JoinError> {
    let failed = |error| JoinError::Open(database.failed(error));
    let source = || Arc::clone(staging) as Arc<dyn ChunkSource>;
    let (first, rest) = heads.split_first().expect("because the caller checked that there is one");
    let mut engine = database.clone_from(source(), first)?;
    let accepted = rest
        .iter()
        .try_for_each(|head| engine.ingest(source(), head))
        .and_then(|()| {
            let infos = collect(engine.as_mut(), store, heads)?;
            let lost = lost_records(engine.as_mut(), &infos)?;
            Ok((infos, lost))
        })
        .map_err(failed)
        .and_then(|(infos, lost)| {
            // As every other node does, so that all come to the same main.
            for (commit, reason) in lost {
                store.add_set_aside(&commit, &reason).map_err(store_error)?;
            }
            accept(founding, store, heads, &infos, signatures)
        });
    if accepted.is_err() {
        database.discard(engine);
    }
    accepted
}

/// Checks that every user commit carries a verified signature.
fn accept(
    founding: &Founding,
    store: &Store,
    heads: &[CommitHash],
    infos: &Infos,
    mut signatures: Signatures,
) -> Result<Accepted, JoinError> {
    let misbehaved = |text: String| JoinError::PeerMisbehaved(text);
    let mut graph = CommitGraph::default();
    // Nobody else's signature counts here.
    let signed = signatures.remove(&founding.founding).unwrap_or_default();
    let signed = signed.into_iter().find(|signed| signed.signer == founding.founder);
    let Some(signed) = signed else {
        return Err(misbehaved("the founding commit is not signed by the founder".into()));
    };
    let root = Found { hash: founding.founding, builds_on: Vec::new(), made_on: None }
        .signed_by(founding.founder);
    graph.insert(root.clone()).map_err(|error| misbehaved(error.to_string()))?;
    store.add_commits(&[root], &[signed]).map_err(store_error)?;
    let found =
        resolve_all(&graph, heads, infos).map_err(|error| misbehaved(error.to_string()))?.found;
    let (mut commits, mut kept) = (Vec::new(), Vec::new());
    for found in found {
        let signed = signatures.remove(&found.hash).unwrap_or_default();
        let Some(first) = signed.first() else {
            return Err(misbehaved(format!("commit {} has no signature", found.hash)));
        };
        commits.push(found.signed_by(first.signer));
        kept.extend(signed);
    }
    Ok((commits, kept))
}

fn interrupted(error: CallError) -> JoinError {
    match error {
        CallError::Malformed(_) => JoinError::PeerMisbehaved(error.to_string()),
        error => JoinError::Interrupted(error.to_string()),
    }
}

fn fetch_failed(error: FetchError) -> JoinError {
    match error {
        FetchError::Unavailable(reason) => JoinError::Interrupted(reason),
        FetchError::Rejected(reason) => JoinError::PeerMisbehaved(reason),
        FetchError::Local(reason) => JoinError::Open(OpenError::Store(reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_listens_only_where_it_can_reach_the_inviter() {
        let towards = |addresses: &[&str]| -> Vec<String> {
            let parsed: Vec<SocketAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
            any_port_towards(&parsed).iter().map(ToString::to_string).collect()
        };
        assert_eq!(towards(&["127.0.0.1:7"]), ["127.0.0.1:0"]);
        assert_eq!(towards(&["127.0.0.1:7", "192.0.2.1:7"]), ["0.0.0.0:0"]);
        assert_eq!(towards(&["[::1]:7", "192.0.2.1:7"]), ["0.0.0.0:0", "[::1]:0"]);
        assert_eq!(towards(&["[2001:db8::1]:7"]), ["[::]:0"]);
    }
}
