//! Nodes against npm `@ethereumjs/devp2p` 10, whose `RLPx` is an independent implementation: it calls us, and we call
//! it. `scripts/peers` installs it; without `WORMHOLE_PEERS` these tests pass without having looked,
//! except under `CI`.

use std::path::Path;
use std::process::Command;

use data_encoding::HEXLOWER;
use serde_json::Value;
use wormhole_node::Node;
use wormhole_node::devp2p::enode::Enode;
use wormhole_node::devp2p::key::NodeId;
use wormhole_node::shh::packet::{BLOOM, DIRECT, MESSAGES, STATUS, encode_messages};
use wormhole_node::shh::{SymmetricKey, Topic};

use super::world::Running;
use super::{Folder, connected, hear, npm_packages, our_node, sealed};

/// A peer in JavaScript.
struct Peer(Running);

impl Peer {
    /// Starts one, if npm's packages are installed.
    fn start(arguments: &[&str]) -> Option<Self> {
        let modules = npm_packages()?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/whisper/shh-peer.mjs");
        let mut command = Command::new("node");
        command.arg(script).arg(modules).args(arguments);
        Some(Self(Running::start(command)))
    }

    /// Calls a node.
    fn dial(enode: &Enode) -> Option<Self> {
        let (address, id) = (enode.endpoint.unwrap().tcp_address(), enode.id.to_string());
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        Self::start(&["dial", &host, &port, &id])
    }

    /// Waits for a call; tells where.
    fn listen() -> Option<(Self, Enode)> {
        let peer = Self::start(&["listen"])?;
        let event = peer.event(r#"{"event":"listening""#);
        let (id, port) = (event["id"].as_str().unwrap(), event["port"].as_u64().unwrap());
        let enode = Enode::parse(&format!("enode://{id}@127.0.0.1:{port}?discport=0")).unwrap();
        Some((peer, enode))
    }

    /// The first event that begins like this.
    fn event(&self, start: &str) -> Value {
        let rest = self.0.wait_for(start);
        serde_json::from_str(&format!("{start}{rest}")).unwrap()
    }

    /// Waits until both sides have said what they are; tells who the other side is.
    fn opened(&self) -> Value {
        let opened = self.event(r#"{"event":"opened""#);
        let status = self.received(STATUS);
        // Version 6, the work that is asked for, no Bloom filter, not light.
        assert_eq!(HEXLOWER.encode(&status), "cc06883fc999999999999a8080");
        opened
    }

    /// The body of the first packet with this code.
    fn received(&self, code: u16) -> Vec<u8> {
        let start = format!(r#"{{"event":"message","code":{code},"#);
        let event = self.event(&start);
        HEXLOWER.decode(event["body"].as_str().unwrap().as_bytes()).unwrap()
    }

    fn send(&mut self, code: u16, body: &[u8]) {
        self.0.type_in(format!("{code} {}\n", HEXLOWER.encode(body)));
    }
}

/// Waits on a thread of its own, so that nodes in this one go on.
async fn wait<T: Send + 'static>(peer: Peer, what: fn(&Peer) -> T) -> (Peer, T) {
    let waiting = tokio::task::spawn_blocking(move || {
        let heard = what(&peer);
        (peer, heard)
    });
    waiting.await.unwrap()
}

/// Lets an envelope go each way between the peer and a node, through the node in between.
async fn exchange(mut peer: Peer, node: &Node) {
    let (key, topic) = (SymmetricKey::from_password("hush"), Topic::of_word("lobby"));
    let ours = sealed("from a node", topic, &key).await;
    node.post(ours.clone()).await.unwrap();
    let (back, body) = wait(peer, |peer| peer.received(MESSAGES)).await;
    peer = back;
    assert_eq!(body, encode_messages([ours.encoded()]));

    let mut heard = node.envelopes();
    let theirs = sealed("from npm", topic, &key).await;
    peer.send(MESSAGES, &encode_messages([theirs.encoded()]));
    assert_eq!(hear(&mut heard).await, (theirs, false));
}

#[tokio::test]
async fn it_calls_us_and_envelopes_go_both_ways() {
    let folder = Folder::new();
    let (_between, enode) = folder.node(&[]);
    let Some(peer) = Peer::dial(&enode) else { return };
    let opened = peer.opened();
    assert!(opened["client"].as_str().unwrap().starts_with("Wormhole/v"));
    assert_eq!(opened["id"], enode.id.to_string());
    let node = our_node(|settings| settings.static_peers = vec![enode]).await;
    connected(&node).await;
    exchange(peer, &node).await;
}

#[tokio::test]
async fn we_call_it_and_envelopes_go_both_ways() {
    let folder = Folder::new();
    let Some((peer, enode)) = Peer::listen() else { return };
    let (_between, between) = folder.node(&["--peer", &enode.to_string()]);
    assert_eq!(peer.opened()["id"], between.id.to_string());
    let node = our_node(|settings| settings.static_peers = vec![between]).await;
    connected(&node).await;
    exchange(peer, &node).await;
}

#[tokio::test]
async fn its_direct_messages_are_accepted_once_we_trust_it() {
    let Some((mut peer, enode)) = Peer::listen() else { return };
    let node = our_node(|settings| settings.static_peers = vec![enode]).await;
    connected(&node).await;
    let mut heard = node.envelopes();
    let key = SymmetricKey::from_password("hush");
    let [ignored, told] = [
        sealed("not yet", Topic::default(), &key).await,
        sealed("for you alone", Topic::default(), &key).await,
    ];
    peer.send(DIRECT, ignored.encoded());
    // Later messages arrive after it.
    peer.send(MESSAGES, &encode_messages([told.encoded()]));
    assert_eq!(hear(&mut heard).await, (told.clone(), false));
    node.trust(NodeId(enode.id.0)).await.unwrap();
    peer.send(DIRECT, told.encoded());
    assert_eq!(hear(&mut heard).await, (told, true));
}

#[test]
fn a_peer_that_breaks_the_protocol_gets_the_reason_and_is_disconnected() {
    let folder = Folder::new();
    let (node, enode) = folder.node(&[]);
    let Some(mut peer) = Peer::dial(&enode) else { return };
    peer.opened();
    // A Bloom filter of 63 bytes.
    peer.send(BLOOM, &[[0xb8, 63].as_slice(), &[0xff; 63]].concat());
    let closed = peer.event(r#"{"event":"closed""#);
    assert_eq!((&closed["reason"], &closed["ours"]), (&Value::from(0x10), &Value::from(false)));
    node.wait_for(r#""cut":1"#);
}
