//! Notifications between servers (nodes) that share a PostgreSQL database: what has changed, so that the other nodes read
//! it from the database.
//!
//! A notification is a short text. It is not stored: if one is lost, nothing else is, because a node also checks
//! everything after each reconnection, and once per [`POLL`] interval.

mod nats;
mod postgres;

use std::fmt;
use std::time::Duration;

use rand_core::{OsRng, RngCore};
use tokio::sync::mpsc;

use super::Database;
use super::postgres::{Connector, DatabaseUrl};
use crate::ServerError;
use nats::{NatsListener, NatsUrl};

/// The value of the key `wake`: how nodes that share a database notify each other.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum NotificationMethod {
    /// Through the database itself, with `LISTEN` and `NOTIFY`.
    Postgres,
    /// Through this NATS server.
    Nats(NatsUrl),
}

/// [`NotificationMethod::check`] finds out whether an address is valid: an error of the command line parser would show its
/// password.
impl From<String> for NotificationMethod {
    fn from(text: String) -> Self {
        if text == "postgres" { Self::Postgres } else { Self::Nats(NatsUrl::from(text)) }
    }
}

impl NotificationMethod {
    /// Checks the value without connecting.
    ///
    /// # Errors
    /// The problem, without the text itself.
    pub(crate) fn check(&self, database: &Database) -> Result<(), &'static str> {
        let Self::Nats(url) = self else { return Ok(()) };
        url.parse()?;
        if database.file().is_some() {
            return Err(
                "NATS connects servers that share a PostgreSQL database; with an SQLite file, \
                        leave this key out",
            );
        }
        Ok(())
    }

    /// Creates the publisher and the listener of one node. The listener connects when it runs. Services with different
    /// channels do not get each other's notifications.
    pub(crate) fn prepare(
        &self,
        database: &DatabaseUrl,
        node: NodeId,
        channel: &'static str,
    ) -> Result<(Publisher, Listener), ServerError> {
        let invalid = |reason: &str| ServerError::System(reason.into());
        let (sender, entries) = mpsc::channel(MAX_UNSENT);
        let subscription = Subscription { node, channel, entries };
        let listener = match self {
            Self::Postgres => {
                let connector = database.connector().map_err(ServerError::System)?;
                Listener::Postgres(Box::new(connector), subscription)
            }
            Self::Nats(url) => {
                let server = url.parse().map_err(invalid)?;
                Listener::Nats(Box::new(NatsListener { server, subscription }))
            }
        };
        Ok((Publisher(sender), listener))
    }
}

/// Notifies the other nodes.
#[derive(Clone, Debug)]
pub(crate) struct Publisher(mpsc::Sender<String>);

impl Publisher {
    /// Sends these entries, which contain no space and at most [`MAX_ENTRY`] bytes. If too many wait to be sent, the rest is
    /// dropped: other nodes also check without notifications.
    pub(crate) fn publish(&self, entries: impl Iterator<Item = String>) {
        for entry in entries {
            let _ = self.0.try_send(entry);
        }
    }
}

/// The receiver of a node's notifications.
pub(crate) trait Receiver: Clone + Send + Sync + 'static {
    /// Another node has sent these entries. Anybody who can publish may have sent anything.
    fn receive(&self, entries: &[&str]);

    /// Notifications may have been lost: everything may have changed.
    fn check_all(&self);
}

/// Sends the notifications of this node, and receives those of other nodes.
#[derive(Debug)]
pub(crate) enum Listener {
    Nats(Box<NatsListener>),
    Postgres(Box<Connector>, Subscription),
}

impl Listener {
    /// Forwards notifications in both directions. Never ends.
    pub(crate) async fn run(self, receiver: impl Receiver) {
        match self {
            Self::Nats(listener) => listener.run(receiver).await,
            Self::Postgres(connector, subscription) => {
                postgres::listen(&connector, subscription, receiver).await;
            }
        }
    }
}

/// The notifications of one service of a node.
#[derive(Debug)]
pub(crate) struct Subscription {
    node: NodeId,
    /// The channel in PostgreSQL, and the subject in NATS.
    channel: &'static str,
    /// To be sent.
    entries: mpsc::Receiver<String>,
}

/// Identifies a node among those that share a database. Random, and new at each start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct NodeId(u64);

impl NodeId {
    /// Creates a random id.
    pub(crate) fn random() -> Self {
        Self(OsRng.next_u64())
    }

    /// The number as a signed integer, for databases.
    pub(crate) const fn number(self) -> i64 {
        self.0.cast_signed()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Subscription {
    /// Waits for entries to be sent, and returns them as payloads; none once there is no publisher.
    async fn next(&mut self) -> Vec<String> {
        let mut entries = Vec::new();
        self.entries.recv_many(&mut entries, MAX_SENT).await;
        payloads(self.node, entries.into_iter())
    }
}

/// The payloads of notifications with these entries.
pub(crate) fn payloads(node: NodeId, entries: impl Iterator<Item = String>) -> Vec<String> {
    let entries: Vec<String> = entries.collect();
    debug_assert!(entries.iter().all(|entry| entry.len() <= MAX_ENTRY && !entry.contains(' ')));
    entries.chunks(MAX_ENTRIES).map(|chunk| format!("{node} {}", chunk.join(" "))).collect()
}

/// The entries of a notification; none if it is from this node, or too long.
fn parse(node: NodeId, payload: &str) -> Vec<&str> {
    if payload.len() >= MAX_PAYLOAD {
        return Vec::new();
    }
    let mut words = payload.split(' ');
    if words.next().is_none_or(|from| from == node.to_string()) {
        return Vec::new();
    }
    words.take(MAX_ENTRIES).collect()
}

/// Interval at which a node checks everything even without notifications.
pub(crate) const POLL: Duration = Duration::from_secs(10);

/// Pause before a node connects again. Until then, it checks everything in the same interval.
const RECONNECT: Duration = Duration::from_secs(1);

/// Maximum number of entries that wait to be sent, about 4 MiB.
const MAX_UNSENT: usize = 1 << 16;

/// Maximum number of entries that are sent at once.
const MAX_SENT: usize = 16 * MAX_ENTRIES;

/// PostgreSQL requires the payload of a notification to be shorter than this, in bytes.
const MAX_PAYLOAD: usize = 8000;

/// Maximum number of entries in one payload, which the longest entries just fill.
const MAX_ENTRIES: usize = 228;

/// Longest entry, in bytes.
const MAX_ENTRY: usize = 34;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_nodes_get_all_entries_and_the_sender_none() {
        let (one, other) = (NodeId(1), NodeId(u64::MAX));
        let entries: Vec<String> = (0..1000_u64).map(|n| format!("-{:x}", u64::MAX - n)).collect();
        let payloads = payloads(one, entries.iter().cloned());
        assert!(payloads.len() == 5 && payloads.iter().all(|payload| payload.len() < MAX_PAYLOAD));
        let parsed: Vec<&str> = payloads.iter().flat_map(|text| parse(other, text)).collect();
        assert_eq!(parsed, entries);
        assert!(payloads.iter().all(|payload| parse(one, payload).is_empty()));
    }

    #[test]
    fn the_longest_entries_are_not_too_long_for_a_payload() {
        let entries = std::iter::repeat_n("x".repeat(MAX_ENTRY), MAX_ENTRIES);
        let payloads = payloads(NodeId(1), entries);
        assert_eq!(parse(NodeId(2), &payloads[0]).len(), MAX_ENTRIES);
        assert!(payloads[0].len() + MAX_ENTRY + 1 >= MAX_PAYLOAD, "there is room for another");
    }

    #[test]
    fn long_payloads_are_ignored() {
        for text in ["", "x"] {
            assert!(parse(NodeId(1), text).is_empty(), "{text}");
        }
        let entries = " x".repeat(1000);
        assert_eq!(parse(NodeId(1), &entries).len(), MAX_ENTRIES);
        assert!(parse(NodeId(1), &" 1".repeat(4000)).is_empty());
    }
}
