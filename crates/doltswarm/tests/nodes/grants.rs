//! Many grants: no number of them keeps a node from starting, or a newcomer from joining.

use doltswarm::core::id::PeerId;
use doltswarm::core::limits::GRANTS_PER_MESSAGE_MAX;
use doltswarm::core::membership::{Grant, Role};
use doltswarm::identity::Identity;
use doltswarm::store::Store;

use crate::support::{close, eventually, exec, homes, in_step};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_admins_many_grants_survive_restarts_and_travel() {
    const COUNT: usize = GRANTS_PER_MESSAGE_MAX + 600;
    let homes = homes::<3>();
    let a = homes[0].found("CREATE TABLE t (id INTEGER PRIMARY KEY)").await;
    let b = homes[1].join_as(&a, "b", Role::Admin).await;
    in_step(&[&a, &b]).await;
    b.close().await;
    {
        let home = &homes[1].path;
        let (store, identity) =
            (Store::open(home).expect("the store"), Identity::load(home).expect("the key"));
        let grants = (0..COUNT).map(|n| {
            let member = PeerId::from_bytes(*blake3::hash(&n.to_be_bytes()).as_bytes());
            let (swarm, granter) = (store.founding().swarm, identity.peer_id());
            let grant = Grant { swarm, member, role: Role::Reader, name: String::new(), granter };
            grant.sign(identity.signing_key()).expect("a good grant").encode()
        });
        store.add_grants(&grants.collect::<Vec<_>>()).expect("kept");
    }
    let b = homes[1].up().await;
    assert_eq!(b.members().await.expect("members").len(), COUNT + 2);
    eventually("the other one knows all members", async || {
        a.members().await.expect("members").len() == COUNT + 2
    })
    .await;
    // A newcomer gets those that are not in the answer to its ticket, and what their writers
    // signed.
    exec(&b, "INSERT INTO t VALUES (1)").await;
    let c = homes[2].join(&b, "c").await;
    assert_eq!(c.members().await.expect("members").len(), COUNT + 3);
    in_step(&[&a, &b, &c]).await;
    close([a, b, c]).await;
}
