//! Real nodes on this machine, with real sockets and files: what they pass to one another, what they
//! keep over a restart, and what hostile peers cannot do to them.

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic")]

mod archive;
mod hostile;
mod peers;
mod restart;
mod rpc;
mod talk;

use std::time::{Duration, SystemTime};

use rand_core::OsRng;
use tokio::time::timeout;
use wormhole_node::{
    EnvelopeEvent, Envelopes, Node, Settings,
    devp2p::key::PrivateKey,
    mine,
    shh::{
        Draft, Envelope, Message, SymmetricKey, Topic, Work,
        message::{Padding, Sealing, compose},
        node::Privacy,
        seal::seal_for,
    },
};

const TOPIC: Topic = Topic([1, 2, 3, 4]);

/// Settings without anything that takes time on purpose.
fn quick() -> Settings {
    let mut settings = Settings::loopback();
    settings.privacy = Privacy::OFF;
    settings
}

async fn start(settings: Settings) -> Node {
    Node::start(settings).await.unwrap()
}

/// A node that calls the other one.
async fn start_beside(other: &Node) -> Node {
    let mut settings = quick();
    settings.static_peers = vec![other.enode()];
    let node = start(settings).await;
    connected(&node, 1).await;
    connected(other, 1).await;
    node
}

/// Waits until something about a node is so, looking at it again and again.
async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            match look().await {
                Some(found) => return found,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    timeout(PATIENCE, found).await.expect("in time")
}

/// Waits until a node has at least this number of peers.
async fn connected(node: &Node, count: usize) {
    until(async || (node.status().await.unwrap().peers >= count).then_some(())).await;
}

/// The next envelope.
async fn hear(heard: &mut Envelopes) -> (Envelope, bool) {
    match timeout(PATIENCE, heard.next()).await.expect("in time") {
        Some(EnvelopeEvent::Envelope { envelope, direct }) => (envelope, direct),
        other => panic!("{other:?}"),
    }
}

fn plaintext(text: &str, sealing: Sealing, signer: Option<&PrivateKey>) -> Vec<u8> {
    let composed = compose(text.as_bytes(), &Padding::Block, sealing, signer, &mut OsRng).unwrap();
    composed.to_vec()
}

/// Works for an envelope.
async fn envelope(data: Vec<u8>) -> Envelope {
    envelope_about(TOPIC, data).await
}

async fn envelope_about(topic: Topic, data: Vec<u8>) -> Envelope {
    let draft = Draft::new(SystemTime::now().into(), 50, topic, data);
    mine(draft, Some(Work::DEFAULT_MINIMUM), PATIENCE).await.unwrap()
}

/// A message for all who have the key.
async fn sealed(text: &str, key: &SymmetricKey, signer: Option<&PrivateKey>) -> Envelope {
    envelope(key.seal(&plaintext(text, Sealing::Symmetric, signer), &mut OsRng)).await
}

/// A message for one reader.
async fn sealed_for(text: &str, reader: &PrivateKey) -> Envelope {
    let plaintext = plaintext(text, Sealing::Asymmetric, None);
    envelope(seal_for(&reader.public_key(), &plaintext, &mut OsRng)).await
}

fn opened(envelope: &Envelope, key: &SymmetricKey) -> Message {
    Message::parse(&key.open(envelope.data()).unwrap()).unwrap()
}

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);
