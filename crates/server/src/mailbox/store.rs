//! The storage of the mailbox server: one trait for the protocol's requests, and its two back ends.
//!
//! A [`Store`] executes a batch of requests in one transaction. When [`Store::apply`] returns, all changes are durable
//! and the clients may be answered. If it fails, nothing has changed. A store does not know which links listen to a
//! mailbox. Both back ends use the same [`rules`], and only read and write rows. (mailbox protocol,
//! "Nameplates / crowding", "Pruning / usage")

mod activity;
mod clock;
mod postgres;
mod records;
mod replay_cache;
mod rules;
mod short_nameplates;
mod sqlite;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use wormhole_magic::mailbox::server::{Answer, Identity, Refusal, Request, StoredMessage};

use super::usage::Usage;
use crate::ServerError;
use crate::limits::AddressUsage;
pub(super) use activity::Quota;
pub(super) use clock::Now;
pub(super) use postgres::PostgresStore;
pub(crate) use sqlite::Imported;
pub(super) use sqlite::{SqliteStore, import};

/// A back end.
pub(super) trait Store: Debug + Send {
    /// Executes requests in one transaction, in order, and returns one outcome for each executed request.
    ///
    /// It may stop early, at the latest when the answers have [`MAX_ANSWER_BYTES`]. Each cursor is for a mailbox with
    /// listeners here: messages that other nodes have added to it are returned, too. At least one request is
    /// executed, or one such message is returned.
    ///
    /// # Errors
    /// The batch failed; refuse all requests. Nothing has changed, unless the result of the commit is unknown.
    fn apply(
        &mut self,
        commands: &mut [Command<'_>],
        cursors: &[Cursor],
        now: Now,
    ) -> Result<Applied, StoreError>;

    /// Removes mailboxes that have been unused for `expiry`. One call may do only a part of the work: repeat it until
    /// [`Pruned::is_complete`].
    ///
    /// # Errors
    /// Start again later.
    fn prune(&mut self, now: Now, expiry: Duration) -> Result<Pruned, StoreError>;

    /// Writes that these mailboxes are in use. Returns those that other nodes have removed.
    ///
    /// # Errors
    /// Try again later.
    fn keep_in_use(
        &mut self,
        now: Now,
        names: &[Arc<MailboxName>],
    ) -> Result<Vec<Arc<MailboxName>>, StoreError>;

    /// Reads messages that other nodes have added after these cursors, or some of them.
    ///
    /// # Errors
    /// Try again later.
    fn messages_after(&mut self, cursors: &[Cursor]) -> Result<FetchedMessages, StoreError>;

    /// Whether other nodes use the same database.
    fn is_shared(&self) -> bool;

    /// Cancel it when the server stops: from then on, the store does not wait for a lost database.
    fn stop_signal(&self) -> CancellationToken;

    /// Counts what is stored.
    ///
    /// # Errors
    /// Try again later.
    fn count(&mut self) -> Result<Counts, StoreError>;

    /// Checks that the database is still the one that was opened.
    ///
    /// # Errors
    /// It is not, so all later commits would be lost. The server must stop.
    fn check(&mut self) -> Result<(), ServerError>;

    /// Returns some unused space to the file system. Returns whether there may be more.
    ///
    /// # Errors
    /// The space stays in use.
    fn reclaim(&mut self) -> Result<bool, StoreError>;

    /// Frees the memory of caches.
    ///
    /// # Errors
    /// The memory stays in use.
    fn release_memory(&mut self) -> Result<(), StoreError>;

    /// Makes the next transaction fail.
    #[cfg(test)]
    fn fail_next_commit(&mut self);
}

/// The size limits of mailboxes and of the database, and whether `list` shows the nameplates.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StoreLimits {
    /// Maximum number of messages in a mailbox; 0 means unlimited.
    pub(super) messages: u64,
    /// Maximum size of all messages in a mailbox, in bytes; 0 means unlimited.
    pub(super) bytes: u64,
    /// Maximum number of stored bytes, per address and in total.
    pub(super) quota: Quota,
    /// Whether `list` returns an empty list.
    pub(super) hide_nameplates: bool,
}

/// A client's request, with the identity and the address of the client.
#[derive(Debug)]
pub(super) struct Command<'a> {
    pub(super) client: &'a Identity,
    pub(super) address: &'a Arc<AddressUsage>,
    /// The store may move the contents out of the request, but only when it executes the request.
    pub(super) request: &'a mut Request,
}

impl<'a> Command<'a> {
    const fn caller(&self, now: Now) -> Caller<'a> {
        Caller { client: self.client, address: self.address, now }
    }
}

/// The side that makes a request, its address, and the time.
#[derive(Clone, Copy, Debug)]
struct Caller<'a> {
    client: &'a Identity,
    address: &'a Arc<AddressUsage>,
    now: Now,
}

/// The name of a mailbox, unique among those of all applications.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct MailboxName {
    pub(super) app: String,
    pub(super) mailbox: String,
}

/// The position up to which the listeners of a mailbox have received messages.
#[derive(Clone, Debug)]
pub(super) struct Cursor {
    pub(super) name: Arc<MailboxName>,
    /// Position of the last message that every listener has received.
    pub(super) after: i64,
}

/// Messages of one mailbox that other nodes have added, with their positions, in order.
#[derive(Debug)]
pub(super) struct NewMessages {
    pub(super) name: Arc<MailboxName>,
    pub(super) messages: Vec<(i64, Arc<StoredMessage>)>,
}

/// Messages that other nodes have added.
#[derive(Debug)]
pub(super) struct FetchedMessages {
    pub(super) mailboxes: Vec<NewMessages>,
    /// Whether these are all messages after the cursors.
    pub(super) is_complete: bool,
}

/// The results of a durable batch.
#[derive(Debug)]
pub(super) struct Applied {
    /// One for each executed request, in order.
    pub(super) outcomes: Vec<Outcome>,
    /// Nameplates and mailboxes that were removed, for the statistics.
    pub(super) removed: Vec<Usage>,
    /// Messages of other nodes. They must be delivered before those of this batch.
    pub(super) from_other_nodes: Vec<NewMessages>,
}

/// The result of one request.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The client gets this answer; other clients are not affected.
    Answer(Answer),
    /// All listeners of the mailbox get this message. Each message has a larger position than the one before it.
    Added { position: i64, message: Arc<StoredMessage> },
    /// The client gets these messages now, and all messages after `position` later.
    Opened { position: i64, messages: Vec<Arc<StoredMessage>> },
}

impl Outcome {
    /// A refusal as an outcome.
    pub(super) const fn refused(refusal: Refusal) -> Self {
        Self::Answer(Answer::Refused(refusal))
    }

    /// Approximate size in memory, in bytes.
    fn bytes(&self) -> usize {
        match self {
            Self::Answer(answer) => answer.bytes(),
            Self::Added { message, .. } => message.bytes(),
            Self::Opened { messages, .. } => messages.iter().map(|stored| stored.bytes()).sum(),
        }
    }
}

/// The results of pruning.
#[derive(Debug)]
pub(super) struct Pruned {
    /// Number of removed mailboxes.
    pub(super) mailboxes: usize,
    /// Removed nameplates and mailboxes, for the statistics.
    pub(super) removed: Vec<Usage>,
    /// Whether all mailboxes have been checked.
    pub(super) is_complete: bool,
}

/// Numbers of stored nameplates and mailboxes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Counts {
    pub(super) nameplates: u64,
    pub(super) mailboxes: u64,
}

/// Why a request or a batch was not executed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum StoreError {
    /// The protocol does not allow this request. The rest of the batch is executed.
    #[error("{0}")]
    Refused(Refusal),
    /// The database failed, so the whole batch failed.
    #[error("database: {0}")]
    Failed(String),
}

impl From<Refusal> for StoreError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Size of answers in bytes at which a batch ends early: answers stay in memory until they are delivered.
pub(super) const MAX_ANSWER_BYTES: usize = 4 << 20;

/// Maximum number of nameplates in a list: far more than a person reads.
const MAX_LISTED: i64 = 1000;

/// Number of random attempts to find a free long nameplate, as in the reference server.
const LONG_TRIES: usize = 1000;

#[cfg(test)]
mod conformance;
