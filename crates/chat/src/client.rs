//! One device of a user: sends and receives messages, and makes all changes durable before anything
//! depends on them.
//!
//! It uses no socket and no HTTP: it outputs [`Request`]s, which the driver translates to the
//! interface of the service.
//!
//! Like a [`Session`](wormhole_kit::Session), it is driven with `handle` and `poll`, and nothing
//! depends on changes before they are committed. Its inputs and outputs differ, for two reasons. A
//! request and its response are not bytes of one link: the driver may send two requests on
//! different connections. And each step needs the wall clock and randomness, which a `Session` does
//! not get.
//!
//! | input | output | next |
//! |---|---|---|
//! | `Send` | `Commit` (content to the outbox) | on `Committed`: `Accepted`; encrypt or request keys |
//! | `SendVolatile` | | the same without a place in the store, and without events |
//! | keys arrive | `Commit` (sessions and ciphertexts) | on `Committed`: `Request::Send` |
//! | the server accepts the message | `Commit` (removed from the outbox) | on `Committed`: `Sent` |
//! | the same, and we have other devices | `Commit` (a transcript for them to the outbox) | it is sent like a message, without events |
//! | the server reports other devices | `Commit` or `Request::Bundles` | encrypt again, at most 10 times |
//! | no response | | the same request again, later |
//! | an envelope | `Commit` (session, prekeys, content) | on `Committed`: `Acknowledge`, `Received` |
//! | an envelope that cannot be read | `Commit` (the reason) | on `Committed`: `Acknowledge`, `NotRead` |
//! | an envelope that cannot be decrypted | `Commit` (that it is asked for) | on `Committed`: `Acknowledge`, `Request::SendToDevice` |
//! | a request to send a message again | `Commit` | it is encrypted again, for one device |
//! | an envelope of a device that is not in the list of its account | `Request::Bundles`, then `ReadAgain` | the same again: it is read, or refused with `NotRead` |
//! | `Timeout` | `Commit` (what was asked for has not come) | on `Committed`: `NotRead` |
//! | a duplicate | `Acknowledge` | |
//! | `AcceptIdentity`, `RefuseIdentity` | `Commit` | blocked messages are sent |
//! | `Cancel` | `Commit` (removed from the outbox) | on `Committed`: `Cancelled` |
//! | `Keep` | `Commit` | |
//!
//! After a crash, [`Client::restore`] continues from the committed state. A ciphertext that may
//! have been sent is sent again unchanged, so no key is used twice, and the server recognises it by
//! its timestamp.

mod account;
mod device_lists;
mod devices;
mod exchange;
mod groups;
mod held;
mod identity;
mod inbox;
mod outbox;
mod own_list;
mod peer;
mod pending;
mod queue;
mod repair;
mod replays;
mod resend;
mod retries;
mod rollback;
mod sealed;
mod sent_log;
mod sessions;
mod store;
mod strangers;
mod view;
mod written;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rand_core::CryptoRngCore;
use zeroize::Zeroizing;

use crate::address::{AccountId, Address};
use crate::content::{Content, IdentitySync, SyncMessage};
use crate::envelope::Envelope;
use crate::group::GroupId;
use crate::key::PublicKey;
use crate::record::{Identity, SessionRecord};
use crate::time::Timestamp;
use account::PreKeys;
use device_lists::DeviceLists;
use groups::Groups;
use peer::Peer;
use pending::{PendingRequests, Purpose};
use queue::Queue;
use resend::Repairs;
use retries::Retries;
use sent_log::SentLog;
use sessions::ArchivedRows;

pub use exchange::{
    AccountDevices, DeviceCiphertext, LeftOut, NewDeviceList, OwnDeviceList, Publication, Request,
    RequestId, Response,
};
pub use groups::{ChangeId, GroupDelay, GroupEvent, GroupFailure, Membership, PartlySent};
pub use own_list::DeviceListUpdate;
pub use sealed::Sealer;
pub use store::{Changes, OutboxChange, RestoreError, StoreKey};
pub use view::KnownIdentity;

/// One device of a user.
#[derive(Debug)]
pub struct Client {
    us: Address,
    identity: Identity,
    prekeys: PreKeys,
    /// The signed lists of the devices of accounts.
    lists: DeviceLists,
    peers: BTreeMap<AccountId, Peer>,
    /// Accounts that the user knows, according to the driver.
    kept: BTreeSet<AccountId>,
    /// The numbers and apps of accounts, according to the driver.
    described: BTreeMap<AccountId, (Option<String>, Option<String>)>,
    sessions: BTreeMap<Address, SessionRecord>,
    archived_rows: ArchivedRows,
    /// By timestamp, which identifies a message.
    outbox: Queue,
    groups: Groups,
    /// The timestamp of the last message that we sent. Each timestamp is used only once.
    last_written: Timestamp,
    /// The newest timestamps of the messages of each device.
    newest: BTreeMap<Address, BTreeSet<Timestamp>>,
    /// Messages that could not be decrypted.
    retries: Retries,
    /// Messages that the server has accepted lately.
    sent_log: SentLog,
    repairs: Repairs,
    /// Whether we have noticed, since the program was started, that the rows are old.
    is_rolled_back: bool,
    /// The keys that sign the certificates of the service, according to the driver.
    roots: Vec<PublicKey>,
    pending: PendingRequests,
    last_request: u64,
    last_commit: u64,
    /// Outputs that wait for commits, in order.
    held: VecDeque<(CommitId, Vec<ClientOutput>)>,
    outputs: VecDeque<ClientOutput>,
}

/// Identifies a commit of one client. The ids increase.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CommitId(u64);

/// Identifies a delivered envelope for its acknowledgement; chosen by the driver.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Delivery(pub u64);

/// Inputs of a client.
#[derive(Debug)]
pub enum ClientInput {
    /// Send content to every device of an account.
    Send(AccountId, Content),
    /// Send content that is not worth a place in the store: receipts and typing. It is forgotten when the program ends, and there
    /// are no events about it. The caller limits how many there are: [`Client::volatile_messages`].
    SendVolatile {
        /// The recipient, all of whose devices get it.
        to: AccountId,
        /// The content.
        content: Content,
        /// Whether it is only for devices that are connected. Then it is not sent again if the server cannot be reached.
        is_online: bool,
    },
    /// Remove a message from the outbox, and do not send it any more. A request that was output already may still deliver it.
    Cancel(Timestamp),
    /// The user accepts this identity key for an account.
    AcceptIdentity(AccountId, PublicKey),
    /// The user refuses this changed identity key for an account, and keeps the accepted one.
    RefuseIdentity(AccountId, PublicKey),
    /// Another device of ours knows these decisions of the user, and has copied them here.
    LearnIdentities(Vec<IdentitySync>),
    /// Tell our other devices something that no person has written.
    Synchronise(SyncMessage),
    /// The user knows this account: it is never forgotten. The driver passes this in for each of them after a start.
    Keep(AccountId),
    /// The user has blocked this account, or has forgotten it: its invitations are not accepted without asking.
    DoNotKeep(AccountId),
    /// These changes and all earlier ones are durable.
    Committed(CommitId),
    /// The server delivered an envelope.
    Envelope(Delivery, Box<Envelope>),
    /// The response to a request.
    Response(RequestId, Response),
    /// A new connection is open: repeats all pending requests.
    Connected,
    /// The time of [`Client::deadline`] has come.
    Timeout,
}

/// Outputs of a client. Process them in order.
#[derive(Clone, Debug)]
pub enum ClientOutput {
    /// Make these changes durable, all or none, in the order of their ids; then pass in
    /// [`ClientInput::Committed`]. If that fails, drop the client and restore it.
    Commit(CommitId, Changes),
    /// Send this request to the server.
    Request(RequestId, Request),
    /// Acknowledge an envelope to the server.
    Acknowledge(Delivery),
    /// Report this event to the application.
    Event(ClientEvent),
    /// Pass this envelope in again: the list for which it has waited has arrived.
    ReadAgain(Delivery, Box<Envelope>),
}

/// Events for the application.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClientEvent {
    /// A message with this timestamp is in the outbox and will not be lost.
    Accepted(Timestamp, AccountId),
    /// A message was removed from the outbox before the server has accepted it, as the user wanted.
    Cancelled(Timestamp),
    /// A change of a group that we wanted is made, has become superfluous, or is not possible. The committed changes include it.
    ChangeFinished(ChangeId, Result<(), GroupFailure>),
    /// The server names a device of our account that does not have our identity key. Nothing is sent to it, and what was sent
    /// elsewhere is not copied to our other devices.
    ForeignDevice,
    /// Something has happened in a group.
    Group(GroupId, GroupEvent),
    /// Nothing is sent to the account until the user has accepted the new identity key.
    IdentityChanged(AccountId, PublicKey),
    /// Our other devices do not learn what was sent from this one, because the message with this timestamp was dropped. It is not
    /// the timestamp of what was sent.
    NotCopied(Timestamp, CopyFailure),
    /// A message cannot be sent. The committed changes include it as failed.
    NotSent(Timestamp, SendFailure),
    /// The server has shown another list of our devices to this one than to another device of ours. A new list replaces both.
    ListsDiffer,
    /// An envelope could not be read. The committed changes include the reason.
    NotRead(Option<Address>, ReadError),
    /// A message arrived. The committed changes include it.
    Received(Received),
    /// The server has accepted a message for all devices of the recipient.
    Sent(Timestamp),
    /// The server names a device that its account has not signed, or delivers a message of it. Nothing is sent to it, and what it sends
    /// is not read. Each such device is reported once.
    UnsignedDevice(Address),
    /// The rows are older than what this device has done since: a backup was restored. New sessions are started with everybody.
    StoreIsOlder,
}

/// A received message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Received {
    /// The device that sent it.
    pub from: Address,
    /// When it was sent; identifies the message together with the sender.
    pub timestamp: Timestamp,
    /// Its content.
    pub content: Content,
    /// Whether the sender's identity key differs from the accepted one.
    pub identity_changed: bool,
}

/// A message that could not be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Unreadable {
    /// The device that sent it, according to the server.
    pub from: Option<Address>,
    /// When it was sent, according to the server.
    pub timestamp: Timestamp,
    /// Why it could not be read.
    pub why: ReadError,
}

/// A message that was removed from the outbox, because it cannot be sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failed {
    /// Identifies the message.
    pub timestamp: Timestamp,
    /// The recipient. Our own account if the content names a group.
    pub to: AccountId,
    /// Its encoded content.
    pub content: Zeroizing<Vec<u8>>,
    /// Why it cannot be sent.
    pub why: SendFailure,
}

/// Why our other devices do not learn what was sent from this one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CopyFailure {
    /// The message for them cannot be sent.
    #[error(transparent)]
    NotSent(SendFailure),
    /// Too many messages wait for them: perhaps one of them does not fetch any.
    #[error("too many copies wait for your other devices")]
    TooMany,
}

/// Why a message can never be sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SendFailure {
    /// The server kept reporting different devices.
    #[error("the recipient's devices keep changing")]
    DevicesKeepChanging,
    /// The app of sender and recipient delivers messages between its own users itself.
    #[error("the app delivers messages between its own users itself")]
    IntraApp,
    /// The server shows no signed list of the recipient's devices although there was one, an older one, or one that the
    /// recipient has not signed.
    #[error("the server does not show the newest list of the recipient's devices")]
    DeviceList,
    /// The account does not exist, or has no device that can receive messages.
    #[error("the recipient has no device that can receive messages")]
    NoDevice,
    /// This account left the group, or was removed from it, before the server had the message.
    #[error("this account is no longer a member of the group")]
    NotMember,
    /// The server had no room for the recipient for too long.
    #[error("the server had no room for the recipient for too long")]
    NoRoom,
    /// A device of the recipient has no post-quantum keys, although devices of the account had some before, or others have them: an
    /// attack, or another program.
    #[error("the recipient's keys lack post-quantum protection that was there before")]
    NoPostQuantum,
    /// The server returned invalid keys: an attack, or a defective client.
    #[error("the recipient's keys are invalid")]
    NotAuthentic,
    /// The server will never accept it.
    #[error("the server refuses to deliver this message")]
    Refused,
    /// The server names an identity key of the recipient that the user has refused.
    #[error("the server names a key of the recipient that you have refused")]
    RefusedIdentity,
    /// The message is too long.
    #[error("the message is too long")]
    TooLong,
    /// The server wants the message to go to a device that the recipient has not signed, or the recipient has no other one.
    #[error("the server insists on a device that the recipient has not signed")]
    UnsignedDevice,
}

impl SendFailure {
    /// A number for a store, from 1 to 255. It never changes.
    pub const fn number(self) -> u8 {
        match self {
            Self::DevicesKeepChanging => 1,
            Self::IntraApp => 2,
            Self::NoDevice => 3,
            Self::NotAuthentic => 4,
            Self::Refused => 5,
            Self::TooLong => 6,
            Self::RefusedIdentity => 7,
            Self::NoPostQuantum => 8,
            Self::NoRoom => 9,
            Self::NotMember => 10,
            Self::DeviceList => 11,
            Self::UnsignedDevice => 12,
        }
    }

    /// The reason with this number.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::DevicesKeepChanging,
            2 => Self::IntraApp,
            3 => Self::NoDevice,
            4 => Self::NotAuthentic,
            5 => Self::Refused,
            6 => Self::TooLong,
            7 => Self::RefusedIdentity,
            8 => Self::NoPostQuantum,
            9 => Self::NoRoom,
            10 => Self::NotMember,
            11 => Self::DeviceList,
            12 => Self::UnsignedDevice,
            _ => return None,
        })
    }
}

/// Why an envelope could not be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReadError {
    /// It was not encrypted for us, or was modified.
    #[error(transparent)]
    Decrypt(#[from] crate::session::DecryptError),
    /// Its decrypted content is invalid.
    #[error("the message has invalid content")]
    Malformed,
    /// The timestamp of the envelope differs from that of the message.
    #[error("the server changed the message's timestamp")]
    TimestampMismatch,
    /// It is sealed, and its sender is unknown.
    #[error(transparent)]
    Sealed(#[from] crate::sealed_sender::UnsealError),
    /// It would change an earlier message or the conversation, and its sender has an identity key that the user has not accepted.
    #[error("an identity key that was not accepted changes nothing")]
    UnacceptedIdentity,
    /// Its sender's account has a signed list of its devices, and the device is not in it.
    #[error("the sender has not signed the device that has sent this message")]
    UnsignedDevice,
    /// It is of a kind that this program does not support.
    #[error("this kind of message is not supported")]
    Unsupported,
}

impl Client {
    /// Handles one input at time `now`.
    pub fn handle(&mut self, now: Timestamp, input: ClientInput, rng: &mut impl CryptoRngCore) {
        match input {
            ClientInput::Send(to, content) => self.send(now, to, &content),
            ClientInput::SendVolatile { to, content, is_online } => {
                self.send_volatile(now, to, &content, is_online);
            }
            ClientInput::Cancel(timestamp) => self.cancel(timestamp),
            ClientInput::AcceptIdentity(account, identity) => {
                self.accept_identity(now, account, identity);
            }
            ClientInput::RefuseIdentity(account, identity) => {
                self.refuse_identity(now, account, identity);
            }
            ClientInput::LearnIdentities(decisions) => self.learn_identities(now, &decisions),
            ClientInput::Synchronise(message) => self.synchronise(now, &message),
            ClientInput::Keep(account) => self.keep(account),
            ClientInput::DoNotKeep(account) => self.do_not_keep(account),
            ClientInput::Committed(id) => self.release(id),
            ClientInput::Envelope(delivery, envelope) => self.read(now, delivery, &envelope, rng),
            ClientInput::Response(id, response) => self.handle_response(now, id, response, rng),
            ClientInput::Connected => self.repeat_requests(now, rng),
            ClientInput::Timeout => {
                self.report_overdue(now);
                self.forget_old_sent(now);
                self.wake_waiting(now);
                self.read_missing(now);
            }
        }
        self.tell_own_list(now);
        self.run_groups(now, rng);
    }

    /// Returns the next output.
    pub fn poll(&mut self) -> Option<ClientOutput> {
        self.outputs.pop_front()
    }

    /// Number of messages in the outbox. Callers should limit it, and their bytes: [`Client::outbox_bytes`].
    pub fn outbox_len(&self) -> usize {
        self.outbox.len()
    }

    /// How long to wait before passing in [`ClientInput::Connected`] again, after the server has
    /// not responded `attempt` times.
    pub fn pause(attempt: u32) -> Duration {
        MAX_PAUSE.min(Duration::from_secs(1).saturating_mul(2_u32.saturating_pow(attempt)))
    }

    /// Outputs changes to commit, and holds back the outputs that depend on them.
    fn commit(&mut self, changes: Changes, then: Vec<ClientOutput>) {
        if changes.is_empty() {
            return self.after_commits(then);
        }
        self.last_commit += 1;
        let id = CommitId(self.last_commit);
        self.held.push_back((id, then));
        self.outputs.push_back(ClientOutput::Commit(id, changes));
    }

    /// Holds outputs back until all changes so far are durable.
    fn after_commits(&mut self, outputs: Vec<ClientOutput>) {
        match self.held.back_mut() {
            Some((_, held)) => held.extend(outputs),
            None => self.outputs.extend(outputs),
        }
    }

    fn release(&mut self, committed: CommitId) {
        while self.held.front().is_some_and(|(id, _)| *id <= committed) {
            let released = self.held.pop_front().map(|(_, outputs)| outputs);
            self.outputs.extend(released.into_iter().flatten());
        }
    }

    /// Creates a request and remembers it until its response arrives.
    fn request(&mut self, purpose: Purpose, request: Request) -> ClientOutput {
        self.last_request += 1;
        let id = RequestId(self.last_request);
        self.pending.insert(id, purpose);
        ClientOutput::Request(id, request)
    }

    fn event(&mut self, event: ClientEvent) {
        self.outputs.push_back(ClientOutput::Event(event));
    }

    fn handle_response(
        &mut self,
        now: Timestamp,
        id: RequestId,
        response: Response,
        rng: &mut impl CryptoRngCore,
    ) {
        // Ignores responses to requests that were repeated since, or were sent before a crash.
        match (self.pending.remove(id), response) {
            (None, _) | (_, Response::Unavailable) => {}
            (Some(Purpose::Send(timestamp)), Response::NoRoom) => self.record_no_room(timestamp),
            (Some(Purpose::Bundles(account)), response) => {
                let is_valid = self.check_shown_list(now, account, &response);
                self.handle_bundles(now, account, response, rng);
                self.release_held(account, id, is_valid);
            }
            (Some(Purpose::Send(timestamp)), response) => {
                self.handle_send_response(now, timestamp, response);
            }
            (Some(Purpose::Certificate), response) => self.handle_certificate(response),
            (Some(Purpose::GroupLog(group)), response) => {
                self.handle_group_response(now, group, response, rng);
            }
            // The next message repairs what is wrong.
            (Some(Purpose::GroupOnline(_)), _) => {}
            (Some(Purpose::GroupSend(timestamp)), response) => {
                self.handle_group_send_response(now, timestamp, response);
            }
            (Some(Purpose::Publish), response) => self.handle_publish_response(&response),
            (Some(Purpose::OwnList), response) => self.handle_own_list(now, id, response, rng),
            (Some(Purpose::PublishList), response) => self.handle_list_published(now, &response),
            (Some(Purpose::Ask(name)), response) => {
                self.handle_ask_response(now, name, &response);
            }
            (Some(Purpose::Resend(name)), response) => {
                self.handle_resend_response(now, name, &response);
            }
        }
    }

    fn repeat_requests(&mut self, now: Timestamp, rng: &mut impl CryptoRngCore) {
        self.pending.clear();
        self.drop_online();
        self.check_own_list();
        self.publish_again(now, rng);
        self.report_overdue(now);
        self.forget_old_sent(now);
        self.ask_for_lists();
        self.continue_sending(now);
        self.restart_groups(now);
    }

    /// Continues with everything that waits to be sent.
    fn continue_sending(&mut self, now: Timestamp) {
        let outbox: Vec<_> = self.outbox.keys().copied().collect();
        outbox.into_iter().for_each(|timestamp| self.advance(now, timestamp));
        self.ask_waiting();
        let wanting = self.groups.sent.wanting_accounts();
        for account in self.sent_log.wanting_accounts().into_iter().chain(wanting) {
            self.advance_resends(now, account, true);
        }
        self.dirty_outbox();
    }
}

/// Maximum pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_secs(300);
