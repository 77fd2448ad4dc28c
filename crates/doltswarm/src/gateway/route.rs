//! What each request of DoltLite's remote protocol asks for, and the answer.
//!
//! | request | answer |
//! |---|---|
//! | `GET …/refs` | the root |
//! | `GET …/chunk/<hex>` | the chunk, or 404 |
//! | `POST …/get-chunks`, hashes one after another | for each its length (`u32`, big-endian) and its bytes, or 0xFFFFFFFF |
//! | `POST …/has-chunks`, hashes one after another | for each a byte, 1 or 0 |
//! | `PUT`, `POST …/chunks`, `POST …/commit` | 403: these write |

use std::sync::Arc;

use doltswarm_core::id::ChunkHash;
use doltswarm_core::limits;

use super::http::{Body, Head, Method, Reply, Status};
use super::{Shared, Show};

/// A request that may be answered.
pub(super) struct Route {
    show: Arc<Show>,
    call: Call,
}

enum Call {
    Refs,
    Chunk(ChunkHash),
    GetChunks,
    HasChunks,
}

/// A request that is not answered, and whether the client knew the token.
pub(super) struct Refusal {
    pub(super) reply: Reply,
    pub(super) knew_token: bool,
}

impl Shared {
    /// Finds what a request asks for, before its body is read.
    pub(super) fn route(&self, head: &Head) -> Result<Route, Refusal> {
        let mut parts = head.path.strip_prefix('/').unwrap_or_default().splitn(3, '/');
        let mut part = || parts.next().unwrap_or_default();
        let (token, id, call) = (part(), part(), part());
        let refusal = |reply, knew_token| Err(Refusal { reply, knew_token });
        if !same_text(token, &self.token) {
            return refusal(not_found(), false);
        }
        let show = u64::from_str_radix(id, 16).ok().and_then(|id| self.shows().get(&id).cloned());
        let Some(show) = show else { return refusal(not_found(), true) };
        let call = match (head.method, call) {
            (Method::Get, "refs") => Call::Refs,
            (Method::Post, "get-chunks") => Call::GetChunks,
            (Method::Post, "has-chunks") => Call::HasChunks,
            (Method::Get, call) => match call.strip_prefix("chunk/").map(str::parse) {
                Some(Ok(hash)) => Call::Chunk(hash),
                _ => return refusal(not_found(), true),
            },
            (Method::Put, _) | (Method::Post, "chunks" | "commit") => {
                let message = "this remote can only be read from";
                return refusal(Reply::error(Status::Forbidden, "forbidden", message), true);
            }
            (Method::Post, _) => return refusal(not_found(), true),
            (Method::Other, _) => {
                let message = "this remote does not know this method";
                return refusal(Reply::error(Status::NotAllowed, "forbidden", message), true);
            }
        };
        Ok(Route { show, call })
    }
}

impl Route {
    /// Answers, with the request's body at hand.
    pub(super) fn answer(&self, body: &[u8]) -> Reply {
        let source = &self.show.source;
        match self.call {
            Call::Refs => Reply::ok(Body::Bytes(self.show.root.clone())),
            Call::Chunk(hash) => match source.get_many(&[hash]) {
                Ok(mut chunks) => match chunks.pop().flatten() {
                    Some(chunk) => Reply::ok(Body::Bytes(chunk)),
                    None => not_found(),
                },
                Err(message) => failed(&message),
            },
            Call::GetChunks => with_hashes(body, |hashes| {
                let chunks = source.get_many(hashes)?;
                check_count(chunks.len(), hashes.len())?;
                Ok(Body::Chunks(chunks))
            }),
            Call::HasChunks => with_hashes(body, |hashes| {
                let present = source.has_many(hashes)?;
                check_count(present.len(), hashes.len())?;
                Ok(Body::Bytes(present.into_iter().map(u8::from).collect()))
            }),
        }
    }
}

fn with_hashes(body: &[u8], answer: impl FnOnce(&[ChunkHash]) -> Result<Body, String>) -> Reply {
    let (hashes, rest) = body.as_chunks::<{ limits::HASH_BYTES }>();
    if !rest.is_empty() {
        let message = "the body is not a list of hashes";
        return Reply::error(Status::BadRequest, "bad_request", message);
    }
    let hashes: Vec<ChunkHash> = hashes.iter().copied().map(ChunkHash::from_bytes).collect();
    match answer(&hashes) {
        Ok(body) if body.len() <= limits::GATEWAY_REPLY_BYTES_MAX => Reply::ok(body),
        Ok(_) => Reply::error(Status::TooLarge, "toobig", "the chunks asked for are too large"),
        Err(message) => failed(&message),
    }
}

fn check_count(given: usize, asked: usize) -> Result<(), String> {
    if given == asked {
        Ok(())
    } else {
        Err(format!("{asked} chunks were asked for and {given} came"))
    }
}

fn not_found() -> Reply {
    Reply::error(Status::NotFound, "not_found", "not found")
}

fn failed(message: &str) -> Reply {
    tracing::debug!(message, "the source of a pull failed");
    Reply::error(Status::Failed, "internal", message)
}

/// Compares in a time that depends on the lengths only, so that a token cannot be guessed byte by
/// byte.
fn same_text(a: &str, b: &str) -> bool {
    let difference = a.bytes().zip(b.bytes()).fold(0, |bits, (a, b)| bits | (a ^ b));
    a.len() == b.len() && std::hint::black_box(difference) == 0
}
