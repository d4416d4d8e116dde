//! One device of a person: sends, receives, and keeps everything that must survive durable before
//! anything depends on it.
//!
//! It knows no socket and no HTTP: it asks for [`Request`]s, which the service's interface maps to
//! paths.
//!
//! It has the verbs of a [`Session`](wormhole_kit::Session) and its rule that nothing depends on
//! changes before they are committed, but not its inputs and outputs, for two reasons. A request and
//! its answer are not bytes of a link: the driver may send two requests on different connections.
//! And each step needs the wall clock and randomness, which a `Session` does not get.
//!
//! | input | output | next |
//! |---|---|---|
//! | `Send` | `Commit` (the text is in the outbox) | on `Committed`: `Accepted`; sealed or asking for keys |
//! | keys arrive | `Commit` (sessions and ciphertexts) | on `Committed`: `Request::Send` |
//! | the server took it | `Commit` (out of the outbox) | on `Committed`: `Sent` |
//! | other devices than we knew | `Commit` or `Request::Bundles` | sealed anew, five times at most |
//! | no answer | | the same request again, later |
//! | an envelope | `Commit` (session, prekeys, content) | on `Committed`: `Acknowledge`, `Received` |
//! | an envelope that was read before, or cannot be read | `Acknowledge` | |
//! | `AcceptIdentity` | `Commit` | what was blocked goes on |
//!
//! After a crash, [`Client::restore`] goes on from what was committed: a ciphertext that may have
//! been sent is sent again as it is, so that no key is used twice, and the server knows it by its
//! timestamp.

mod account;
mod exchange;
mod inbox;
mod outbox;
mod store;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand_core::CryptoRngCore;

use crate::address::{AccountId, Address};
use crate::content::Content;
use crate::envelope::Envelope;
use crate::key::PublicKey;
use crate::record::{Identity, SessionRecord};
use crate::time::Timestamp;
use account::PreKeys;
use outbox::Outgoing;
use store::Peer;

pub use exchange::{Publication, Request, RequestId, Response, SealedMessage};
pub use store::{Changes, RestoreError, StoreKey};

/// One device of a person.
#[derive(Debug)]
pub struct Client {
    us: Address,
    identity: Identity,
    prekeys: PreKeys,
    peers: BTreeMap<AccountId, Peer>,
    sessions: BTreeMap<Address, SessionRecord>,
    /// By timestamp, which names a message.
    outbox: BTreeMap<Timestamp, Outgoing>,
    /// The timestamp of the last message that was written. No two are the same.
    last_written: Timestamp,
    /// What each unanswered request was about.
    asked: BTreeMap<RequestId, Asked>,
    last_request: u64,
    last_commit: u64,
    /// What waits for commits, in their order.
    held: VecDeque<(CommitId, Vec<ClientOutput>)>,
    outputs: VecDeque<ClientOutput>,
}

/// Names a commit of one client. Later ones are greater.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CommitId(u64);

/// Names a delivered envelope for its acknowledgement; the driver chooses it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Delivery(pub u64);

/// What happens to a client.
#[derive(Debug)]
pub enum ClientInput {
    /// Send content to every device of an account.
    Send(AccountId, Content),
    /// The person accepts this identity key for an account.
    AcceptIdentity(AccountId, PublicKey),
    /// These changes, and all before them, are durable.
    Committed(CommitId),
    /// The server handed out an envelope.
    Envelope(Delivery, Box<Envelope>),
    /// The answer to a request.
    Response(RequestId, Response),
    /// Asks again for everything that has no answer: the connection is new.
    Connected,
}

/// Outputs of a client, in this order.
#[derive(Clone, Debug)]
pub enum ClientOutput {
    /// Make these changes durable, all or none, in the order of their ids; then say
    /// [`ClientInput::Committed`]. If that fails, drop the client and restore it.
    Commit(CommitId, Changes),
    /// Ask the server.
    Request(RequestId, Request),
    /// Tell the server that an envelope is done with.
    Acknowledge(Delivery),
    /// Tell the application.
    Event(ClientEvent),
}

/// Events for the application.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ClientEvent {
    /// A message is in the outbox, under this timestamp, and will not be lost.
    Accepted(Timestamp, AccountId),
    /// Nothing is sent to the account before the person has accepted the new identity key.
    IdentityChanged(AccountId, PublicKey),
    /// A message cannot be sent.
    NotSent(Timestamp, SendError),
    /// An envelope could not be read, and is lost.
    NotRead(Option<Address>, ReadError),
    /// A message arrived. It is among the committed changes.
    Received(Received),
    /// The server has accepted a message for all devices.
    Sent(Timestamp),
}

/// A message that arrived.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Received {
    /// The device that sent it.
    pub from: Address,
    /// When it was sent; together with the sender this names it.
    pub timestamp: Timestamp,
    /// What it says.
    pub content: Content,
    /// Whether the sender has another identity key than the one that was accepted.
    pub identity_changed: bool,
}

/// Why a message cannot be sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SendError {
    /// The server's list of devices kept changing.
    #[error("the recipient's devices keep changing")]
    DevicesKeepChanging,
    /// The account is gone, or has no device that can be written to.
    #[error("the recipient has no device")]
    NoDevice,
    /// The server returned invalid keys: an attack, or a broken client.
    #[error("the recipient's keys are not genuine")]
    NotGenuine,
    /// The message is too long.
    #[error("the message is too long")]
    TooLong,
}

/// Why an envelope was not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReadError {
    /// It is not encrypted for us, or was changed.
    #[error(transparent)]
    Decrypt(#[from] crate::session::DecryptError),
    /// What was inside of it makes no sense.
    #[error("the message makes no sense")]
    Malformed,
    /// Its envelope contains another time than the message itself.
    #[error("the server gave the message another time")]
    Misdated,
    /// It is of a kind that this program does not read.
    #[error("the message is of a kind that is not supported")]
    Unsupported,
}

/// What an unanswered request was about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Asked {
    Bundles(AccountId),
    Send(Timestamp),
    Publish,
}

impl Client {
    /// Takes one input in at time `now`.
    pub fn handle(&mut self, now: Timestamp, input: ClientInput, rng: &mut impl CryptoRngCore) {
        match input {
            ClientInput::Send(to, content) => self.send(now, to, &content),
            ClientInput::AcceptIdentity(account, identity) => {
                self.accept_identity(now, account, identity);
            }
            ClientInput::Committed(id) => self.release(id),
            ClientInput::Envelope(delivery, envelope) => self.read(delivery, &envelope, rng),
            ClientInput::Response(id, response) => self.answered(now, id, response, rng),
            ClientInput::Connected => self.ask_again(now, rng),
        }
    }

    /// Hands out the next thing to do.
    pub fn poll(&mut self) -> Option<ClientOutput> {
        self.outputs.pop_front()
    }

    /// How many messages are in the outbox. Whoever has too many should wait.
    pub fn outbox_len(&self) -> usize {
        self.outbox.len()
    }

    /// How long to wait before saying [`ClientInput::Connected`] again after the server did not
    /// answer for the `attempt`th time.
    pub fn pause(attempt: u32) -> Duration {
        MAX_PAUSE.min(Duration::from_secs(1).saturating_mul(2_u32.saturating_pow(attempt)))
    }

    /// Asks for changes to be made durable, and holds back what depends on them.
    fn commit(&mut self, changes: Changes, then: Vec<ClientOutput>) {
        if changes.is_empty() {
            return self.after_commits(then);
        }
        self.last_commit += 1;
        let id = CommitId(self.last_commit);
        self.held.push_back((id, then));
        self.outputs.push_back(ClientOutput::Commit(id, changes));
    }

    /// Holds outputs back until everything that changed so far is durable.
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

    /// A request that is remembered until it is answered.
    fn request(&mut self, asked: Asked, request: Request) -> ClientOutput {
        self.last_request += 1;
        let id = RequestId(self.last_request);
        self.asked.insert(id, asked);
        ClientOutput::Request(id, request)
    }

    fn event(&mut self, event: ClientEvent) {
        self.outputs.push_back(ClientOutput::Event(event));
    }

    fn answered(
        &mut self,
        now: Timestamp,
        id: RequestId,
        response: Response,
        rng: &mut impl CryptoRngCore,
    ) {
        // An answer to something that was asked again since, or before a crash, changes nothing.
        match (self.asked.remove(&id), response) {
            (None, _) | (_, Response::Unavailable) => {}
            (Some(Asked::Bundles(account)), response) => {
                self.bundles_answered(now, account, response, rng);
            }
            (Some(Asked::Send(timestamp)), response) => {
                self.send_answered(now, timestamp, response);
            }
            (Some(Asked::Publish), response) => self.publish_answered(&response),
        }
    }

    fn ask_again(&mut self, now: Timestamp, rng: &mut impl CryptoRngCore) {
        self.asked.clear();
        self.publish_again(now, rng);
        let outbox: Vec<_> = self.outbox.keys().copied().collect();
        outbox.into_iter().for_each(|timestamp| self.go_on(now, timestamp));
    }
}

/// The longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_secs(300);
