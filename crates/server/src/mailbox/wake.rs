//! Notifies other nodes that a mailbox has new messages.
//!
//! A notification contains no messages, only short hashes of mailbox names: a node that has listeners for one of them
//! reads the new messages from the shared database. If a notification is lost, no message is lost: a node also checks
//! all its open mailboxes after each reconnection, and once per [`POLL`] interval.

mod nats;
mod postgres;

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use rand_core::{OsRng, RngCore};
use sha1::{Digest, Sha1};

use super::database::Database;
use super::hub::Hub;
use super::store::{Connector, DatabaseUrl, MailboxName};
use crate::ServerError;
pub(super) use nats::NatsPublisher;
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
    /// What is wrong with it, without its text.
    pub(super) fn check(&self, database: &Database) -> Result<(), &'static str> {
        let Self::Nats(url) = self else { return Ok(()) };
        url.parse()?;
        if database.file().is_some() {
            return Err(
                "NATS connects mailbox servers that share a PostgreSQL database; with an SQLite file, \
                        leave this key out",
            );
        }
        Ok(())
    }

    /// Creates the publisher and the listener. Without a publisher, the store notifies other nodes with its commits.
    pub(super) fn prepare(
        &self,
        database: &DatabaseUrl,
        node: NodeId,
    ) -> Result<(Option<NatsPublisher>, NotificationListener), ServerError> {
        let invalid = |reason: &str| ServerError::System(reason.into());
        match self {
            Self::Postgres => {
                let connector = database.connector().map_err(ServerError::System)?;
                Ok((None, NotificationListener::Postgres { connector: Box::new(connector), node }))
            }
            Self::Nats(url) => {
                let server = url.parse().map_err(invalid)?;
                let (publisher, listener) = nats::connect_later(server, node);
                Ok((Some(publisher), NotificationListener::Nats(listener)))
            }
        }
    }
}

/// Receives the notifications of other nodes.
#[derive(Debug)]
pub(super) enum NotificationListener {
    /// There are no other nodes.
    SingleNode,
    Nats(NatsListener),
    Postgres {
        connector: Box<Connector>,
        node: NodeId,
    },
}

impl NotificationListener {
    /// Forwards notifications to the store's thread. Never ends.
    pub(super) async fn run(self, hub: Hub) {
        match self {
            Self::SingleNode => std::future::pending().await,
            Self::Nats(listener) => listener.run(hub).await,
            Self::Postgres { connector, node } => postgres::listen(&connector, node, hub).await,
        }
    }
}

/// Identifies a node among those that share a database. Random, and new at each start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct NodeId(u64);

impl NodeId {
    /// Creates a random id.
    pub(super) fn random() -> Self {
        Self(OsRng.next_u64())
    }

    /// The number as a signed integer, for databases.
    pub(super) const fn number(self) -> i64 {
        self.0.cast_signed()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A short hash of a mailbox name. Different names may have the same hash.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct MailboxHash(u64);

impl MailboxHash {
    /// The hash of a mailbox name.
    pub(super) fn of(name: &MailboxName) -> Self {
        let mut hash = Sha1::new();
        // With the length, `ab` + `c` and `a` + `bc` have different hashes.
        hash.update(u64::try_from(name.app.len()).unwrap_or_default().to_be_bytes());
        hash.update(&name.app);
        hash.update(&name.mailbox);
        let bytes = hash.finalize();
        Self(bytes.iter().take(8).fold(0, |key, byte| key << 8 | u64::from(*byte)))
    }
}

/// The mailboxes that may have new messages.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) enum Changed {
    #[default]
    Nothing,
    Mailboxes(HashSet<MailboxHash>),
    Everything,
}

impl Changed {
    /// Whether no mailbox may have new messages.
    pub(super) const fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    /// Adds more mailboxes. If there are too many, all mailboxes must be checked.
    pub(super) fn merge(&mut self, more: Self) {
        match (&mut *self, more) {
            (_, Self::Nothing) | (Self::Everything, _) => {}
            (_, Self::Everything) => *self = Self::Everything,
            (Self::Nothing, more @ Self::Mailboxes(_)) => *self = more,
            (Self::Mailboxes(keys), Self::Mailboxes(more)) => {
                keys.extend(more);
                if keys.len() > MAX_CHANGED {
                    *self = Self::Everything;
                }
            }
        }
    }
}

/// The payloads of the notifications for these mailboxes.
pub(super) fn payloads<'a>(
    node: NodeId,
    changed: impl Iterator<Item = &'a MailboxName>,
) -> Vec<String> {
    let keys: Vec<MailboxHash> = changed.map(MailboxHash::of).collect();
    let payload = |keys: &[MailboxHash]| {
        let keys: String = keys.iter().map(|MailboxHash(key)| format!(" {key:016x}")).collect();
        format!("{node}{keys}")
    };
    keys.chunks(MAX_KEYS).map(payload).collect()
}

/// Parses the payload of a notification. Returns [`Changed::Nothing`] if it is from this node, malformed or too long.
pub(super) fn parse(node: NodeId, payload: &str) -> Changed {
    if payload.len() >= MAX_PAYLOAD {
        return Changed::Nothing;
    }
    let mut words = payload.split(' ');
    if words.next().is_none_or(|from| from == node.to_string()) {
        return Changed::Nothing;
    }
    let key = |word| u64::from_str_radix(word, 16).ok().map(MailboxHash);
    let keys: HashSet<MailboxHash> = words.filter_map(key).take(MAX_KEYS).collect();
    if keys.is_empty() { Changed::Nothing } else { Changed::Mailboxes(keys) }
}

/// The channel of the notifications in PostgreSQL, and the subject in NATS.
pub(super) const CHANNEL: &str = "wormhole_mailbox";

/// Interval at which a node checks all its open mailboxes even without notifications.
pub(super) const POLL: Duration = Duration::from_secs(10);

/// Pause before a node connects again. Until then, it checks all open mailboxes in the same interval.
const RECONNECT: Duration = Duration::from_secs(1);

/// PostgreSQL requires the payload of a notification to be shorter than this, in bytes.
const MAX_PAYLOAD: usize = 8000;

/// Maximum number of hashes in one payload.
const MAX_KEYS: usize = 400;

/// Maximum number of waiting hashes. If there are more, all mailboxes are checked instead.
const MAX_CHANGED: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn name(app: &str, mailbox: &str) -> MailboxName {
        MailboxName { app: app.into(), mailbox: mailbox.into() }
    }

    #[test]
    fn a_parsed_payload_contains_the_changed_mailboxes() {
        let (one, other) = (NodeId(1), NodeId(u64::MAX));
        let names: Vec<MailboxName> = (0..1000).map(|n| name("app", &n.to_string())).collect();
        let payloads = payloads(one, names.iter());
        assert!(payloads.len() == 3 && payloads.iter().all(|payload| payload.len() < 8000));
        let mut changed = Changed::Nothing;
        payloads.iter().for_each(|payload| changed.merge(parse(other, payload)));
        assert_eq!(changed, Changed::Mailboxes(names.iter().map(MailboxHash::of).collect()));
        assert_eq!(parse(one, &payloads[0]), Changed::Nothing);
    }

    #[test]
    fn malformed_and_long_payloads_are_ignored() {
        for text in ["", "x", " ", "0 zz", "\u{0}"] {
            assert_eq!(parse(NodeId(1), text), Changed::Nothing, "{text}");
        }
        let keys: String = (0..1000).map(|key| format!(" {key:x}")).collect();
        let Changed::Mailboxes(keys) = parse(NodeId(1), &keys) else { panic!() };
        assert_eq!(keys.len(), MAX_KEYS);
        assert_eq!(parse(NodeId(1), &" 1".repeat(4000)), Changed::Nothing);
    }

    #[test]
    fn too_many_changed_mailboxes_become_everything() {
        let mut changed = Changed::Nothing;
        for _ in 0..30_000 {
            changed.merge(Changed::Mailboxes([MailboxHash(1)].into()));
        }
        assert_eq!(changed, Changed::Mailboxes([MailboxHash(1)].into()));
        for key in 0..30_000 {
            changed.merge(Changed::Mailboxes([MailboxHash(key)].into()));
        }
        assert_eq!(changed, Changed::Everything);
    }

    #[test]
    fn names_with_the_same_concatenation_have_different_hashes() {
        assert_ne!(MailboxHash::of(&name("ab", "c")), MailboxHash::of(&name("a", "bc")));
    }
}
