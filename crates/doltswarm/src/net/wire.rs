//! Where the wire's types meet the core's: everything that comes in is validated here, and nowhere
//! else. Decoding never panics and keeps no more than the limits allow.

use std::net::Ipv6Addr;

use bytes::Bytes;
use doltswarm_core::commit::{ConflictPolicy, EngineKind};
use doltswarm_core::id::{ChunkHash, CommitHash, PeerId, SwarmId};
use doltswarm_core::limits::{
    ADDRESS_BYTES_MAX, ADDRESSES_PER_PEER_MAX, ADVERT_TOLD_MAX, CHUNKS_PER_REQUEST_MAX,
    COMMITS_PER_MESSAGE_MAX, CONTROL_MESSAGE_BYTES_MAX, ENGINE_VERSION_BYTES_MAX, GRANT_BYTES_MAX,
    GRANTS_PER_MESSAGE_MAX, HEADS_PER_MESSAGE_MAX, NAME_BYTES_MAX, PEER_RECORDS_MAX,
};
use doltswarm_core::message::{
    Advert, HeadReply, HeadRequest, HeadSet, HeadsAnswer, HeadsPage, Hello, PeerMain, PeerRecord,
    SignedCommit, SignersDigest,
};
use prost::Message;

use super::pb;
use super::service::{JoinAnswer, JoinAsk};

/// What is wrong with a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A field of a fixed size has another.
    #[error("{field} has {got} bytes where {expected} belong")]
    Length {
        /// The field.
        field: &'static str,
        /// How many bytes it should have.
        expected: usize,
        /// How many it has.
        got: usize,
    },
    /// A list is too long.
    #[error("{field} has {got} entries where at most {max} are allowed")]
    TooMany {
        /// The list.
        field: &'static str,
        /// The limit.
        max: usize,
        /// How many there are.
        got: usize,
    },
    /// A field is too long.
    #[error("{field} has {got} bytes where at most {max} are allowed")]
    TooLong {
        /// The field.
        field: &'static str,
        /// The limit, in bytes.
        max: usize,
        /// How many bytes there are.
        got: usize,
    },
    /// A field that must say something is empty.
    #[error("{field} is missing")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// A text has characters that do not belong in it.
    #[error("{field} is not what it should be: {reason}")]
    Text {
        /// The field.
        field: &'static str,
        /// What should be there.
        reason: &'static str,
    },
    /// A word is none of those this version knows.
    #[error("{field} is `{word}`, which this version does not know")]
    Word {
        /// The field.
        field: &'static str,
        /// The word, cut short.
        word: String,
    },
    /// A list that must be sorted is not, or names something twice.
    #[error("{field} is not sorted, or names something twice")]
    Unsorted {
        /// The list.
        field: &'static str,
    },
    /// The answer has not one entry for each question.
    #[error("{field} has {got} entries for {asked} questions")]
    Count {
        /// The list.
        field: &'static str,
        /// How many were asked for.
        asked: usize,
        /// How many came; more than were asked for may have been coming.
        got: usize,
    },
    /// A chunk came that was not next.
    #[error("chunk {got} came where {asked} was next")]
    Unasked {
        /// What was next.
        asked: ChunkHash,
        /// What came.
        got: ChunkHash,
    },
    /// The message is larger than a message of its kind may be.
    #[error("the message is too large: {reason}")]
    Oversized {
        /// What the decoder said.
        reason: String,
    },
    /// The bytes are not those of a message.
    #[error("the message cannot be read: {reason}")]
    Undecodable {
        /// What the decoder said.
        reason: String,
    },
}

pub(crate) type Wire<T> = Result<T, WireError>;

// Pieces.

fn fixed<T>(
    field: &'static str,
    bytes: &[u8],
    expected: usize,
    make: fn(&[u8]) -> Option<T>,
) -> Wire<T> {
    make(bytes).ok_or(WireError::Length { field, expected, got: bytes.len() })
}

fn array<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

pub(crate) fn commit_hash(field: &'static str, bytes: &[u8]) -> Wire<CommitHash> {
    fixed(field, bytes, CommitHash::BYTES, CommitHash::from_slice)
}

pub(crate) fn chunk_hash(field: &'static str, bytes: &[u8]) -> Wire<ChunkHash> {
    fixed(field, bytes, ChunkHash::BYTES, ChunkHash::from_slice)
}

fn peer_id(field: &'static str, bytes: &[u8]) -> Wire<PeerId> {
    fixed(field, bytes, PeerId::BYTES, PeerId::from_slice)
}

fn swarm_id(field: &'static str, bytes: &[u8]) -> Wire<SwarmId> {
    fixed(field, bytes, SwarmId::BYTES, SwarmId::from_slice)
}

fn at_most(field: &'static str, got: usize, max: usize) -> Wire<()> {
    if got > max { Err(WireError::TooMany { field, max, got }) } else { Ok(()) }
}

fn no_longer(field: &'static str, got: usize, max: usize) -> Wire<()> {
    if got > max { Err(WireError::TooLong { field, max, got }) } else { Ok(()) }
}

pub(crate) fn bytes_of(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn commits(field: &'static str, list: &[Bytes]) -> Wire<Vec<CommitHash>> {
    at_most(field, list.len(), HEADS_PER_MESSAGE_MAX)?;
    list.iter().map(|bytes| commit_hash(field, bytes)).collect()
}

/// A list of heads: sorted, each once, never empty.
pub(crate) fn heads(field: &'static str, list: &[Bytes]) -> Wire<Vec<CommitHash>> {
    let heads = commits(field, list)?;
    check_heads(field, &heads)?;
    Ok(heads)
}

fn check_heads(field: &'static str, heads: &[CommitHash]) -> Wire<()> {
    if heads.is_empty() {
        return Err(WireError::Missing { field });
    }
    check_page(field, heads)
}

/// A page of heads: sorted, each once.
fn check_page(field: &'static str, heads: &[CommitHash]) -> Wire<()> {
    at_most(field, heads.len(), HEADS_PER_MESSAGE_MAX)?;
    if !heads.is_sorted_by(|a, b| a < b) {
        return Err(WireError::Unsorted { field });
    }
    Ok(())
}

pub(crate) fn heads_to(field: &'static str, heads: &[CommitHash]) -> Wire<Vec<Bytes>> {
    check_heads(field, heads)?;
    page_to(field, heads)
}

fn page(field: &'static str, list: &[Bytes]) -> Wire<Vec<CommitHash>> {
    let heads = commits(field, list)?;
    check_page(field, &heads)?;
    Ok(heads)
}

fn page_to(field: &'static str, heads: &[CommitHash]) -> Wire<Vec<Bytes>> {
    check_page(field, heads)?;
    Ok(heads.iter().map(|hash| bytes_of(hash.as_bytes())).collect())
}

fn set_to(set: &HeadSet) -> pb::HeadSet {
    pb::HeadSet { count: set.count, digest: bytes_of(&set.digest) }
}

fn set(message: Option<&pb::HeadSet>) -> Wire<HeadSet> {
    let set = message.ok_or(WireError::Missing { field: "set" })?;
    Ok(HeadSet { count: set.count, digest: fixed("digest", &set.digest, 32, array)? })
}

/// A name for people: short, and nothing in it that a terminal would obey.
fn name(field: &'static str, text: &str, max: usize) -> Wire<String> {
    no_longer(field, text.len(), max)?;
    if text.chars().any(char::is_control) {
        return Err(WireError::Text { field, reason: "text without control characters" });
    }
    Ok(text.to_owned())
}

/// An address as `host:port`; the host a name, an IPv4 address, or an IPv6 address in brackets.
fn address(text: &str) -> Wire<String> {
    const FIELD: &str = "address";
    no_longer(FIELD, text.len(), ADDRESS_BYTES_MAX)?;
    let bad = WireError::Text { field: FIELD, reason: "host:port" };
    let Some((host, port)) = text.rsplit_once(':') else { return Err(bad) };
    let port_ok =
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse().is_ok_and(|p: u16| p > 0);
    let host_ok = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(ip) => {
            let (ip, scope) = ip.split_once('%').unwrap_or((ip, "0"));
            ip.parse::<Ipv6Addr>().is_ok() && scope.bytes().all(|b| b.is_ascii_alphanumeric())
        }
        None => {
            !host.is_empty()
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
        }
    };
    if port_ok && host_ok { Ok(text.to_owned()) } else { Err(bad) }
}

fn addresses(list: &[String]) -> Wire<Vec<String>> {
    at_most("addresses", list.len(), ADDRESSES_PER_PEER_MAX)?;
    list.iter().map(|text| address(text)).collect()
}

/// The addresses of ours that may travel: the first few that are well formed.
fn addresses_to(list: &[String]) -> Vec<String> {
    list.iter().filter_map(|text| address(text).ok()).take(ADDRESSES_PER_PEER_MAX).collect()
}

fn word<T>(field: &'static str, word: &str, read: fn(&str) -> Option<T>) -> Wire<T> {
    read(word).ok_or_else(|| WireError::Word {
        field,
        word: word.chars().filter(|c| !c.is_control()).take(32).collect(),
    })
}

// Hello.

/// What to send for a hello. Addresses beyond the limit, or malformed, are left out.
pub(crate) fn hello_to(hello: &Hello) -> Wire<pb::HelloMessage> {
    Ok(pb::HelloMessage {
        protocol: hello.protocol,
        swarm: bytes_of(hello.swarm.as_bytes()),
        engine: hello.engine.as_str().to_owned(),
        engine_version: name("engine_version", &hello.engine_version, ENGINE_VERSION_BYTES_MAX)?,
        policy: hello.policy.as_str().to_owned(),
        name: name("name", &hello.name, NAME_BYTES_MAX)?,
        addresses: addresses_to(&hello.addresses),
        grants_digest: bytes_of(&hello.grants_digest),
        life: hello.life,
    })
}

pub(crate) fn hello_from(message: &pb::HelloMessage) -> Wire<Hello> {
    Ok(Hello {
        protocol: message.protocol,
        swarm: swarm_id("swarm", &message.swarm)?,
        engine: word("engine", &message.engine, EngineKind::from_word)?,
        engine_version: name("engine_version", &message.engine_version, ENGINE_VERSION_BYTES_MAX)?,
        policy: word("policy", &message.policy, ConflictPolicy::from_word)?,
        name: name("name", &message.name, NAME_BYTES_MAX)?,
        life: message.life,
        addresses: addresses(&message.addresses)?,
        grants_digest: fixed("grants_digest", &message.grants_digest, 32, array)?,
    })
}

// Heads.

/// What to send for an advert. `told` is a hint and is cut to its limit.
pub(crate) fn advert_to(advert: &Advert) -> Wire<pb::AdvertMessage> {
    let told = advert.told.iter().take(ADVERT_TOLD_MAX);
    Ok(pb::AdvertMessage {
        heads: heads_to("heads", &advert.heads)?,
        told: told.map(|peer| bytes_of(peer.as_bytes())).collect(),
        set: Some(set_to(&advert.set)),
    })
}

pub(crate) fn advert_from(message: &pb::AdvertMessage) -> Wire<Advert> {
    at_most("told", message.told.len(), ADVERT_TOLD_MAX)?;
    Ok(Advert {
        heads: heads("heads", &message.heads)?,
        told: message.told.iter().map(|bytes| peer_id("told", bytes)).collect::<Wire<_>>()?,
        set: set(message.set.as_ref())?,
    })
}

pub(crate) fn head_request_to(request: &HeadRequest) -> pb::HeadRequest {
    pb::HeadRequest {
        tell: request.tell,
        set: request.set.as_ref().map(set_to),
        after: request.after.map(|after| bytes_of(after.as_bytes())).unwrap_or_default(),
    }
}

pub(crate) fn head_request_from(message: &pb::HeadRequest) -> Wire<HeadRequest> {
    Ok(HeadRequest {
        tell: message.tell,
        set: message.set.as_ref().map(|message| set(Some(message))).transpose()?,
        after: optional("after", &message.after)?,
    })
}

/// A commit, or nothing if the field is empty.
fn optional(field: &'static str, bytes: &[u8]) -> Wire<Option<CommitHash>> {
    if bytes.is_empty() { Ok(None) } else { commit_hash(field, bytes).map(Some) }
}

/// What to send for a reply. The peer records are hints: as many go along as fit in the message.
pub(crate) fn head_reply_to(reply: &HeadReply) -> Wire<pb::HeadReply> {
    let HeadsAnswer { page, main } = &reply.answer;
    let mut message = pb::HeadReply {
        heads: page_to("heads", &page.heads)?,
        set: Some(set_to(&page.set)),
        more: page.more,
        main: main.tip.map(|main| bytes_of(main.as_bytes())).unwrap_or_default(),
        included: page_to("included", &main.included)?,
        set_aside: main.set_aside,
        grants_digest: bytes_of(&reply.grants_digest),
        signers: bytes_of(&reply.signers.to_bytes()),
        peers: Vec::new(),
    };
    let mut size = message.encoded_len();
    for record in reply.peers.iter().take(PEER_RECORDS_MAX) {
        let record = pb::PeerRecord {
            peer: bytes_of(record.peer.as_bytes()),
            addresses: addresses_to(&record.addresses),
        };
        // One byte of tag and at most five of length before each record.
        size += record.encoded_len() + 6;
        if size > CONTROL_MESSAGE_BYTES_MAX {
            break;
        }
        message.peers.push(record);
    }
    Ok(message)
}

pub(crate) fn head_reply_from(message: &pb::HeadReply) -> Wire<HeadReply> {
    at_most("peers", message.peers.len(), PEER_RECORDS_MAX)?;
    let record = |record: &pb::PeerRecord| {
        Ok(PeerRecord {
            peer: peer_id("peer", &record.peer)?,
            addresses: addresses(&record.addresses)?,
        })
    };
    let page = HeadsPage {
        set: set(message.set.as_ref())?,
        heads: page("heads", &message.heads)?,
        more: message.more,
    };
    let main = PeerMain {
        tip: optional("main", &message.main)?,
        included: self::page("included", &message.included)?,
        set_aside: message.set_aside,
    };
    Ok(HeadReply {
        answer: HeadsAnswer { page, main },
        grants_digest: fixed("grants_digest", &message.grants_digest, 32, array)?,
        signers: SignersDigest::from_bytes(fixed("signers", &message.signers, 32, array)?),
        peers: message.peers.iter().map(record).collect::<Wire<_>>()?,
    })
}

// Commits and grants.

pub(crate) fn commits_request_to(
    want: &[CommitHash],
    have: &[CommitHash],
) -> Wire<pb::CommitsRequest> {
    at_most("want", want.len(), HEADS_PER_MESSAGE_MAX)?;
    at_most("have", have.len(), HEADS_PER_MESSAGE_MAX)?;
    let list = |hashes: &[CommitHash]| hashes.iter().map(|h| bytes_of(h.as_bytes())).collect();
    Ok(pb::CommitsRequest { want: list(want), have: list(have) })
}

pub(crate) fn commits_request_from(
    message: &pb::CommitsRequest,
) -> Wire<(Vec<CommitHash>, Vec<CommitHash>)> {
    Ok((commits("want", &message.want)?, commits("have", &message.have)?))
}

pub(crate) fn commits_reply_to(batch: &[SignedCommit]) -> pb::CommitsReply {
    pb::CommitsReply { commits: commits_to(batch) }
}

pub(crate) fn commits_to(batch: &[SignedCommit]) -> Vec<pb::SignedCommit> {
    let commit = |commit: &SignedCommit| pb::SignedCommit {
        hash: bytes_of(commit.hash.as_bytes()),
        signer: bytes_of(commit.signer.as_bytes()),
        signature: bytes_of(&commit.signature),
    };
    batch.iter().map(commit).collect()
}

pub(crate) fn commits_reply_from(message: &pb::CommitsReply) -> Wire<Vec<SignedCommit>> {
    commits_from(&message.commits)
}

pub(crate) fn commits_from(commits: &[pb::SignedCommit]) -> Wire<Vec<SignedCommit>> {
    if commits.is_empty() {
        // An answer could otherwise go on for ever without saying anything.
        return Err(WireError::Missing { field: "commits" });
    }
    at_most("commits", commits.len(), COMMITS_PER_MESSAGE_MAX)?;
    let commit = |commit: &pb::SignedCommit| {
        Ok(SignedCommit {
            hash: commit_hash("hash", &commit.hash)?,
            signer: peer_id("signer", &commit.signer)?,
            signature: fixed("signature", &commit.signature, 64, array)?,
        })
    };
    commits.iter().map(commit).collect()
}

pub(crate) fn grants_to(grants: Vec<Vec<u8>>) -> Wire<Vec<Bytes>> {
    at_most("grants", grants.len(), GRANTS_PER_MESSAGE_MAX)?;
    for grant in &grants {
        no_longer("grant", grant.len(), GRANT_BYTES_MAX)?;
    }
    Ok(grants.into_iter().map(Bytes::from).collect())
}

pub(crate) fn grants_from(list: &[Bytes]) -> Wire<Vec<Vec<u8>>> {
    at_most("grants", list.len(), GRANTS_PER_MESSAGE_MAX)?;
    let grant = |bytes: &Bytes| {
        no_longer("grant", bytes.len(), GRANT_BYTES_MAX)?;
        Ok(bytes.to_vec())
    };
    list.iter().map(grant).collect()
}

// The door.

pub(crate) fn join_to(ask: &JoinAsk) -> Wire<pb::JoinRequest> {
    Ok(pb::JoinRequest {
        swarm: bytes_of(ask.swarm.as_bytes()),
        secret: bytes_of(&ask.secret),
        name: name("name", &ask.name, NAME_BYTES_MAX)?,
    })
}

pub(crate) fn join_from(message: &pb::JoinRequest) -> Wire<JoinAsk> {
    Ok(JoinAsk {
        swarm: swarm_id("swarm", &message.swarm)?,
        secret: fixed("secret", &message.secret, 16, array)?,
        name: name("name", &message.name, NAME_BYTES_MAX)?,
    })
}

pub(crate) fn join_answer_to(answer: JoinAnswer) -> Wire<pb::JoinReply> {
    Ok(pb::JoinReply {
        hello: Some(hello_to(&answer.hello)?),
        founder: bytes_of(answer.founder.as_bytes()),
        founding_commit: bytes_of(answer.founding.as_bytes()),
        grants: grants_to(answer.grants)?,
    })
}

pub(crate) fn join_answer_from(message: &pb::JoinReply) -> Wire<JoinAnswer> {
    let hello = message.hello.as_ref().ok_or(WireError::Missing { field: "hello" })?;
    Ok(JoinAnswer {
        hello: hello_from(hello)?,
        founder: peer_id("founder", &message.founder)?,
        founding: commit_hash("founding_commit", &message.founding_commit)?,
        grants: grants_from(&message.grants)?,
    })
}

// Chunks.

pub(crate) fn hashes_to(hashes: &[ChunkHash]) -> pb::HashesRequest {
    pb::HashesRequest { hashes: hashes.iter().map(|hash| bytes_of(hash.as_bytes())).collect() }
}

pub(crate) fn hashes_from(message: &pb::HashesRequest) -> Wire<Vec<ChunkHash>> {
    at_most("hashes", message.hashes.len(), CHUNKS_PER_REQUEST_MAX)?;
    message.hashes.iter().map(|bytes| chunk_hash("hash", bytes)).collect()
}

/// The answers to `asked` questions whether a chunk is there.
pub(crate) fn presences_from(asked: usize, present: Vec<bool>) -> Wire<Vec<bool>> {
    if present.len() != asked {
        return Err(WireError::Count { field: "present", asked, got: present.len() });
    }
    Ok(present)
}

/// The most sources a peer may name: a chunk store has a few files.
const SOURCES_MAX: usize = 1_024;

/// What a peer's chunks are in: (name, size in bytes).
pub(crate) fn sources_from(message: &pb::SourcesReply) -> Wire<Vec<(String, u64)>> {
    at_most("sources", message.sources.len(), SOURCES_MAX)?;
    let source = |source: &pb::Source| Ok((name("source", &source.name, 64)?, source.bytes));
    message.sources.iter().map(source).collect()
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
