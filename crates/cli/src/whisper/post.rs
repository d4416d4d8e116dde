//! `whisper post`: posts one message through a node, which encrypts it and computes its proof of work.

use std::io::{self, IsTerminal as _, Read as _};
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

/// Posts a message and prints its hash.
///
/// # Errors
/// The message was not posted.
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
    if io::stdout().is_terminal() {
        console.screen.show("Posted. Hash of the message:");
    }
    console.print(&format!("{hash}\n"))?;
    if args.wait {
        return wait_until_sent(&hash, &connection, &address, console).await;
    }
    if console.unless_interrupted(connection.is_alone()).await? {
        console.screen.show(&format!(
            "The node has no peers. It sends the message when a peer connects; the message expires in {ttl} s. Use \
             --wait to wait until another node has received it."
        ));
    }
    Ok(())
}

/// Waits until a peer of the node has received a message.
///
/// # Errors
/// The message expired before that, or the node does not know.
async fn wait_until_sent(
    hash: &str,
    connection: &NodeConnection,
    address: &NodeAddress,
    console: &mut Console,
) -> Result<()> {
    if console.unless_interrupted(connection.is_alone()).await? {
        console
            .screen
            .show("The node has no peers: waiting for one. Ctrl-C stops waiting; the message stays at the node.");
    }
    loop {
        let state = console.unless_interrupted(connection.remote().post_state(hash)).await?;
        match state.map_err(|error| address.explain(&error))? {
            Some(PostState::Waiting) => console.unless_interrupted(sleep(CHECK)).await?,
            Some(PostState::Sent) => {
                return console.report(&json!({ "event": "sent", "hash": hash }));
            }
            Some(PostState::Expired) => {
                return Err(Failure::new("the message expired before any other node received it")
                    .hint("`wormhole whisper peers` lists the peers of the node; --ttl sets the lifetime of a message")
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

/// The people who can decrypt a message.
#[derive(Debug)]
enum To {
    /// Everyone with the password.
    All(SymmetricKey),
    /// The owner of this public key.
    One(PublicKey),
}

/// A message, and how to make it.
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

/// The options of messages that we post.
#[derive(Debug)]
pub(super) struct MessageOptions {
    /// The key that signs messages, if any.
    pub(super) sign: Option<PrivateKey>,
    ttl: u32,
    /// The proof of work, if the user has set it. The default is what the nodes require.
    pub(super) work: Option<Work>,
}

impl MessageOptions {
    /// Checks the options.
    ///
    /// # Errors
    /// A value is invalid, or there is no such key.
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

/// The text of the message: the argument, or standard input without the end of its last line.
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
            .hint("Whisper is for short texts: use `wormhole send` for files")
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

/// Pause between two checks whether a message was sent.
const CHECK: Duration = Duration::from_millis(500);

/// Maximum length of a message in bytes, which nodes accept by default.
const MAX_PAYLOAD: u64 = 1 << 20;
