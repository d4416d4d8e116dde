//! What the mailbox server stores: one trait for the protocol's requests, and its two back ends.
//!
//! A [`Store`] executes a whole batch of requests in one transaction. When [`Store::apply`] returns, everything
//! in it is durable and clients may be answered; when it fails, nothing has changed. Which links
//! listen to a mailbox is not known here. The rules are written once, in [`rules`]; a back end only reads and
//! writes rows. (mailbox protocol, "Nameplates / crowding", "Pruning / usage")

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
use crate::limits::Held;
pub(super) use activity::Quota;
pub(super) use clock::Now;
pub(crate) use postgres::DatabaseUrl;
pub(super) use postgres::{ConnectError, Connector, PostgresStore};
pub(crate) use sqlite::Imported;
pub(super) use sqlite::{SqliteStore, back_up, import, set_pragmas};

/// A back end.
pub(super) trait Store: Debug + Send {
    /// Executes requests in one transaction, in order, and returns one outcome for each executed request.
    ///
    /// It may stop early, at the latest when the answers have [`MAX_ANSWER_BYTES`]. Each cursor is for a mailbox with
    /// listeners here: messages that other nodes have added to it are returned, too. At least one request is
    /// executed, or one such message is returned.
    ///
    /// # Errors
    /// Nothing has changed, as far as can be known; refuse all requests.
    fn apply(
        &mut self,
        commands: &mut [Command<'_>],
        cursors: &[Cursor],
        now: Now,
    ) -> Result<Applied, StoreError>;

    /// Removes mailboxes that nobody has used for `expiry`. It may do a part of the work: call it again until
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
    fn messages_after(&mut self, cursors: &[Cursor]) -> Result<Found, StoreError>;

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
    /// It is not, so whatever is committed from now on would be lost. The server must stop.
    fn check(&mut self) -> Result<(), ServerError>;

    /// Gives some unused space back to the file system; returns whether there may be more.
    ///
    /// # Errors
    /// The space stays in use.
    fn reclaim(&mut self) -> Result<bool, StoreError>;

    /// Gives the memory of caches back.
    ///
    /// # Errors
    /// The memory stays in use.
    fn release_memory(&mut self) -> Result<(), StoreError>;

    /// Makes the next transaction fail.
    #[cfg(test)]
    fn fail_next_commit(&mut self);
}

/// How much a mailbox and the whole database may hold, and whether anyone may see what is there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StoreLimits {
    /// Number of messages in a mailbox; 0 is any number.
    pub(super) messages: u64,
    /// Bytes of all names and contents in a mailbox; 0 is any number.
    pub(super) bytes: u64,
    /// Bytes of everything.
    pub(super) quota: Quota,
    /// Whether `list` returns an empty list.
    pub(super) hide_nameplates: bool,
}

/// A client's request, with what the store needs to know about the client.
#[derive(Debug)]
pub(super) struct Command<'a> {
    pub(super) who: &'a Identity,
    pub(super) address: &'a Arc<Held>,
    /// The store may take the contents out, but only when it executes the request.
    pub(super) request: &'a mut Request,
}

impl<'a> Command<'a> {
    const fn caller(&self, now: Now) -> Caller<'a> {
        Caller { who: self.who, address: self.address, now }
    }
}

/// The side that makes a request, its address, and the time.
#[derive(Clone, Copy, Debug)]
struct Caller<'a> {
    who: &'a Identity,
    address: &'a Arc<Held>,
    now: Now,
}

/// The name of a mailbox, unique among those of all applications.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct MailboxName {
    pub(super) app: String,
    pub(super) mailbox: String,
}

/// How far the listeners of a mailbox have got.
#[derive(Clone, Debug)]
pub(super) struct Cursor {
    pub(super) name: Arc<MailboxName>,
    /// Position of the last message that every listener has received.
    pub(super) after: i64,
}

/// Messages of one mailbox that other nodes have added, with their positions, in order.
#[derive(Debug)]
pub(super) struct Missed {
    pub(super) name: Arc<MailboxName>,
    pub(super) messages: Vec<(i64, Arc<StoredMessage>)>,
}

/// Messages that other nodes have added.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) missed: Vec<Missed>,
    /// Whether these are all.
    pub(super) is_complete: bool,
}

/// What a durable batch has done.
#[derive(Debug)]
pub(super) struct Applied {
    /// One for each executed request, in order.
    pub(super) outcomes: Vec<Outcome>,
    /// Nameplates and mailboxes that were removed, for the statistics.
    pub(super) removed: Vec<Usage>,
    /// Messages of other nodes, which come before those of this batch.
    pub(super) missed: Vec<Missed>,
}

/// The result of one request.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The client gets this answer and nobody else needs to know.
    Answer(Answer),
    /// All listeners of the mailbox get this message. Positions grow from message to message.
    Added { position: i64, message: Arc<StoredMessage> },
    /// The client gets these messages, and from now on those after `position`.
    Opened { position: i64, messages: Vec<Arc<StoredMessage>> },
}

impl Outcome {
    /// A refusal as an outcome.
    pub(super) const fn refused(refusal: Refusal) -> Self {
        Self::Answer(Answer::Refused(refusal))
    }

    /// Approximate bytes that it takes in memory.
    fn bytes(&self) -> usize {
        match self {
            Self::Answer(answer) => answer.bytes(),
            Self::Added { message, .. } => message.bytes(),
            Self::Opened { messages, .. } => messages.iter().map(|stored| stored.bytes()).sum(),
        }
    }
}

/// What pruning has done.
#[derive(Debug)]
pub(super) struct Pruned {
    /// How many mailboxes were removed.
    pub(super) mailboxes: usize,
    /// What was removed, for the statistics.
    pub(super) removed: Vec<Usage>,
    /// Whether all mailboxes have been looked at.
    pub(super) is_complete: bool,
}

/// How much is stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Counts {
    pub(super) nameplates: u64,
    pub(super) mailboxes: u64,
}

/// Why a request or a batch was not executed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum StoreError {
    /// The protocol does not allow this request. The batch goes on without it.
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

/// Bytes of answers that end a batch: they stay in memory until they are delivered.
pub(super) const MAX_ANSWER_BYTES: usize = 4 << 20;

/// Nameplates that a list contains at most: many times what a person looks at.
const MAX_LISTED: i64 = 1000;

/// Random attempts to find a free long nameplate, as in the reference.
const LONG_TRIES: usize = 1000;

#[cfg(test)]
mod conformance;
