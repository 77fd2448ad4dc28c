//! A member that answers with what it must not: nothing of it gets through, and it is named.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use doltswarm::core::id::ChunkHash;
use doltswarm::core::limits::{CALL_TIMEOUT, HEADS_PER_MESSAGE_MAX};
use doltswarm::engine::ChunkFormat;
use doltswarm::net::{CallError, ChunkStoreError, Fault, PeerLink, Refusal, WireError};
use futures_util::{Stream, stream};
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::raw::pb::chunk_store_server::{ChunkStore, ChunkStoreServer};
use super::raw::pb::syncer_server::{Syncer, SyncerServer};
use super::raw::{self, pb};
use super::support::{Format, Peer, close};

/// What the source answers; the same whatever is asked.
#[derive(Clone, Default)]
struct Script {
    batches: Vec<Result<pb::ChunkBatch, Status>>,
    present: Vec<bool>,
    heads: Vec<Bytes>,
    commits: Vec<pb::CommitsReply>,
    grants: Vec<Bytes>,
    silent: bool,
}

#[derive(Clone)]
struct Source(Arc<Mutex<Script>>);

impl Source {
    fn script(&self) -> Script {
        self.0.lock().unwrap().clone()
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl ChunkStore for Source {
    type GetManyStream = Answers<pb::ChunkBatch>;

    async fn get_many(&self, _: Request<pb::HashesRequest>) -> Answer<Self::GetManyStream> {
        Ok(Response::new(Box::pin(stream::iter(self.script().batches))))
    }

    type DifferenceStream = Answers<pb::DifferenceBatch>;

    async fn difference(&self, _: Request<pb::CommitsRequest>) -> Answer<Self::DifferenceStream> {
        let chunks = |batch: pb::ChunkBatch| pb::DifferenceBatch {
            chunks: batch.chunks.into_iter().map(|chunk| chunk.data).collect(),
            ..Default::default()
        };
        let batches = self.script().batches.into_iter().map(move |batch| batch.map(chunks));
        Ok(Response::new(Box::pin(stream::iter(batches.collect::<Vec<_>>()))))
    }

    async fn has(&self, _: Request<pb::GetRequest>) -> Answer<pb::HasReply> {
        Ok(Response::new(pb::HasReply { present: true }))
    }

    async fn has_many(&self, _: Request<pb::HashesRequest>) -> Answer<pb::HasManyReply> {
        Ok(Response::new(pb::HasManyReply { present: self.script().present }))
    }

    async fn root(&self, _: Request<pb::RootRequest>) -> Answer<pb::RootReply> {
        Ok(Response::new(pb::RootReply { heads: self.script().heads }))
    }

    async fn rebase(&self, request: Request<pb::RootRequest>) -> Answer<pb::RootReply> {
        self.root(request).await
    }

    async fn sources(&self, _: Request<pb::RootRequest>) -> Answer<pb::SourcesReply> {
        let source = pb::Source { name: "\u{7}".into(), bytes: 1 };
        Ok(Response::new(pb::SourcesReply { sources: vec![source] }))
    }

    async fn size(&self, _: Request<pb::RootRequest>) -> Answer<pb::SizeReply> {
        Err(Status::not_found("x\u{1b}[2J".repeat(1_000)))
    }
}

#[tonic::async_trait]
impl Syncer for Source {
    type ListCommitsStream = Answers<pb::CommitsReply>;

    async fn hello(&self, request: Request<pb::HelloMessage>) -> Answer<pb::HelloMessage> {
        Ok(Response::new(pb::HelloMessage { engine: String::new(), ..request.into_inner() }))
    }

    async fn advertise_head(&self, _: Request<pb::AdvertMessage>) -> Answer<pb::AdvertReply> {
        panic!("as a peer with a bug would")
    }

    async fn request_head(&self, _: Request<pb::HeadRequest>) -> Answer<pb::HeadReply> {
        let script = self.script();
        if script.silent {
            std::future::pending::<()>().await;
        }
        let twenty = Bytes::from_static(&[1; 20]);
        let (main, grants_digest) = (twenty, Bytes::from_static(&[1; 32]));
        Ok(Response::new(pb::HeadReply {
            heads: script.heads,
            main,
            grants_digest: grants_digest.clone(),
            signers: grants_digest,
            set: Some(pb::HeadSet { count: 1, digest: Bytes::from_static(&[1; 32]) }),
            ..pb::HeadReply::default()
        }))
    }

    async fn list_commits(
        &self,
        _: Request<pb::CommitsRequest>,
    ) -> Answer<Self::ListCommitsStream> {
        let commits = self.script().commits.into_iter().map(Ok);
        Ok(Response::new(Box::pin(stream::iter(commits))))
    }

    async fn list_grants(&self, _: Request<pb::GrantsRequest>) -> Answer<pb::GrantsReply> {
        Ok(Response::new(pb::GrantsReply { grants: self.script().grants, more: false }))
    }
}

/// A host with a link to a source that does as the script says.
struct Stage {
    host: Peer,
    endpoint: iroh::Endpoint,
    source: Source,
    link: PeerLink,
}

impl Stage {
    async fn new() -> Self {
        let (host, endpoint, connection) = raw::member().await;
        let source = Source(Arc::default());
        let serve = Server::builder()
            .add_service(SyncerServer::new(source.clone()))
            .add_service(ChunkStoreServer::new(source.clone()))
            .serve_with_incoming(raw::streams(connection));
        tokio::spawn(serve);
        let link = host.net.link(raw::id(&endpoint));
        Self { host, endpoint, source, link }
    }

    fn play(&self, script: Script) {
        *self.source.0.lock().unwrap() = script;
    }

    /// What comes of asking for `asked` when these batches are the answer.
    async fn many(
        &self,
        asked: &[ChunkHash],
        batches: Vec<Vec<pb::Chunk>>,
    ) -> Result<usize, ChunkStoreError> {
        let batches = batches.into_iter().map(|chunks| Ok(pb::ChunkBatch { chunks })).collect();
        self.play(Script { batches, ..Script::default() });
        Ok(self.link.chunk_store().get_many(asked).await?.len())
    }

    async fn end(self) {
        self.endpoint.close().await;
        close([self.host]).await;
    }
}

fn chunk(bytes: &'static [u8]) -> (ChunkHash, pb::Chunk) {
    let hash = Format.hash(bytes);
    let data = Bytes::from_static(bytes);
    (hash, pb::Chunk { hash: Bytes::copy_from_slice(hash.as_bytes()), data, ..Default::default() })
}

fn malformed(error: &ChunkStoreError) -> &WireError {
    assert_eq!(error.fault(), Fault::Peer);
    assert!(!error.is_retryable());
    match error {
        ChunkStoreError::Call(CallError::Malformed(error)) => error,
        error => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_that_were_not_asked_for_are_not_taken() {
    let stage = Stage::new().await;
    let ((one, one_chunk), (two, two_chunk)) = (chunk(b"one"), chunk(b"two"));
    let (a, b) = (one_chunk, two_chunk);
    let asked = [one, two];

    let good = stage.many(&asked, vec![vec![a.clone()], vec![b.clone()]]).await;
    assert_eq!(good.unwrap(), 2);
    let swapped = stage.many(&asked, vec![vec![b.clone(), a.clone()]]).await.unwrap_err();
    assert_eq!(*malformed(&swapped), WireError::Unasked { asked: one, got: two });
    let twice = stage.many(&asked, vec![vec![a.clone(), a.clone()]]).await.unwrap_err();
    assert_eq!(*malformed(&twice), WireError::Unasked { asked: two, got: one });
    let few = stage.many(&asked, vec![vec![a.clone()]]).await.unwrap_err();
    assert_eq!(*malformed(&few), WireError::Count { field: "chunks", asked: 2, got: 1 });
    let none = stage.many(&asked, Vec::new()).await.unwrap_err();
    assert_eq!(*malformed(&none), WireError::Count { field: "chunks", asked: 2, got: 0 });
    let more = vec![vec![a.clone(), b.clone()], vec![a.clone()]];
    let more = stage.many(&asked, more).await.unwrap_err();
    assert_eq!(*malformed(&more), WireError::Count { field: "chunks", asked: 2, got: 3 });
    let empty = stage.many(&asked, vec![Vec::new()]).await.unwrap_err();
    assert_eq!(*malformed(&empty), WireError::Missing { field: "chunks" });

    let lying = pb::Chunk { absent: true, ..a.clone() };
    let lying = stage.many(&[one], vec![vec![lying]]).await.unwrap_err();
    assert!(matches!(malformed(&lying), WireError::Text { .. }), "{lying}");
    let unnamed = pb::Chunk { hash: Bytes::new(), ..a.clone() };
    let unnamed = stage.many(&[one], vec![vec![unnamed]]).await.unwrap_err();
    assert!(matches!(malformed(&unnamed), WireError::Length { .. }), "{unnamed}");
    let renamed = pb::Chunk { hash: b.hash, ..a };
    let renamed = stage.many(&[two], vec![vec![renamed]]).await.unwrap_err();
    let peer = raw::id(&stage.endpoint);
    assert_eq!(renamed, ChunkStoreError::WrongChunk { peer, asked: two, got: one });
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_that_fails_halfway_says_why() {
    let stage = Stage::new().await;
    let ((one, a), (two, _)) = (chunk(b"one"), chunk(b"two"));
    let batches =
        vec![Ok(pb::ChunkBatch { chunks: vec![a] }), Err(Status::resource_exhausted("later"))];
    stage.play(Script { batches, ..Script::default() });
    let store = stage.link.chunk_store();
    let mut seen = Vec::new();
    let end = store.get_each(&[one, two], |hash, _| seen.push(hash)).await;
    let error = end.unwrap_err();
    assert_eq!(error, ChunkStoreError::Call(CallError::Refused(Refusal::Busy)));
    assert!(error.is_retryable());
    assert_eq!(seen, [one]);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_answers_that_break_a_rule_are_not_taken() {
    let stage = Stage::new().await;
    let hash = |byte| Bytes::from(vec![byte; 20]);
    let store = stage.link.chunk_store();
    stage.play(Script {
        present: vec![true; 3],
        heads: vec![hash(2), hash(1)],
        commits: vec![pb::CommitsReply::default()],
        grants: vec![Bytes::from(vec![0; 513])],
        ..Script::default()
    });
    let asked = [ChunkHash::from_bytes([0; 20]); 2];
    let error = store.has_many(&asked).await.unwrap_err();
    assert_eq!(*malformed(&error), WireError::Count { field: "present", asked: 2, got: 3 });
    let error = store.root().await.unwrap_err();
    assert_eq!(*malformed(&error), WireError::Unsorted { field: "heads" });
    let error = store.sources().await.unwrap_err();
    assert!(matches!(malformed(&error), WireError::Text { .. }));
    let error = store.size().await.unwrap_err();
    let text = error.to_string();
    assert!(text.len() < 700 && !text.contains('\u{1b}'), "{text:?}");

    let want = [doltswarm::core::id::CommitHash::from_bytes([1; 20])];
    let error = stage.link.list_commits(&want, &[]).await.unwrap_err();
    assert_eq!(error, CallError::Malformed(WireError::Missing { field: "commits" }));
    let error = stage.link.list_grants().await.unwrap_err();
    let (field, max, got) = ("grant", 512, 513);
    assert_eq!(error, CallError::Malformed(WireError::TooLong { field, max, got }));
    let error = stage.link.hello(&super::support::hello("host")).await.unwrap_err();
    assert!(matches!(error, CallError::Malformed(WireError::Word { .. })), "{error}");

    // Too many heads for the rule, then too many for the message.
    for (count, oversized) in [(HEADS_PER_MESSAGE_MAX + 1, false), (10_000, true)] {
        let heads = (0..count).map(|number| {
            let mut bytes = vec![0; 20];
            bytes[..4].copy_from_slice(&(number as u32).to_be_bytes());
            Bytes::from(bytes)
        });
        stage.play(Script { heads: heads.collect(), ..Script::default() });
        let error = stage.link.request_head().await.unwrap_err();
        let CallError::Malformed(error) = error else { panic!("{error}") };
        assert_eq!(matches!(error, WireError::Oversized { .. }), oversized, "{error}");
    }
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_is_silent_or_broken_does_not_hold_anybody_up() {
    let stage = Stage::new().await;
    stage.play(Script { silent: true, ..Script::default() });
    let start = Instant::now();
    let error = stage.link.request_head().await.unwrap_err();
    assert_eq!(error, CallError::TimedOut);
    assert!(start.elapsed() < 2 * CALL_TIMEOUT);
    // Slow is not dead: the connection stays.
    assert!(stage.host.net.is_connected(&raw::id(&stage.endpoint)));

    let heads = vec![doltswarm::core::id::CommitHash::from_bytes([1; 20])];
    let advert = doltswarm::core::message::Advert::of_all(heads, Vec::new());
    let error = stage.link.advertise_head(&advert).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert_eq!(stage.host.net.stats().adverts_sent, 0);
    stage.end().await;
}
