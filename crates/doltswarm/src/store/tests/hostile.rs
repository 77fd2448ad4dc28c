//! Files that are not what a store wrote: an error each time, never a panic, never a false record.

use proptest::prelude::*;

use super::super::codec;
use super::*;

/// A closed store with something in every table, as bytes.
fn full_file() -> Vec<u8> {
    let (dir, store) = new_store();
    add(&store, &commits(0..40)).unwrap();
    store.remember_merge(&hash(1), &hash(2), &hash(3)).unwrap();
    store.add_grants(&[vec![1; 50]]).unwrap();
    store.add_rejected(&hash(1), "because").unwrap();
    store.set_name("blue").unwrap();
    drop(store);
    fs::read(dir.path().join(FILE_NAME)).unwrap()
}

fn open_bytes(bytes: &[u8]) -> Result<(TempDir, Store), StoreError> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(FILE_NAME), bytes).unwrap();
    Store::open(dir.path()).map(|store| (dir, store))
}

#[test]
fn what_is_not_a_store_is_said_to_be_damaged() {
    let good = full_file();
    let mut headless = good.clone();
    headless[..512].fill(0);
    for bad in [&b""[..], b"not a store", &[0; 8192], &[0xff; 8192], &good[..5000], &headless] {
        let error = open_bytes(bad).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{} bytes: {error}", bad.len());
    }
    open_bytes(&good).unwrap();
}

#[test]
fn flipped_bits_are_found_or_do_not_matter() {
    let good = full_file();
    let mut found = 0;
    for step in 0..200 {
        let mut bytes = good.clone();
        // The first pages hold the data of so small a store.
        let at = step * 163 % bytes.len().min(1 << 16);
        bytes[at] ^= 1 << (step % 8);
        let Ok((_dir, store)) = open_bytes(&bytes) else {
            found += 1;
            continue;
        };
        // What opens must have all that was written: the flip hit a page that nothing uses, or one
        // of two copies.
        assert_eq!(store.restore_commits().unwrap(), commits(0..40), "byte {at}");
        assert_eq!(store.merges(9).unwrap().len(), 1, "byte {at}");
        assert_eq!(store.grants().unwrap(), [vec![1; 50]], "byte {at}");
    }
    assert!(found > 0, "no flip was found, so the test looked in the wrong place");
}

#[test]
fn wrong_words_about_itself_are_damage_and_another_version_is_named() {
    let other = CommitHash::from_bytes([1; 20]);
    let cases: [(&str, &[u8]); 7] = [
        ("swarm", &[0; 32]),
        ("swarm", b"short"),
        ("founder", &[]),
        ("founding", other.as_bytes()),
        ("engine", b"sqlite"),
        ("policy", &[0xff, 0xfe]),
        ("version", &[1]),
    ];
    for (key, value) in cases {
        let (dir, store) = new_store();
        meta::set_for_test(&store, key, value);
        drop(store);
        let error = Store::open(dir.path()).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{key}: {error}");
    }
    for version in [FORMAT_VERSION_MIN - 1, FORMAT_VERSION + 1] {
        let (dir, store) = new_store();
        meta::set_for_test(&store, "version", &version.to_le_bytes());
        drop(store);
        let error = Store::open(dir.path()).unwrap_err();
        let StoreError::WrongVersion { found, expected } = error else { panic!("{error}") };
        assert_eq!((found, expected), (version, FORMAT_VERSION));
    }

    let (_dir, store) = new_store();
    meta::set_for_test(&store, "name", &[0xff; 10]);
    assert!(matches!(store.name(), Err(StoreError::Corrupt { .. })));
    meta::set_for_test(&store, "listen_port", &[0; 3]);
    assert!(matches!(store.listen_port(), Err(StoreError::Corrupt { .. })));
}

#[test]
fn commits_out_of_order_in_the_file_are_damage() {
    for wrong in [vec![commit(1), commit(0)], vec![commit(0), commit(0)]] {
        let (dir, store) = new_store();
        commits::put_for_test(&store, &wrong);
        let store = reopen(dir.path(), store);
        assert!(matches!(store.restore_commits(), Err(StoreError::Corrupt { .. })), "{wrong:?}");
    }
}

prop_compose! {
    fn any_commit()(
        hash in any::<[u8; 20]>(),
        builds_on in prop::collection::btree_set(any::<[u8; 20]>(), 0..20),
        made_on in prop::option::of(any::<[u8; 20]>()),
        signer in any::<[u8; 32]>(),
    ) -> UserCommit {
        UserCommit {
            hash: CommitHash::from_bytes(hash),
            builds_on: builds_on.into_iter().map(CommitHash::from_bytes).collect(),
            made_on: made_on.map(CommitHash::from_bytes),
            signer: PeerId::from_bytes(signer),
        }
    }
}

prop_compose! {
    fn any_peer()(
        peer in any::<[u8; 32]>(),
        addresses in prop::collection::vec("[a-z0-9.:]{0,60}", 0..=limits::ADDRESSES_PER_PEER_MAX),
        name in "\\PC{0,16}",
        last_seen_ms in any::<u64>(),
    ) -> PeerEntry {
        PeerEntry { peer: PeerId::from_bytes(peer), addresses, name, last_seen_ms }
    }
}

prop_compose! {
    fn any_invite()(
        id in any::<[u8; 32]>(), role in "[a-z]{0,16}", uses_left in any::<u32>(),
        expires_ms in any::<u64>(), created_ms in any::<u64>(),
    ) -> Invite {
        Invite { id, role, uses_left, expires_ms, created_ms }
    }
}

proptest! {
    #[test]
    fn records_round_trip(
        commit in any_commit(), merge in any::<[u8; 20]>(), sequence in any::<u64>(),
        entry in any_peer(), invite in any_invite(), reason in ".{0,200}",
    ) {
        for count in 0..=limits::SIGNATURES_PER_COMMIT_MAX {
            let mut commit = commit.clone();
            let of = |n| SignedCommit { signer: peer(n), ..signed(&commit) };
            let signatures: Vec<_> = (0..count as u64).map(of).collect();
            commit.signer = signatures.first().map_or(commit.signer, |first| first.signer);
            let bytes = codec::encode_commit(&commit, &signatures).unwrap();
            prop_assert_eq!(codec::decode_commit(&bytes).unwrap(), (commit, signatures));
        }
        let merge = CommitHash::from_bytes(merge);
        let bytes = codec::encode_merge(sequence, &merge);
        prop_assert_eq!(codec::decode_merge(&bytes).unwrap(), (sequence, merge));
        let bytes = codec::encode_peer(&entry).unwrap();
        prop_assert_eq!(codec::decode_peer(entry.peer, &bytes).unwrap(), entry);
        let bytes = codec::encode_invite(&invite).unwrap();
        prop_assert_eq!(codec::decode_invite(invite.id, &bytes).unwrap(), invite);
        let bytes = codec::encode_rejected(sequence, &reason).unwrap();
        prop_assert_eq!(codec::decode_rejected(&bytes).unwrap(), (sequence, reason));
    }

    #[test]
    fn record_that_is_cut_or_longer_is_damage(
        commit in any_commit(), entry in any_peer(), cut in any::<prop::sample::Index>(),
    ) {
        let bytes = codec::encode_commit(&commit, &[signed(&commit)]).unwrap();
        prop_assert!(codec::decode_commit(&bytes[..cut.index(bytes.len())]).is_err());
        prop_assert!(codec::decode_commit(&[&bytes[..], b"x"].concat()).is_err());
        let bytes = codec::encode_peer(&entry).unwrap();
        prop_assert!(codec::decode_peer(entry.peer, &bytes[..cut.index(bytes.len())]).is_err());
    }

    #[test]
    fn garbage_decodes_to_an_error_or_to_what_encodes_to_it(bytes in any::<Vec<u8>>()) {
        if let Ok((commit, signatures)) = codec::decode_commit(&bytes) {
            let encoded = codec::encode_commit(&commit, &signatures).unwrap();
            prop_assert_eq!(encoded, &bytes[..]);
        }
        if let Ok((sequence, result)) = codec::decode_merge(&bytes) {
            prop_assert_eq!(codec::encode_merge(sequence, &result), &bytes[..]);
        }
        if let Ok(entry) = codec::decode_peer(peer(1), &bytes) {
            prop_assert_eq!(codec::encode_peer(&entry).unwrap(), &bytes[..]);
        }
        if let Ok(invite) = codec::decode_invite([0; 32], &bytes) {
            prop_assert_eq!(codec::encode_invite(&invite).unwrap(), &bytes[..]);
        }
        if let Ok((sequence, reason)) = codec::decode_rejected(&bytes) {
            prop_assert_eq!(codec::encode_rejected(sequence, &reason).unwrap(), &bytes[..]);
        }
    }
}
