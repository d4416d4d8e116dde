//! Receives messages from a node over JSON-RPC, also across restarts of the node: reconnects, sends the
//! keys again, and asks for the messages that it received meanwhile.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::sleep;
use wormhole_node::devp2p::key::PrivateKey;
use wormhole_node::remote::{
    MessageFilter, MessageKey, MessageStream, RemoteError, RemoteKeyId, RemoteMessage,
};
use wormhole_node::shh::filter::FilterKey;

use super::chat::now;
use super::node_connection::{NodeAddress, NodeConnection};
use crate::console::Console;

/// The messages to receive, and the keys that the node needs for them.
#[derive(Debug)]
pub(super) struct Receiver {
    address: NodeAddress,
    /// The key that opens the messages.
    key: FilterKey,
    /// The key that signs our own messages, if any.
    sign: Option<PrivateKey>,
    wanted: MessageFilter,
    /// Start time, in seconds since 1970.
    begun: u32,
    /// The latest connection, which may have received keys already.
    connection: Mutex<Option<Arc<NodeConnection>>>,
    access: watch::Sender<Option<Access>>,
}

/// A connection to a node that has our keys.
#[derive(Clone, Debug)]
pub(super) struct Access {
    pub(super) connection: Arc<NodeConnection>,
    /// The key that opens the messages, and seals messages for everybody who has it.
    pub(super) key: MessageKey,
    /// The key that signs our own messages.
    pub(super) signer: Option<RemoteKeyId>,
}

impl Receiver {
    /// Prepares to receive the messages that `key` opens from the node at `address`.
    pub(super) fn new(
        address: NodeAddress,
        key: FilterKey,
        sign: Option<PrivateKey>,
        wanted: MessageFilter,
    ) -> Self {
        let (connection, access) = (Mutex::default(), watch::Sender::new(None));
        Self { address, key, sign, wanted, begun: now(), connection, access }
    }

    /// Connects for the first time.
    ///
    /// # Errors
    /// The node cannot be reached, or refuses.
    pub(super) async fn begin(&self) -> Result<Messages<'_>> {
        let watch = self.open().await.map_err(|error| self.address.explain(&error))?;
        let backoff = Backoff::new();
        Ok(Messages {
            receiver: self,
            watch,
            held: VecDeque::new(),
            seen: Seen::default(),
            backoff,
        })
    }

    /// The present connection, and later ones after a restart of the node. `None` while the node is lost.
    pub(super) fn access(&self) -> watch::Receiver<Option<Access>> {
        self.access.subscribe()
    }

    /// The address of the node.
    pub(super) const fn address(&self) -> &NodeAddress {
        &self.address
    }

    async fn open(&self) -> Result<MessageStream, RemoteError> {
        let connection = Arc::new(NodeConnection::connect(&self.address).await?);
        // Stored before it gets a key, so that `leave` can take the keys back at any time.
        let earlier = {
            let mut slot = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
            slot.replace(Arc::clone(&connection))
        };
        if let Some(earlier) = earlier {
            connection.delete_keys_of(&earlier).await;
        }
        let key = match &self.key {
            FilterKey::Private(key) => MessageKey::Private(connection.add_private_key(key).await?),
            FilterKey::Symmetric(key) => connection.add_symmetric_key(key).await?,
        };
        let signer = match &self.sign {
            Some(key) => Some(connection.add_private_key(key).await?),
            None => None,
        };
        let watch = connection.remote().watch(&key, &self.wanted).await?;
        self.access.send_replace(Some(Access { connection, key, signer }));
        Ok(watch)
    }

    /// The messages that the node holds and that were created since the start.
    async fn held(&self) -> Result<VecDeque<RemoteMessage>, RemoteError> {
        let Some(Access { connection, key, .. }) = self.access.borrow().clone() else {
            return Ok(VecDeque::new());
        };
        let held = connection.remote().stored_messages(&key, &self.wanted).await?;
        let is_ours = |message: &RemoteMessage| message.sent.saturating_add(ROUNDED) >= self.begun;
        Ok(held.into_iter().filter(is_ours).collect())
    }

    /// Asks the node to forget our keys.
    pub(super) async fn leave(self) {
        let connection = self.connection.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = connection {
            connection.leave().await;
        }
    }
}

/// Incoming messages, across any number of restarts of the node.
#[derive(Debug)]
pub(super) struct Messages<'l> {
    receiver: &'l Receiver,
    watch: MessageStream,
    /// Messages that arrived while we were disconnected.
    held: VecDeque<RemoteMessage>,
    seen: Seen,
    backoff: Backoff,
}

/// An event while receiving.
#[derive(Debug)]
pub(super) enum ReceiverEvent {
    /// A new message.
    Message(RemoteMessage),
    /// The connection to the node is lost, in words.
    Lost(String),
    /// The node is connected again, and no message that it still holds is missing. In words.
    Back(String),
}

impl ReceiverEvent {
    /// Prints that the node is gone, or back.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(super) fn report(&self, console: &Console) -> Result<()> {
        let (event, text) = match self {
            Self::Back(text) => ("node-back", text),
            Self::Lost(text) => ("node-lost", text),
            Self::Message(_) => return Ok(()),
        };
        console.screen.show(text);
        console.report(&json!({ "event": event, "message": text }))
    }
}

impl Messages<'_> {
    /// Waits for the next event. Cancelling may lose a message.
    ///
    /// # Errors
    /// The node answers, but refuses.
    pub(super) async fn next(&mut self) -> Result<ReceiverEvent> {
        loop {
            if self.backoff.is_lost {
                if self.reconnect().await? {
                    let text = format!("The node at {} is back.", self.receiver.address);
                    return Ok(ReceiverEvent::Back(text));
                }
                continue;
            }
            let next = match self.held.pop_front() {
                Some(held) => Ok(held),
                None => self.watch.next().await,
            };
            match next {
                Ok(message) if self.seen.is_new(&message) => {
                    return Ok(ReceiverEvent::Message(message));
                }
                Ok(_) => {}
                Err(error) if error.is_connection_lost() => {
                    self.backoff.lose();
                    self.receiver.access.send_replace(None);
                    let address = &self.receiver.address;
                    return Ok(ReceiverEvent::Lost(format!(
                        "The node at {address} is gone ({error}). Trying again until it is back; \
                         Ctrl-C ends."
                    )));
                }
                Err(error) => return Err(self.receiver.address.explain(&error).into()),
            }
        }
    }

    /// Tries to reconnect once, after a pause. Returns whether it succeeded.
    async fn reconnect(&mut self) -> Result<bool> {
        sleep(self.backoff.pause).await;
        let opened = async {
            let watch = self.receiver.open().await?;
            // After the watch has begun, so that no message is missed between the two.
            Ok::<_, RemoteError>((watch, self.receiver.held().await?))
        };
        match opened.await {
            Ok((watch, held)) => {
                (self.watch, self.held) = (watch, held);
                self.backoff.find();
                Ok(true)
            }
            Err(error) if error.is_connection_lost() => {
                self.backoff.fail();
                Ok(false)
            }
            Err(error) => Err(self.receiver.address.explain(&error).into()),
        }
    }

    /// Ends it, so that the node stops keeping messages for us.
    pub(super) async fn stop(self) {
        let _gone_anyway = self.watch.stop().await;
    }
}

/// The pause before the next attempt. Only a connection that lasted for a while resets it.
#[derive(Debug)]
struct Backoff {
    is_lost: bool,
    pause: Duration,
    found: Instant,
}

impl Backoff {
    fn new() -> Self {
        Self { is_lost: false, pause: FIRST_PAUSE, found: Instant::now() }
    }

    fn lose(&mut self) {
        self.is_lost = true;
        if self.found.elapsed() >= LASTING {
            self.pause = FIRST_PAUSE;
        }
    }

    fn find(&mut self) {
        (self.is_lost, self.found) = (false, Instant::now());
        self.fail();
    }

    fn fail(&mut self) {
        self.pause = (self.pause * 2).min(LAST_PAUSE);
    }
}

/// Hashes of messages that were shown, with their expiry.
#[derive(Debug, Default)]
struct Seen(HashMap<String, u32>);

impl Seen {
    /// Remembers a message. Returns whether it is new.
    fn is_new(&mut self, message: &RemoteMessage) -> bool {
        if self.0.len() >= MAX_SEEN {
            let now = now();
            self.0.retain(|_, expiry| *expiry >= now);
            if self.0.len() >= MAX_SEEN {
                self.0.clear();
            }
        }
        let expiry = message.sent.saturating_add(message.ttl).saturating_add(ROUNDED);
        self.0.insert(message.hash.clone(), expiry).is_none()
    }
}

/// First and longest pause before an attempt to reconnect.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// A connection that lasted this long resets the pause.
const LASTING: Duration = Duration::from_secs(30);

/// Seconds by which a message may seem older than it is: senders round down, and clocks differ.
const ROUNDED: u32 = 20;

/// Maximum number of hashes that are remembered.
const MAX_SEEN: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_keeps_failing_is_tried_less_and_less_often() {
        let mut backoff = Backoff::new();
        let mut pauses = Vec::new();
        for _ in 0..9 {
            backoff.lose();
            pauses.push(backoff.pause.as_millis());
            backoff.find();
        }
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        backoff.found = Instant::now().checked_sub(LASTING).unwrap();
        backoff.lose();
        assert_eq!(backoff.pause, FIRST_PAUSE);
    }
}
