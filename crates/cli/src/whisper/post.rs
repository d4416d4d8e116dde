//! `whisper post`: one message, sealed and sent by the node.

use std::io::{self, Read as _};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;
use tokio::time::sleep;
use wormhole_node::PostState;
use wormhole_node::devp2p::key::{PrivateKey, PublicKey};
use wormhole_node::remote::{MessageKey, PostRequest, RemoteError, RemoteKeyId};
use wormhole_node::shh::message::Padding;
use wormhole_node::shh::{SymmetricKey, Topic, Work};

use super::node_connection::{NodeAddress, NodeConnection};
use super::{keys, public_key, secret, topic, work};
use crate::args::{MessageArgs, PostArgs};
use crate::console::Console;
use crate::failure::Failure;

/// Posts what was typed, and prints the name of its envelope.
///
/// # Errors
/// It was not posted.
pub(super) async fn run(args: PostArgs, console: &mut Console) -> Result<()> {
    let topic = topic(&args.topic)?;
    let to = args.to.as_deref().map(public_key).transpose()?;
    let message = MessageOptions::new(&args.message)?;
    let payload = payload(args.text, console).await?;
    let to = match to {
        Some(key) => To::One(key),
        None => To::All(secret::shared(args.password, console).await?),
    };
    let padding = if args.uniform { Padding::Uniform } else { Padding::Block };
    let post = Post { topic, to, payload, padding, message };
    let address = NodeAddress::new(&args.rpc)?;
    let connection = console.unless_interrupted(NodeConnection::connect(&address)).await?;
    let connection = connection.map_err(|error| address.explain(&error))?;
    let ttl = post.message.ttl;
    let posted = console.notice_if_slow(COMPUTING, post.post(&connection)).await;
    connection.leave().await;
    let hash = posted?.map_err(|error| address.explain(&error))?;
    console.report(&json!({ "event": "posted", "hash": hash, "topic": topic.to_string() }))?;
    console.print(&format!("{hash}\n"))?;
    if args.wait {
        return wait_until_sent(&hash, &connection, &address, console).await;
    }
    if console.unless_interrupted(connection.is_alone()).await? {
        console.screen.show(&format!(
            "The node has no peers yet: other nodes get the message when it has one, unless it \
             expires in {ttl} s before that. --wait waits for it."
        ));
    }
    Ok(())
}

/// Waits until a peer of the node has received a message.
///
/// # Errors
/// The message expired before that, or the node cannot tell.
async fn wait_until_sent(
    hash: &str,
    connection: &NodeConnection,
    address: &NodeAddress,
    console: &mut Console,
) -> Result<()> {
    if console.unless_interrupted(connection.is_alone()).await? {
        console
            .screen
            .show("The node has no peers yet: waiting until it has one. Ctrl-C ends that.");
    }
    loop {
        let state = console.unless_interrupted(connection.remote().post_state(hash)).await?;
        match state.map_err(|error| address.explain(&error))? {
            Some(PostState::Waiting) => console.unless_interrupted(sleep(LOOK)).await?,
            Some(PostState::Sent) => {
                return console.report(&json!({ "event": "sent", "hash": hash }));
            }
            Some(PostState::Expired) => {
                return Err(Failure::new("the message expired before any other node received it")
                    .hint("`wormhole whisper peers` lists the peers of the node; --ttl sets how long a message lives")
                    .into());
            }
            None => {
                return Err(Failure::new("the node does not know the message any more")
                    .hint("if the node was restarted, post the message again")
                    .into());
            }
        }
    }
}

/// Who shall be able to read a message.
#[derive(Debug)]
enum To {
    /// All who have the password.
    All(SymmetricKey),
    /// The holder of this key.
    One(PublicKey),
}

/// A message, and how it is to be made.
#[derive(Debug)]
struct Post {
    topic: Topic,
    to: To,
    payload: Vec<u8>,
    padding: Padding,
    message: MessageOptions,
}

impl Post {
    async fn post(self, connection: &NodeConnection) -> Result<String, RemoteError> {
        let to = match &self.to {
            To::All(key) => connection.add_symmetric_key(key).await?,
            To::One(key) => MessageKey::Public(*key),
        };
        let signer = match &self.message.sign {
            Some(key) => Some(connection.add_private_key(key).await?),
            None => None,
        };
        let mut posting = self.message.blank(to, signer, self.topic);
        (posting.payload, posting.padding) = (self.payload, self.padding);
        connection.post(&mut posting, self.message.work).await
    }
}

/// How a message of our own is made.
#[derive(Debug)]
pub(super) struct MessageOptions {
    /// The key that signs it, if any.
    pub(super) sign: Option<PrivateKey>,
    ttl: u32,
    /// The work to be done for it, if not as much as others ask for.
    pub(super) work: Option<Work>,
}

impl MessageOptions {
    /// Understands what was typed.
    ///
    /// # Errors
    /// Something is not as it should be, or there is no such key.
    pub(super) fn new(args: &MessageArgs) -> Result<Self> {
        let sign = args.sign.as_deref().map(keys::find).transpose()?;
        let work = args.pow.map(|amount| work(amount, "--pow")).transpose()?;
        Ok(Self { sign, ttl: args.ttl, work })
    }

    /// A message without content. `signer` is the node's id of the signing key.
    pub(super) fn blank(
        &self,
        to: MessageKey,
        signer: Option<RemoteKeyId>,
        topic: Topic,
    ) -> PostRequest {
        let mut posting = PostRequest::new(to, topic, Vec::new());
        posting.signer = signer;
        posting.ttl = self.ttl;
        posting.work_time = WORK_TIME;
        posting
    }
}

/// What is to be said: as typed, or from standard input without the end of its last line.
async fn payload(text: String, console: &mut Console) -> Result<Vec<u8>> {
    if text != "-" {
        return Ok(text.into_bytes());
    }
    let read = tokio::task::spawn_blocking(|| {
        let mut bytes = Vec::new();
        let read = io::stdin().lock().take(MAX_PAYLOAD + 1).read_to_end(&mut bytes);
        read.map(|_| bytes)
    });
    let bytes = console.unless_interrupted(read).await?.context("cannot read standard input")?;
    let mut bytes = bytes.context("cannot read standard input")?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_PAYLOAD) {
        return Err(Failure::new("the message is too large")
            .hint("`wormhole send` is for files; Whisper is for words")
            .into());
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    Ok(bytes)
}

/// Time for the proof of work. The usual amount takes milliseconds.
const WORK_TIME: Duration = Duration::from_secs(60);

/// The notice while the node computes.
pub(super) const COMPUTING: &str =
    "The node is computing the proof of work; this takes at most 60 s..";

/// Pause between two questions whether a message was sent.
const LOOK: Duration = Duration::from_millis(500);

/// Bytes of a message: what nodes take unless told otherwise.
const MAX_PAYLOAD: u64 = 1 << 20;
