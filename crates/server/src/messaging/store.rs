//! The storage of the messaging service: one trait for a back end, and the requests of the service.
//!
//! A [`Store`] executes everything that waits in one transaction, a [`Turn`]. When [`Store::apply`] returns, all of it is
//! durable and clients may be answered; when it fails, nothing has changed. What many clients do all the time
//! (authenticate, send, receive, acknowledge, fetch keys) waits in lists, so that a back end can execute a whole list with
//! few statements. Everything else is a [`Work`]: code that reads and writes rows through [`Rows`], or only
//! reads them through [`ReadRows`]. So the rules are written once, in [`rules`], and a back end contains only statements.

mod access;
mod cache;
mod columns;
#[cfg(test)]
mod conformance;
mod consent;
mod groups;
mod postgres;
mod rows;
pub(super) mod rules;
mod secrets;
mod sqlite;
mod tables;
mod turn;

use std::fmt::Debug;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use wormhole_chat::Timestamp;

use crate::ServerError;
pub(super) use access::{Access, AccessChoice, AccessKey, DeliveryKeys};
pub(super) use consent::{
    Consent, ConsentRows, ConsentState, Pair, ReadConsentRows, Report, ReportKey, ReportedMessage,
};
pub(super) use groups::{
    Group, GroupEntry, GroupId, GroupKeys, GroupRows, GroupShare, ReadGroupRows,
};
pub(super) use postgres::PostgresStore;
#[cfg(test)]
use postgres::STEPS as POSTGRES_STEPS;
pub(super) use rows::{
    Account, AccountKey, App, AppKey, Avatar, Device, DeviceColumns, DeviceKey, IntraApp, KeyKind,
    KeySet, LastResortKey, NewAccount, OneTimeKey, Profile, PushId, ReadRows, Rows, SignedKey,
    StoredDeviceList,
};
pub(super) use secrets::{
    Askers, LinkCode, NetworkHash, PendingCode, ProvisioningAddress, TokenHash, VerificationCode,
};
#[cfg(test)]
use sqlite::STEPS as SQLITE_STEPS;
pub(super) use sqlite::SqliteStore;
pub(super) use turn::{
    Acknowledged, Acknowledgement, Asker, Bundle, BundleReply, BundleRequest, DeviceBundle, Found,
    Job, LeftOut, Login, LoginName, MessageName, NewMessage, Page, PageRequest, QueueDelivery,
    Reply, Requester, SealedMessages, SealedProof, SealedSent, SealedSubmission, Sender, Sent,
    Submission, Turn, UnidentifiedCaller, Work,
};

/// A back end. Two of them may use the same database at the same time, if one executes only turns that read: logins, pages,
/// and work that only uses [`ReadRows`].
pub(super) trait Store: Debug + Send {
    /// Executes a turn in one transaction, and fills in the answers.
    ///
    /// # Errors
    /// Nothing has changed, as far as can be known. Answer all requests with "unavailable".
    fn apply(&mut self, turn: &mut Turn, now: Timestamp) -> Result<(), StoreError>;

    /// Removes some of what has expired. Returns whether there may be more.
    ///
    /// # Errors
    /// Try again later.
    fn prune(&mut self, expiry: Expiry, now: Timestamp) -> Result<bool, StoreError>;

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

    /// Cancel it when the server stops: then the store no longer waits for a lost database.
    fn stop_signal(&self) -> CancellationToken {
        CancellationToken::new()
    }

    /// Makes the next transaction fail.
    #[cfg(test)]
    fn fail_next_commit(&mut self);
}

/// How long things are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expiry {
    /// Messages that their device does not fetch.
    pub(super) messages: Duration,
    /// The memory of which messages were sent, for senders that repeat a request.
    pub(super) sent: Duration,
    /// Verification codes, and addresses where devices wait to be linked.
    pub(super) codes: Duration,
}

/// How much is stored.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Counts {
    pub(super) accounts: u64,
    pub(super) devices: u64,
    pub(super) messages: u64,
}

/// Maximum number of messages that wait for one device. A sender has at most as much in a queue as is left for all others.
pub(super) const MAX_QUEUED_MESSAGES: u64 = 10_000;

/// Maximum number of bytes of envelopes that wait for one device.
pub(super) const MAX_QUEUED_BYTES: u64 = 64 << 20;

/// How long an ephemeral message waits for a device that is just connecting.
const EPHEMERAL_LIFE: Duration = Duration::from_secs(10);

/// How long the operator can read a report.
const REPORT_LIFE: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// How long a linked device stays silent before messages need not be addressed to it any more.
const SILENCE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Why the database has not done what it was asked for. Nothing of the turn has happened.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum StoreError {
    /// The database failed or cannot be reached.
    #[error("database: {0}")]
    Database(String),
    /// A row that another row refers to is missing.
    #[error("database: {0}")]
    Inconsistent(&'static str),
    /// The thread that had to execute the request has ended.
    #[error("the request was not executed")]
    NotExecuted,
    /// The service accepts no more requests.
    #[error("the service is shutting down")]
    ShuttingDown,
}

impl StoreError {
    /// The reason, for a message that names the database already.
    pub(super) fn reason(self) -> String {
        match self {
            Self::Database(reason) => reason,
            Self::Inconsistent(_) | Self::NotExecuted | Self::ShuttingDown => self.to_string(),
        }
    }
}

/// Why [`Work`] has no result.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum WorkError<R> {
    /// The rules do not allow it. What the work has written until then is stored.
    Refused(R),
    Store(StoreError),
}

impl<R> From<StoreError> for WorkError<R> {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl<R> WorkError<R> {
    /// Converts the refusal.
    pub(super) fn into<S: From<R>>(self) -> WorkError<S> {
        match self {
            Self::Refused(refusal) => WorkError::Refused(refusal.into()),
            Self::Store(error) => WorkError::Store(error),
        }
    }
}
