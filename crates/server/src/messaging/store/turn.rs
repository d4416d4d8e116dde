//! Everything that waits for the store, in lists of one kind.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::oneshot;
use wormhole_chat::service::{AppName, Destination, Mismatch, PhoneNumber};
use wormhole_chat::{AccountId, DeviceId, EnvelopeKind, MultiRecipientMessage, Timestamp};

use super::StoreError;
use super::access::AccessKey;
use super::rows::{
    Account, AccountKey, App, Device, DeviceKey, LastResortKey, OneTimeKey, ReadRows, Rows,
    SignedKey,
};
use crate::messaging::rate_limits::Budget;

/// Everything that one transaction executes, in this order.
#[derive(Debug, Default)]
pub(in crate::messaging) struct Turn {
    /// Changes accounts, devices or published keys, and so runs alone.
    pub(in crate::messaging) work: Vec<Box<dyn Work>>,
    /// Only reads, or writes single rows that no other turn uses, so turns of other nodes may run at the same time.
    pub(in crate::messaging) shared_work: Vec<Box<dyn Work>>,
    pub(in crate::messaging) logins: Vec<Job<Login, Vec<Found>>>,
    pub(in crate::messaging) bundles: Vec<Job<BundleRequest, BundleReply>>,
    pub(in crate::messaging) acknowledgements: Vec<Job<Acknowledgement, Acknowledged>>,
    pub(in crate::messaging) submissions: Vec<Job<Submission, Sent>>,
    pub(in crate::messaging) sealed: Vec<Job<SealedSubmission, SealedSent>>,
    pub(in crate::messaging) pages: Vec<Job<PageRequest, Option<QueueDelivery>>>,
    /// The limits of those who wait; `None` without limits.
    pub(in crate::messaging) budget: Option<Budget>,
    /// The devices that the turn has removed. Their sockets must be closed once it is committed.
    pub(in crate::messaging) removed: Vec<DeviceKey>,
}

/// A request, its answer once it is executed, and who waits for the answer.
#[derive(Debug)]
pub(in crate::messaging) struct Job<Q, A> {
    pub(in crate::messaging) request: Q,
    pub(in crate::messaging) answer: Option<A>,
    pub(in crate::messaging) reply: Reply<A>,
}

/// The client that waits for an answer.
pub(in crate::messaging) type Reply<A> = oneshot::Sender<Result<A, StoreError>>;

/// A rare request: code that reads and writes rows.
pub(in crate::messaging) trait Work: fmt::Debug + Send {
    /// Reads and writes rows. A back end may call it again if its transaction has to be repeated.
    fn execute(&mut self, rows: &mut dyn Rows, now: Timestamp) -> Result<(), StoreError>;

    /// Answers, after the end of the transaction.
    fn finish(self: Box<Self>, result: Result<(), StoreError>);
}

/// The account and the device that a client claims to be. The answer has a device for each account with this name; the
/// caller checks the password and the app's token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct Login {
    pub(in crate::messaging) name: LoginName,
    pub(in crate::messaging) device: DeviceId,
    /// Only an account in this app, if the client names one.
    pub(in crate::messaging) app: Option<AppName>,
}

/// How a client names its account.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(in crate::messaging) enum LoginName {
    Account(AccountId),
    /// In any app: the password shows which one.
    Number(PhoneNumber),
}

/// The rows for a [`Login`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct Found {
    pub(in crate::messaging) account: Account,
    pub(in crate::messaging) device: Device,
    /// The app of the account.
    pub(in crate::messaging) app: App,
}

impl Found {
    /// The account and the device as they are now. `None` if the device was removed since it was found: a request may
    /// take long, and a WebSocket stays open for days.
    pub(in crate::messaging) fn current(
        &self,
        rows: &mut dyn ReadRows,
    ) -> Result<Option<(Account, Device)>, StoreError> {
        let devices = rows.devices(self.account.key)?;
        let device = devices.into_iter().find(|device| device.key == self.device.key);
        Ok(rows.account(self.account.id)?.zip(device))
    }
}

/// A request for keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct BundleRequest {
    pub(in crate::messaging) asker: Asker,
    pub(in crate::messaging) destination: Destination,
    /// `None` asks for all devices that can receive messages.
    pub(in crate::messaging) device: Option<DeviceId>,
}

/// The client that asks for keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::messaging) enum Asker {
    Device(Requester),
    Unidentified(UnidentifiedCaller),
}

/// A client without credentials, which shows the access key of the account that it asks for or writes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct UnidentifiedCaller {
    pub(in crate::messaging) key: AccessKey,
    /// Its wide network, unless it has no limits.
    pub(in crate::messaging) network: Option<IpAddr>,
}

/// The device that asks for keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct Requester {
    pub(in crate::messaging) account: AccountKey,
    pub(in crate::messaging) device: DeviceKey,
}

/// The result of a [`BundleRequest`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) enum BundleReply {
    Bundle(Bundle),
    /// The keys of a device were requested too often. They may be requested again after this time.
    Limited(Duration),
    /// There is no such account, or no such device with keys.
    NotFound,
    /// The access key is wrong, or there is no such account.
    Unauthorized,
    /// The device that asks does not exist any more.
    UnknownRequester,
}

/// The keys of some devices of an account. Each one-time key in it is given to nobody else.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct Bundle {
    pub(in crate::messaging) account: Account,
    /// Devices with keys, in the order of their numbers.
    pub(in crate::messaging) devices: Vec<DeviceBundle>,
}

/// The keys of one device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct DeviceBundle {
    pub(in crate::messaging) device: DeviceId,
    pub(in crate::messaging) registration_id: u32,
    pub(in crate::messaging) signed: Option<SignedKey>,
    /// The one with the lowest id.
    pub(in crate::messaging) one_time: Option<OneTimeKey>,
    pub(in crate::messaging) last_resort: Option<LastResortKey>,
    /// A one-time key, or else the key of last resort.
    pub(in crate::messaging) kyber: Option<SignedKey>,
}

/// A message to all devices of an account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct Submission {
    pub(in crate::messaging) sender: Sender,
    pub(in crate::messaging) destination: Destination,
    /// With the sender and the destination, identifies the message: it is stored only once.
    pub(in crate::messaging) timestamp: Timestamp,
    pub(in crate::messaging) messages: Vec<NewMessage>,
    /// Whether the other devices of the recipient get nothing. Otherwise it must be addressed to all.
    pub(in crate::messaging) is_partial: bool,
    /// Devices of the recipient that get nothing on purpose.
    pub(in crate::messaging) left_out: Option<LeftOut>,
    /// Whether only devices with an open socket get it.
    pub(in crate::messaging) is_ephemeral: bool,
    pub(in crate::messaging) is_urgent: bool,
    /// Whether the sender wants answers. A message that no person has written says nothing about that.
    pub(in crate::messaging) accepts_answers: bool,
}

/// Devices that get nothing on purpose, because they are not in the list of their account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct LeftOut {
    /// The revision of this list. If there is a newer one, the sender must see it first.
    pub(in crate::messaging) revision: i64,
    pub(in crate::messaging) devices: BTreeSet<DeviceId>,
}

impl LeftOut {
    /// Whether a device of this account is left out.
    pub(super) fn contains(&self, account: &Account, device: DeviceId) -> bool {
        let newest = account.device_list.as_ref().map(|list| list.revision);
        newest == Some(self.revision) && self.devices.contains(&device)
    }
}

/// The sender of a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct Sender {
    pub(in crate::messaging) account: Account,
    pub(in crate::messaging) device_key: DeviceKey,
    pub(in crate::messaging) device: DeviceId,
    pub(in crate::messaging) app: App,
}

/// A message for one device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct NewMessage {
    pub(in crate::messaging) kind: EnvelopeKind,
    pub(in crate::messaging) device: DeviceId,
    /// The registration id that the sender knows.
    pub(in crate::messaging) registration_id: Option<u32>,
    /// Field 6 of the envelope.
    pub(in crate::messaging) body: Option<Vec<u8>>,
    /// Field 8 of the envelope.
    pub(in crate::messaging) content: Option<Vec<u8>>,
}

/// The result of a [`Submission`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) enum Sent {
    /// It is stored, now or by an earlier request.
    Stored {
        /// Whether the sender has other devices.
        needs_sync: bool,
        /// Devices that have new messages.
        devices: Vec<DeviceKey>,
    },
    /// Nothing is stored.
    Mismatched(Mismatch),
    /// The sender has sent too much to the recipient, or too much was sent to the recipient. It may be repeated after
    /// this time.
    Limited(Duration),
    /// There is no such account, or it has no device that can receive messages.
    NotFound,
    /// The recipient's app delivers messages between its own users.
    RefusedIntraApp,
    /// Too much waits for a device of the recipient.
    QueueFull,
    /// The device that sends does not exist any more.
    UnknownSender,
}

/// A message whose envelopes do not name its sender, for all devices of some accounts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct SealedSubmission {
    pub(in crate::messaging) proof: SealedProof,
    /// The recipients, in the order of `messages`.
    pub(in crate::messaging) destinations: Vec<Destination>,
    pub(in crate::messaging) messages: SealedMessages,
    /// Devices that get nothing on purpose. Without an account: of the only recipient.
    pub(in crate::messaging) left_out: Vec<(Option<AccountId>, LeftOut)>,
    /// With the content and the devices, identifies the message: it is stored only once.
    pub(in crate::messaging) timestamp: Timestamp,
    /// Whether only devices with an open socket get it.
    pub(in crate::messaging) is_ephemeral: bool,
    pub(in crate::messaging) is_urgent: bool,
}

/// Why a sealed message is accepted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) enum SealedProof {
    /// The client has shown the access key of the recipient, or the XOR of those of all recipients.
    Unidentified(UnidentifiedCaller),
    /// It has shown its credentials. Only the recipients learn who it is.
    Device(Box<Sender>),
}

/// The sealed content.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) enum SealedMessages {
    /// For one account.
    One(Vec<NewMessage>),
    /// For many accounts. Most bytes are the same for all.
    Many(MultiRecipientMessage),
}

/// The result of a [`SealedSubmission`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) enum SealedSent {
    /// It is stored, now or by an earlier request.
    Stored {
        /// Of a message for many: accounts that do not exist, or have no device that can receive messages.
        unknown: Vec<AccountId>,
        /// Of a message for many: accounts that have no room now.
        full: Vec<AccountId>,
        /// Devices that have new messages.
        devices: Vec<DeviceKey>,
    },
    /// Nothing is stored.
    Mismatched(Vec<(AccountId, Mismatch)>),
    /// Too much was sent. It may be repeated after this time.
    Limited(Duration),
    /// The one recipient has no device that can receive messages.
    NotFound,
    /// The app of the sender and of a recipient delivers messages between its own users.
    RefusedIntraApp,
    /// Too much waits for a device of the one recipient.
    QueueFull,
    /// The access key is wrong, or a recipient does not exist.
    Unauthorized,
    /// The device that sends does not exist any more.
    UnknownSender,
}

/// A device has received a message: it is removed, and its sender gets a receipt.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct Acknowledgement {
    pub(in crate::messaging) device: DeviceKey,
    pub(in crate::messaging) message: MessageName,
}

/// How a client names a message of its queue.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) enum MessageName {
    /// By its position.
    Position(i64),
    /// By the id that the server has chosen.
    Guid([u8; 16]),
    /// By the sender's number or account, and its timestamp.
    Sent(String, Timestamp),
}

/// The result of an [`Acknowledgement`].
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in crate::messaging) struct Acknowledged {
    /// Devices that have a receipt now.
    pub(in crate::messaging) receipts: Vec<DeviceKey>,
}

/// Messages of a device's queue are asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct PageRequest {
    pub(in crate::messaging) device: DeviceKey,
    /// Only messages after this position.
    pub(in crate::messaging) after: i64,
    pub(in crate::messaging) max_messages: u32,
    /// At least one message is returned, however long it is.
    pub(in crate::messaging) max_bytes: usize,
}

/// The next messages of a device that exists.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in crate::messaging) struct QueueDelivery {
    pub(in crate::messaging) page: Page,
    /// The 52 bytes with which envelopes for the device are encrypted now.
    pub(in crate::messaging) signaling_key: Option<Vec<u8>>,
}

/// The next messages of a queue, in order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in crate::messaging) struct Page {
    /// Positions, and encoded envelopes.
    pub(in crate::messaging) messages: Vec<(i64, Vec<u8>)>,
    /// Whether more are waiting.
    pub(in crate::messaging) has_more: bool,
}

impl Turn {
    /// Removes and returns what one transaction should execute: everything, except for pages and for messages to many that
    /// together may be too long. They wait for the next one.
    pub(in crate::messaging) fn take(&mut self) -> Self {
        let mut turn = std::mem::take(self);
        let mut bytes = 0_usize;
        let fit = turn.pages.iter().take_while(|job| {
            bytes = bytes.saturating_add(job.request.max_bytes);
            bytes <= MAX_PAGE_BYTES
        });
        // One page is always read, however long it may be.
        let count = fit.count().max(1);
        if turn.pages.len() > count {
            self.pages = turn.pages.split_off(count);
        }
        let mut bytes = 0_usize;
        let fit = turn.sealed.iter().take_while(|job| {
            bytes = bytes.saturating_add(job.request.stored_bytes());
            bytes <= MAX_SEALED_BYTES
        });
        let count = fit.count().max(1);
        if turn.sealed.len() > count {
            self.sealed = turn.sealed.split_off(count);
        }
        turn
    }

    /// Whether nothing waits.
    pub(in crate::messaging) fn is_empty(&self) -> bool {
        self.work.is_empty()
            && self.shared_work.is_empty()
            && self.logins.is_empty()
            && self.bundles.is_empty()
            && self.acknowledgements.is_empty()
            && self.submissions.is_empty()
            && self.sealed.is_empty()
            && self.pages.is_empty()
    }

    /// Answers everybody, after the transaction has ended with this result.
    pub(in crate::messaging) fn finish(self, result: &Result<(), StoreError>) {
        let work = self.work.into_iter().chain(self.shared_work);
        work.for_each(|work| work.finish(result.clone()));
        finish(self.logins, result);
        finish(self.bundles, result);
        finish(self.acknowledgements, result);
        finish(self.submissions, result);
        finish(self.sealed, result);
        finish(self.pages, result);
    }
}

fn finish<Q, A>(jobs: Vec<Job<Q, A>>, result: &Result<(), StoreError>) {
    for job in jobs {
        let missing = || StoreError::NotExecuted;
        let answer = result.clone().and_then(|()| job.answer.ok_or_else(missing));
        // A client that has gone needs no answer.
        let _gone = job.reply.send(answer);
    }
}

impl SealedSubmission {
    /// About as many bytes of content as all devices together get.
    pub(in crate::messaging) fn stored_bytes(&self) -> usize {
        match &self.messages {
            SealedMessages::One(messages) => messages.iter().map(NewMessage::bytes).sum(),
            SealedMessages::Many(message) => {
                let devices: usize = message.recipients().map(|(_, devices)| devices.len()).sum();
                devices.saturating_mul(message.bytes_for_each())
            }
        }
    }
}

impl NewMessage {
    /// Bytes of what is encrypted.
    pub(in crate::messaging) fn bytes(&self) -> usize {
        [&self.body, &self.content].into_iter().flatten().map(Vec::len).sum()
    }
}

/// Maximum number of bytes of messages to many that one transaction stores. All of them are in memory at the same time.
const MAX_SEALED_BYTES: usize = 32 << 20;

/// Maximum number of bytes of all pages that one transaction reads. All of them are in memory at the same time.
const MAX_PAGE_BYTES: usize = 16 << 20;
