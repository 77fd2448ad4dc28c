//! The tables beside the commits: merges, peers, grants, rejected heads, invites, the node itself.

use super::*;

fn entry(n: u64, last_seen_ms: u64) -> PeerEntry {
    PeerEntry {
        peer: peer(n),
        addresses: vec![format!("192.0.2.{n}:4711")],
        name: "é".to_owned(),
        last_seen_ms,
    }
}

#[test]
fn merges_come_newest_first_and_the_oldest_are_forgotten() {
    let (dir, store) = new_store();
    store.remember_merge(&hash(1), &hash(2), &hash(3)).unwrap();
    store.remember_merge(&hash(1), &hash(4), &hash(5)).unwrap();
    store.remember_merge(&hash(1), &hash(2), &hash(3)).unwrap();
    let merged = RememberedMerge { ours: hash(1), theirs: hash(2), commit: hash(3) };
    let older = RememberedMerge { ours: hash(1), theirs: hash(4), commit: hash(5) };
    assert_eq!(store.merges(10).unwrap(), [merged.clone(), older]);
    assert_eq!(store.merges(1).unwrap(), [merged]);

    let most = limits::MERGES_REMEMBERED_MAX as u64;
    for n in 0..most + 3 {
        store.remember_merge(&hash(n), &hash(n + 1), &hash(n + 2)).unwrap();
    }
    store.flush().unwrap();
    let store = reopen(dir.path(), store);
    let merges = store.merges(usize::MAX).unwrap();
    assert_eq!(merges.len() as u64, most);
    assert_eq!(merges[0].ours, hash(most + 2));
    assert_eq!(merges.last().unwrap().ours, hash(3));
}

#[test]
fn peers_are_kept_and_the_least_recently_seen_is_forgotten() {
    let (dir, store) = new_store();
    store.put_peer(&entry(2, 5)).unwrap();
    store.put_peer(&entry(1, 7)).unwrap();
    let store = reopen(dir.path(), store);
    assert_eq!(store.peers().unwrap(), [entry(1, 7), entry(2, 5)]);

    let grain = limits::LAST_SEEN_GRAIN.as_millis() as u64;
    store.put_peer(&entry(1, 6 + grain)).unwrap();
    assert_eq!(store.peers().unwrap()[0], entry(1, 7), "too little news for a disk sync");
    store.put_peer(&entry(1, 7 + grain)).unwrap();
    assert_eq!(store.peers().unwrap()[0], entry(1, 7 + grain));
    let renamed = PeerEntry { name: "new".to_owned(), ..entry(1, 8 + grain) };
    store.put_peer(&renamed).unwrap();
    assert_eq!(store.peers().unwrap()[0], renamed);
    assert!(store.remove_peer(&peer(1)).unwrap());
    assert!(!store.remove_peer(&peer(1)).unwrap());

    for n in 0..limits::PEERS_MAX as u64 {
        store.put_peer(&entry(1_000 + n, 100 + n)).unwrap();
    }
    let peers = store.peers().unwrap();
    assert_eq!(peers.len(), limits::PEERS_MAX);
    assert!(peers.iter().all(|entry| entry.peer != peer(2)));
    // A newcomer that was never seen is not the one to go.
    store.put_peer(&entry(3, 0)).unwrap();
    assert!(store.peers().unwrap().contains(&entry(3, 0)));

    let many = PeerEntry {
        addresses: vec!["a:1".to_owned(); limits::ADDRESSES_PER_PEER_MAX + 1],
        ..entry(9, 9)
    };
    assert!(matches!(store.put_peer(&many), Err(StoreError::Invalid { .. })));
}

/// A signature of commit `n` by peer `key`.
fn signed_by(n: u64, key: u64) -> SignedCommit {
    SignedCommit { signer: peer(key), ..signed(&commit(n)) }
}

#[test]
fn signatures_of_the_lowest_keys_are_kept_in_any_order() {
    let mut outcomes = Vec::new();
    for order in [[3, 4, 5, 6, 7, 8], [8, 7, 6, 5, 4, 3], [5, 3, 8, 4, 7, 6]] {
        let (dir, store) = new_store();
        add(&store, &commits(0..1)).unwrap();
        let unsigned = UserCommit { signer: peer(99), ..commit(1) };
        store.add_found_commits(&[unsigned], &[]).unwrap();
        assert_eq!(store.signatures(&[hash(1)]).unwrap(), [vec![]]);
        for key in order {
            store.add_signatures(&[signed_by(1, key), signed_by(77, key)]).unwrap();
        }
        let store = reopen(dir.path(), store);
        let (commits, signers) = store.restore().unwrap();
        assert_eq!(commits[1].signer, peer(3), "{order:?}");
        outcomes.push((commits, signers, store.signatures(&[hash(1)]).unwrap()));
    }
    assert_eq!(outcomes[0].2, [[3, 4, 5, 6].map(|key| signed_by(1, key)).to_vec()]);
    assert_eq!(outcomes[0], outcomes[1]);
    assert_eq!(outcomes[0], outcomes[2]);
}

#[test]
fn signatures_are_added_once_and_tell_what_changed() {
    let (_dir, store) = new_store();
    add(&store, &commits(0..1)).unwrap();
    add_relaxed(&store, &commits(1..3)).unwrap();
    let mut signers = store.restore().unwrap().1;
    let changes = store.add_signatures(&[signed_by(1, 0), signed_by(1, 0), signed_by(2, 7)]);
    let change = |n: u64, before: &[u64], after: &[u64]| SignersChange {
        commit: hash(n),
        before: before.iter().copied().map(peer).collect(),
        after: after.iter().copied().map(peer).collect(),
    };
    let changes = changes.unwrap();
    assert_eq!(changes, [change(1, &[1], &[0, 1]), change(2, &[2], &[2, 7])]);
    for SignersChange { commit, before, after } in &changes {
        before.iter().for_each(|signer| signers.remove(commit, signer));
        after.iter().for_each(|signer| signers.add(commit, signer));
    }
    assert_eq!(store.restore().unwrap().1, signers);
    // Nobody but the founder signs the founding commit.
    assert_eq!(store.add_signatures(&[signed_by(0, 9)]).unwrap(), []);
}

#[test]
fn grants_are_kept_whole_and_bounded() {
    let (dir, store) = new_store();
    let grants: Vec<Vec<u8>> = (0..5_u8).map(|n| vec![n; 100]).collect();
    store.add_grants(&grants).unwrap();
    store.add_grants(&grants[..2]).unwrap();
    let store = reopen(dir.path(), store);
    let mut kept = store.grants().unwrap();
    kept.sort();
    assert_eq!(kept, grants);
    let large = vec![0; limits::GRANT_BYTES_MAX + 1];
    assert!(matches!(store.add_grants(&[large]), Err(StoreError::Invalid { .. })));
    assert_eq!(store.grants().unwrap().len(), 5, "all or none");
    let many: Vec<Vec<u8>> = (0..10_000_u32).map(|n| n.to_le_bytes().to_vec()).collect();
    store.add_grants(&many).unwrap();
    assert_eq!(store.grants().unwrap().len(), 10_005, "no count is refused");
}

#[test]
fn rejected_heads_are_kept_and_the_oldest_forgotten() {
    let (dir, store) = new_store();
    store.add_rejected(&hash(1), "no signature").unwrap();
    store.add_rejected(&hash(2), &"é".repeat(limits::REASON_BYTES_MAX)).unwrap();
    let store = reopen(dir.path(), store);
    let rejected = store.rejected().unwrap();
    assert_eq!(rejected[0], (hash(1), "no signature".to_owned()));
    assert_eq!(rejected[1].1.len(), limits::REASON_BYTES_MAX);
    assert!(store.remove_rejected(&hash(2)).unwrap());
    assert!(!store.remove_rejected(&hash(2)).unwrap());
}

#[test]
fn invite_is_redeemed_as_often_as_it_says() {
    let (dir, store) = new_store();
    let secret = [9; 16];
    let invite = Invite {
        id: Invite::id_of(&secret),
        role: "writer".to_owned(),
        uses_left: 2,
        expires_ms: 1_000,
        created_ms: 10,
    };
    store.add_invite(&invite).unwrap();
    assert!(matches!(store.redeem_invite(&[8; 16], 20), Err(RedeemError::Unknown)));
    assert!(matches!(store.redeem_invite(&secret, 1_000), Err(RedeemError::Expired)));
    assert_eq!(
        store.redeem_invite(&secret, 999).unwrap(),
        Invite { uses_left: 1, ..invite.clone() }
    );
    let store = reopen(dir.path(), store);
    assert_eq!(store.redeem_invite(&secret, 20).unwrap().uses_left, 0);
    assert!(matches!(store.redeem_invite(&secret, 20), Err(RedeemError::UsedUp)));
    assert_eq!(store.invites().unwrap(), [Invite { uses_left: 0, ..invite.clone() }]);
    assert!(store.remove_invite(&invite.id).unwrap());
    assert!(matches!(store.redeem_invite(&secret, 20), Err(RedeemError::Unknown)));
}

#[test]
fn last_use_of_an_invite_goes_to_one() {
    let (_dir, store) = new_store();
    let secret = [1; 16];
    let invite = Invite {
        id: Invite::id_of(&secret),
        role: "reader".to_owned(),
        uses_left: 3,
        expires_ms: u64::MAX,
        created_ms: 0,
    };
    store.add_invite(&invite).unwrap();
    let redeemed: usize = std::thread::scope(|scope| {
        let redeem = || store.redeem_invite(&secret, 1).is_ok();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(redeem)).collect();
        threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum()
    });
    assert_eq!(redeemed, 3);
}

#[test]
fn spent_invites_make_room_and_open_ones_do_not() {
    let (_dir, store) = new_store();
    let invite = |n: u64, uses_left| Invite {
        id: *blake3::hash(&n.to_le_bytes()).as_bytes(),
        role: "writer".to_owned(),
        uses_left,
        expires_ms: u64::MAX,
        created_ms: n,
    };
    for n in 0..limits::INVITES_MAX as u64 {
        store.add_invite(&invite(n, u32::from(n > 4))).unwrap();
    }
    store.add_invite(&invite(5_000, 1)).unwrap();
    assert_eq!(store.invites().unwrap().len(), limits::INVITES_MAX - 4);
    for n in 5_001..5_005 {
        store.add_invite(&invite(n, 1)).unwrap();
    }
    let refused = store.add_invite(&invite(5_005, 1));
    assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{refused:?}");
    assert_eq!(store.invites().unwrap().len(), limits::INVITES_MAX);
}

#[test]
fn node_remembers_its_name_and_port() {
    let (dir, store) = new_store();
    assert_eq!((store.name().unwrap(), store.listen_port().unwrap()), (None, None));
    store.set_name("blue").unwrap();
    store.set_listen_port(4711).unwrap();
    assert_eq!(store.size_after_collection().unwrap(), 0);
    store.set_size_after_collection(1 << 40).unwrap();
    let store = reopen(dir.path(), store);
    assert_eq!(store.name().unwrap().as_deref(), Some("blue"));
    assert_eq!(store.listen_port().unwrap(), Some(4711));
    assert_eq!(store.size_after_collection().unwrap(), 1 << 40);
    assert!(store.set_name(&"x".repeat(limits::NAME_BYTES_MAX + 1)).is_err());
}

#[test]
fn what_is_set_aside_is_kept_with_its_reason() {
    let (dir, store) = new_store();
    store.add_set_aside(&hash(1), "first").unwrap();
    store.add_set_aside(&hash(1), &"é".repeat(limits::REASON_BYTES_MAX)).unwrap();
    store.add_set_aside(&hash(2), "second").unwrap();
    let store = reopen(dir.path(), store);
    let all = store.set_aside().unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!(all[&hash(1)], "é".repeat(limits::REASON_BYTES_MAX / 2));
    assert_eq!(all[&hash(2)], "second");
    assert!(store.remove_set_aside(&hash(1)).unwrap());
    assert!(!store.remove_set_aside(&hash(1)).unwrap());
    assert_eq!(store.set_aside().unwrap().len(), 1);
}
