//! Reading a peer's chunks.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use doltswarm::core::id::ChunkHash;
use doltswarm::core::limits::{CHUNKS_PER_REQUEST_MAX, CHUNKS_READ_AT_ONCE_MAX};
use doltswarm::engine::ChunkFormat;
use doltswarm::net::{ChunkStoreError, Fault};

use super::support::{Format, close, commit, connected, eventually};

fn chunk(number: usize, size: usize) -> Vec<u8> {
    let mut bytes = vec![number as u8; size];
    bytes[..8].copy_from_slice(&(number as u64).to_le_bytes());
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_come_in_the_order_asked_and_absent_ones_are_told() {
    let (a, b) = connected().await;
    let store = a.net.link(b.id).chunk_store();
    let (one, two) = (b.node.add_chunk(chunk(1, 100)), b.node.add_chunk(chunk(2, 200)));
    let absent = ChunkHash::from_bytes([0xee; 20]);
    // A chunk without bytes is not an absent one.
    let empty = b.node.add_chunk(Bytes::new());
    let asked = [two, absent, one, empty, two];
    let got = store.get_many(&asked).await.unwrap();
    let bytes = |number, size| Some(Bytes::from(chunk(number, size)));
    let expected = vec![bytes(2, 200), None, bytes(1, 100), Some(Bytes::new()), bytes(2, 200)];
    assert_eq!(got, expected);
    assert_eq!(a.net.stats().chunk_bytes_received, 500);

    assert_eq!(store.get(&one).await.unwrap(), bytes(1, 100));
    assert_eq!(store.get(&absent).await.unwrap(), None);
    assert!(store.has(&one).await.unwrap());
    assert!(!store.has(&absent).await.unwrap());
    assert_eq!(store.has_many(&asked).await.unwrap(), [true, false, true, true, true]);
    assert!(store.get_many(&[]).await.unwrap().is_empty());
    assert!(store.has_many(&[]).await.unwrap().is_empty());
    assert_eq!(store.size().await.unwrap(), 300);
    assert_eq!(store.sources().await.unwrap()[0].bytes, 300);
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_chunks_than_one_request_may_name_come_all_the_same() {
    let (a, b) = connected().await;
    let count = 2 * CHUNKS_PER_REQUEST_MAX + 7;
    let hashes: Vec<_> = (0..count).map(|n| b.node.add_chunk(chunk(n, 1_000))).collect();
    let store = a.net.link(b.id).chunk_store();
    let got = store.get_many(&hashes).await.unwrap();
    for (number, bytes) in got.iter().enumerate() {
        assert!(bytes.as_deref() == Some(&chunk(number, 1_000)[..]));
    }
    assert_eq!(got.len(), count);
    assert_eq!(store.has_many(&hashes).await.unwrap(), vec![true; count]);
    assert!(b.node.largest_read.load(Ordering::Relaxed) <= CHUNKS_READ_AT_ONCE_MAX);
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_larger_than_a_message_comes_whole() {
    let (a, b) = connected().await;
    let hashes = [
        b.node.add_chunk(chunk(1, 50)),
        b.node.add_chunk(chunk(2, 5 << 20)),
        b.node.add_chunk(chunk(3, 50)),
    ];
    let store = a.net.link(b.id).chunk_store();
    let got = store.get_many(&hashes).await.unwrap();
    let sizes: Vec<_> = got.iter().flatten().map(Bytes::len).collect();
    assert_eq!(sizes, [50, 5 << 20, 50]);
    assert_eq!(store.get(&hashes[1]).await.unwrap().unwrap().len(), 5 << 20);
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_bytes_are_never_returned() {
    let (a, b) = connected().await;
    let store = a.net.link(b.id).chunk_store();
    let good = b.node.add_chunk(chunk(1, 100));
    for size in [100, 2 << 20] {
        let bytes = chunk(2, size);
        let bad = b.node.add_chunk(bytes.clone());
        let mut altered = bytes;
        altered[size - 1] ^= 1;
        let got = Format.hash(&altered);
        b.node.chunks.lock().unwrap().insert(bad, altered.into());
        let wrong = ChunkStoreError::WrongChunk { peer: b.id, asked: bad, got };
        assert_eq!(store.get(&bad).await.unwrap_err(), wrong);
        assert_eq!(store.get_many(&[good, bad, good]).await.unwrap_err(), wrong);
        assert_eq!(wrong.fault(), Fault::Peer);
        assert!(!wrong.is_retryable());

        // What came before it was handed over, what came after it was not.
        let mut seen = Vec::new();
        let end = store.get_each(&[good, bad, good], |hash, _| seen.push(hash)).await;
        assert_eq!(end.unwrap_err(), wrong);
        assert_eq!(seen, [good]);
    }
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_root_is_remembered_until_it_is_read_anew() {
    let (a, b) = connected().await;
    let store = a.net.link(b.id).chunk_store();
    assert_eq!(store.root().await.unwrap(), [commit(1)]);
    *b.node.heads.lock().unwrap() = vec![commit(2), commit(3)];
    assert_eq!(store.root().await.unwrap(), [commit(1)]);
    assert_eq!(store.rebase().await.unwrap(), [commit(2), commit(3)]);
    assert_eq!(store.root().await.unwrap(), [commit(2), commit(3)]);
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_write_is_refused_by_name() {
    let (a, b) = connected().await;
    let store = a.net.link(b.id).chunk_store();
    let hash = ChunkHash::from_bytes([1; 20]);
    assert_eq!(store.put(b"x").unwrap_err().call, "put");
    assert_eq!(store.commit(&hash, &hash).unwrap_err().call, "commit");
    assert_eq!(store.write_table_file("t", b"x").unwrap_err().call, "write_table_file");
    let error = store.add_table_files_to_manifest(&["t"]).unwrap_err();
    assert_eq!(error.call, "add_table_files_to_manifest");
    assert_eq!(store.prune_table_files().unwrap_err().call, "prune_table_files");
    assert_eq!(store.set_root_chunk(&hash, &hash).unwrap_err().call, "set_root_chunk");
    close([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abandoned_transfer_stops_reading_the_peers_store() {
    let (a, b) = connected().await;
    let count = 2_000;
    let hashes: Vec<_> = (0..count).map(|n| b.node.add_chunk(chunk(n, 64 << 10))).collect();
    let store = a.net.link(b.id).chunk_store();
    let (first, arrived) = tokio::sync::oneshot::channel();
    let mut first = Some(first);
    let transfer = tokio::spawn(async move {
        let take = |_, _| {
            if let Some(first) = first.take() {
                let _ = first.send(());
            }
        };
        store.get_each(&hashes, take).await
    });
    arrived.await.unwrap();
    transfer.abort();
    assert!(transfer.await.is_err_and(|error| error.is_cancelled()));
    // The same connection goes on; and the peer's store is left alone before the end.
    let small = b.node.add_chunk(chunk(1, 10));
    let store = a.net.link(b.id).chunk_store();
    assert!(store.get(&small).await.unwrap().is_some());
    let mut last = 0;
    let mut same = 0;
    eventually("the peer stops reading", || {
        let read = b.node.read.load(Ordering::Relaxed);
        same = if read == last { same + 1 } else { 0 };
        last = read;
        same > 50
    })
    .await;
    assert!(last < count, "all {last} chunks were read for nobody");
    close([a, b]).await;
}
