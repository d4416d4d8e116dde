//! How nodes find, keep and refuse one another.

use rand_core::OsRng;
use wormhole_node::{
    AddPeerError, Direction, StartError, Stopped, devp2p::enode::Enode, shh::SymmetricKey,
};

use super::{connected, hear, quick, sealed, start, start_beside, until};

#[tokio::test]
async fn nodes_that_know_one_bootnode_find_one_another() {
    let mut settings = quick();
    settings.discovery = true;
    let first = start(settings.clone()).await;
    // To know where to begin is to search.
    settings.discovery = false;
    settings.bootnodes = vec![first.enode()];
    let second = start(settings.clone()).await;
    let third = start(settings).await;
    for node in [&first, &second, &third] {
        connected(node, 2).await;
    }
    for node in [first, second, third] {
        node.stop().await;
    }
}

#[tokio::test]
async fn a_peer_that_was_found_and_lost_is_called_again() {
    let mut settings = quick();
    settings.discovery = true;
    let first = start(settings.clone()).await;
    settings.bootnodes = vec![first.enode()];
    let second = start(settings).await;
    connected(&first, 1).await;
    connected(&second, 1).await;
    assert!(second.remove_peer(first.id()).await.unwrap());
    assert_eq!(second.status().await.unwrap().peers, 0);
    connected(&second, 1).await;
    for node in [first, second] {
        node.stop().await;
    }
}

#[tokio::test]
async fn a_static_peer_is_called_again_when_it_comes_back() {
    let folder = super::restart::Folder::new("static");
    let mut settings = quick();
    settings.data = Some(folder.0.clone());
    let alice = start(settings.clone()).await;
    let bob = start_beside(&alice).await;
    settings.listen = Some(alice.enode().endpoint.unwrap().tcp_address());
    let before = alice.enode();
    alice.stop().await;
    until(async || (bob.status().await.unwrap().peers == 0).then_some(())).await;
    let alice = start(settings).await;
    assert_eq!(alice.enode(), before);
    connected(&bob, 1).await;
    let mut heard = alice.envelopes();
    let hash = bob.post(sealed("again", &SymmetricKey::random(&mut OsRng), None).await).await;
    assert_eq!(hear(&mut heard).await.0.hash(), hash.unwrap());
    alice.stop().await;
    bob.stop().await;
}

#[tokio::test]
async fn two_nodes_that_call_each_other_keep_one_link() {
    let (alice, bob) = (start(quick()).await, start(quick()).await);
    let (one, two) = tokio::join!(alice.add_peer(bob.enode()), bob.add_peer(alice.enode()));
    assert_eq!((one, two), (Ok(true), Ok(true)));
    let mut heard = bob.envelopes();
    connected(&alice, 1).await;
    connected(&bob, 1).await;
    let posted = alice.post(sealed("one", &SymmetricKey::random(&mut OsRng), None).await).await;
    assert_eq!(hear(&mut heard).await.0.hash(), posted.unwrap());
    assert_eq!(alice.peers().await.unwrap().len(), 1);
    let ours = alice.peers().await.unwrap()[0].direction == Direction::Inbound;
    let theirs = bob.peers().await.unwrap()[0].direction == Direction::Inbound;
    assert_ne!(ours, theirs);
    alice.stop().await;
    bob.stop().await;
}

#[tokio::test]
async fn a_node_takes_no_more_peers_than_it_may_but_trusted_ones() {
    let mut settings = quick();
    settings.max_peers = 1;
    let full = start(settings).await;
    let first = start_beside(&full).await;
    let (second, third) = (start(quick()).await, start(quick()).await);
    full.trust(third.id()).await.unwrap();
    second.add_peer(full.enode()).await.unwrap();
    third.add_peer(full.enode()).await.unwrap();
    connected(&full, 2).await;
    let peers = full.peers().await.unwrap();
    assert!(peers.iter().any(|peer| peer.id == third.id() && peer.trusted));
    assert!(peers.iter().all(|peer| peer.id != second.id()));
    assert!(full.remove_peer(first.id()).await.unwrap());
    for node in [full, first, second, third] {
        node.stop().await;
    }
}

#[tokio::test]
async fn what_cannot_be_had_is_refused_at_once() {
    let mut settings = quick();
    settings.listen = None;
    settings.discovery = true;
    let refused = wormhole_node::Node::start(settings).await.unwrap_err();
    assert_eq!(refused, StartError::NotListening);

    let node = start(quick()).await;
    assert_eq!(node.add_peer(node.enode()).await, Err(AddPeerError::Ourselves));
    let nowhere = Enode { endpoint: None, ..start(quick()).await.enode() };
    assert_eq!(node.add_peer(nowhere).await, Err(AddPeerError::NoAddress));
    let mut taken = quick();
    taken.listen = Some(node.enode().endpoint.unwrap().tcp_address());
    let taken = wormhole_node::Node::start(taken).await.unwrap_err();
    assert_eq!(taken, StartError::Listen(std::io::ErrorKind::AddrInUse));
    node.clone().stop().await;
    assert_eq!(node.status().await, Err(Stopped));
}
