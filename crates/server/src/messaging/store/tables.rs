//! The statements of a turn, each for a whole list of requests, and the rows that they read and write.
//!
//! A back end implements them next to [`Rows`]; [`super::rules`] decides what they are used for. Each list of results
//! has the order of the list of arguments.

use wormhole_chat::service::Destination;
use wormhole_chat::{AccountId, DeviceId, EnvelopeKind, Timestamp};

use super::consent::{Consent, Pair};
use super::rows::{
    Account, AccountKey, DeviceKey, KeyKind, LastResortKey, OneTimeKey, Rows, SignedKey,
};
use super::turn::{Acknowledgement, Found, Login, Page, PageRequest};
use super::{MAX_QUEUED_BYTES, MAX_QUEUED_MESSAGES, SILENCE, StoreError};

/// The statements, inside the transaction of a turn. None of them decides anything.
pub(super) trait Tables: Rows {
    /// The devices that each login may mean, in any app.
    fn find(&mut self, logins: &[&Login]) -> Result<Vec<Vec<Found>>, StoreError>;

    /// The account that each destination means.
    fn resolve(
        &mut self,
        destinations: &[&Destination],
    ) -> Result<Vec<Option<Account>>, StoreError>;

    /// The devices of each account, in the order of their numbers.
    fn recipients(
        &mut self,
        accounts: &[AccountKey],
    ) -> Result<Vec<Vec<RecipientDevice>>, StoreError>;

    /// The published keys of each device, without one-time keys.
    fn published_keys(&mut self, devices: &[DeviceKey]) -> Result<Vec<PublishedKeys>, StoreError>;

    /// Removes one-time keys, for each entry those with the lowest ids, and returns them in the order of their ids. No
    /// two entries have the same device and the same kind.
    fn take_one_time_keys(
        &mut self,
        wanted: &[WantedKeys],
    ) -> Result<Vec<Vec<OneTimeKey>>, StoreError>;

    /// Removes messages from the queues of devices. If several entries name the same message, only one gets it; if
    /// several messages have the same sender and timestamp, an entry gets the oldest.
    fn take_messages(
        &mut self,
        acknowledgements: &[&Acknowledgement],
    ) -> Result<Vec<Option<TakenMessage>>, StoreError>;

    /// The account and the number of each device.
    fn owners(&mut self, devices: &[DeviceKey]) -> Result<Vec<Option<Owner>>, StoreError>;

    /// How much waits for devices, in all and from one sender. The share of the sender may be missing if
    /// [`QueueUse::limits_senders`] is false.
    fn queue_sizes(&mut self, queues: &[SenderQueue]) -> Result<Vec<QueueSize>, StoreError>;

    /// Adds messages to queues. Each gets a position after all positions that its device has ever seen.
    fn insert_messages(&mut self, messages: &[StoredMessage<'_>]) -> Result<(), StoreError>;

    /// The submissions that were stored before.
    fn were_sent(&mut self, submissions: &[SubmissionKey]) -> Result<Vec<bool>, StoreError>;

    /// Remembers submissions that are stored now.
    fn insert_sent(
        &mut self,
        submissions: &[SubmissionKey],
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Whether each recipient wants messages of the sender, if it is known. The time of an acceptance may be missing.
    fn consents(&mut self, pairs: &[Pair]) -> Result<Vec<Option<Consent>>, StoreError>;

    /// How many recipients have not answered each sender, at most [`super::rules::consent::MAX_REQUESTS_OF_SENDER`].
    fn count_requests_of(&mut self, senders: &[AccountKey]) -> Result<Vec<u64>, StoreError>;

    /// Adds requests and acceptances, in the order of the pairs, where the recipient has not decided yet. Removes the oldest
    /// rows of recipients that have too many of them.
    fn update_consents(&mut self, changed: &[(Pair, Consent)]) -> Result<(), StoreError>;

    /// Reads the facts for delivering messages to each device; `None` if it does not exist.
    fn readers(&mut self, devices: &[DeviceKey]) -> Result<Vec<Option<DeviceReader>>, StoreError>;

    /// Reads messages in the order of their positions. Skips ephemeral messages that were accepted before
    /// `oldest_ephemeral`, and does not read them; [`super::Store::prune`] removes them.
    fn pages(
        &mut self,
        pages: &[PageRequest],
        oldest_ephemeral: Timestamp,
    ) -> Result<Vec<Page>, StoreError>;
}

/// The facts for sending messages to a device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct RecipientDevice {
    pub(super) key: DeviceKey,
    pub(super) number: DeviceId,
    pub(super) registration_id: u32,
    /// Whether it has published a signed prekey or a key of last resort.
    pub(super) has_keys: bool,
    /// Whether it fetches messages itself or has a push id.
    pub(super) is_reachable: bool,
    /// The day on which it was last seen.
    pub(super) last_seen: Timestamp,
    /// Whether it knows message requests.
    pub(super) has_requests: bool,
}

impl RecipientDevice {
    /// Whether a message to the account must be addressed to this device. A linked device that is silent for long is
    /// left out until it comes back.
    pub(super) fn is_enabled(&self, now: Timestamp) -> bool {
        let is_silent = u128::from(now.since(self.last_seen)) > SILENCE.as_millis();
        let is_forgotten = self.number != DeviceId::PRIMARY && is_silent;
        self.has_keys && self.is_reachable && !is_forgotten
    }
}

/// The keys of a device that are not used up.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct PublishedKeys {
    pub(super) signed: Option<SignedKey>,
    pub(super) last_resort: Option<LastResortKey>,
    pub(super) kyber_last_resort: Option<SignedKey>,
}

/// So many one-time keys of a device are wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct WantedKeys {
    pub(super) device: DeviceKey,
    pub(super) kind: KeyKind,
    pub(super) count: u32,
}

/// A message that was removed from a queue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct TakenMessage {
    pub(super) kind: EnvelopeKind,
    pub(super) source: AccountId,
    pub(super) timestamp: Timestamp,
    /// As in [`StoredMessage`].
    pub(super) is_to_number: bool,
}

/// The account that owns a device, and the number that the device has in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Owner {
    pub(super) account: Account,
    pub(super) device: DeviceId,
}

/// The facts for delivering messages to a device.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct DeviceReader {
    /// The 52 bytes with which its envelopes are encrypted.
    pub(super) signaling_key: Option<Vec<u8>>,
}

/// A queue, and somebody who has sent to it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct SenderQueue {
    pub(super) device: DeviceKey,
    pub(super) source: AccountId,
}

/// How much waits for a device.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct QueueSize {
    pub(super) all: QueueUse,
    pub(super) from_sender: QueueUse,
}

/// Messages in a queue.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct QueueUse {
    pub(super) messages: u64,
    /// Of envelopes.
    pub(super) bytes: u64,
}

impl QueueUse {
    /// Whether a sender may have so much of a queue that it gets no more. In a shorter queue, nobody has.
    pub(super) const fn limits_senders(self) -> bool {
        self.messages >= MAX_QUEUED_MESSAGES / 10 || self.bytes >= MAX_QUEUED_BYTES / 10
    }
}

/// A message for the queue of one device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct StoredMessage<'a> {
    pub(super) device: DeviceKey,
    pub(super) guid: [u8; 16],
    pub(super) kind: EnvelopeKind,
    pub(super) source: AccountId,
    /// Empty if the sender does not show who it is. [`Self::source`] is then the id of nobody.
    pub(super) source_number: &'a str,
    pub(super) source_device: DeviceId,
    /// The sender's.
    pub(super) timestamp: Timestamp,
    /// When the message was accepted.
    pub(super) server_timestamp: Timestamp,
    pub(super) is_ephemeral: bool,
    /// Whether the sender has named the recipient by its number. Otherwise the receipt does not contain the number.
    pub(super) is_to_number: bool,
    /// Encoded.
    pub(super) envelope: Vec<u8>,
}

impl StoredMessage<'_> {
    /// The share of the message in the size of its queue.
    pub(super) fn bytes(&self) -> u64 {
        u64::try_from(self.envelope.len()).unwrap_or(u64::MAX)
    }
}

/// Identifies a submission.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct SubmissionKey {
    pub(super) sender: DeviceKey,
    pub(super) destination: AccountKey,
    pub(super) timestamp: Timestamp,
    /// 64 bits of a hash of what is sent and of the devices that get it. So neither another message of the same
    /// millisecond is taken for a repetition, nor one to a recipient that was registered again.
    pub(super) content: i64,
}
