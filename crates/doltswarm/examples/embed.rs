//! Two nodes of one swarm in one process: what one commits, the other hears of and reads.
#![expect(clippy::print_stdout, reason = "an example is for the terminal")]

use std::net::{Ipv4Addr, SocketAddr};

use doltswarm::{InitOptions, InviteOptions, JoinOptions, OpenOptions, Swarm};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let (ann, bob) = (dir.path().join("ann"), dir.path().join("bob"));
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));

    // Ann founds a swarm, then opens her node with the network on.
    Swarm::init(&ann, InitOptions::default()).await?.close().await;
    let ann = Swarm::open(&ann, OpenOptions::online_at(loopback)).await?;
    ann.exec_and_commit("parts", ["CREATE TABLE part (id INTEGER PRIMARY KEY, name TEXT)"]).await?;

    // A ticket makes its bearer a member, who clones the database and verifies it.
    let ticket = ann.invite(InviteOptions::default()).await?;
    let open = OpenOptions::online_at(loopback);
    let options = JoinOptions { bind: vec![loopback], open, ..JoinOptions::default() };
    let bob = Swarm::join(&bob, &ticket, options, |_| {}).await?;

    // Bob is called whenever tables change, whoever changed them.
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let _watch = bob.on_tables_changed(move |change| drop(tell.send(change)));
    ann.exec_and_commit("a bolt", ["INSERT INTO part VALUES (1, 'bolt')"]).await?;
    let change = told.recv().await.ok_or("bob's node is closed")?;
    let diff = bob.diff(Some(&change.from), Some(&change.to), 10).await?;
    println!("bob hears: {} row in {:?}", diff.tables[0].rows[0].change, change.tables);
    println!("bob reads: {:?}", bob.query("SELECT id, name FROM part", Vec::new()).await?.rows);

    ann.close().await;
    bob.close().await;
    Ok(())
}
