//! A client whose store is a map, and which talks to people without a server.

#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeMap;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use wormhole_chat::{
    Address, Ciphertext, CiphertextKind, Client, ClientEvent, ClientInput, ClientOutput, Content,
    DataMessage, Delivery, DeviceId, Envelope, EnvelopeKind, PreKeyBundle, Publication, Request,
    RequestId, StoreKey, Timestamp, pad,
};
use zeroize::Zeroizing;

use crate::person::{Person, address};

pub(crate) type Rows = BTreeMap<StoreKey, Zeroizing<Vec<u8>>>;

/// A client, its rows, and the keys that it has published.
pub(crate) struct Bob {
    pub(crate) client: Client,
    pub(crate) rows: Rows,
    pub(crate) keys: Option<Publication>,
    pub(crate) now: Timestamp,
    pub(crate) rng: ChaCha20Rng,
    /// The texts and the errors of the messages that arrived.
    pub(crate) texts: Vec<String>,
    pub(crate) errors: usize,
    /// The rows that the last step has written.
    pub(crate) written: Vec<StoreKey>,
    /// The last request to send a message.
    pub(crate) sent: Option<RequestId>,
    /// The last messages to send.
    pub(crate) messages: Vec<Ciphertext>,
    /// The timestamp of each message that has arrived.
    times: BTreeMap<Vec<u8>, Timestamp>,
    /// What was sent to single devices.
    pub(crate) to_devices: Vec<(Address, EnvelopeKind, Timestamp)>,
    /// The last request for the keys of an account.
    pub(crate) asked: Option<RequestId>,
}

impl Bob {
    pub(crate) fn new() -> Self {
        let person = Person::new(2);
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let now = person.now;
        let client = Client::new(person.address, person.identity, now, &mut rng);
        let rows = Rows::new();
        let mut bob = Self {
            client,
            rows,
            keys: None,
            now,
            rng,
            texts: Vec::new(),
            errors: 0,
            written: Vec::new(),
            sent: None,
            messages: Vec::new(),
            times: BTreeMap::new(),
            to_devices: Vec::new(),
            asked: None,
        };
        bob.run();
        bob
    }

    /// Stores what the client wants to be stored.
    pub(crate) fn run(&mut self) {
        self.written.clear();
        while let Some(output) = self.client.poll() {
            match output {
                ClientOutput::Commit(id, changes) => {
                    for (key, value) in changes.rows {
                        self.written.push(key);
                        match value {
                            Some(value) => self.rows.insert(key, value),
                            None => self.rows.remove(&key),
                        };
                    }
                    self.client.handle(self.now, ClientInput::Committed(id), &mut self.rng);
                }
                ClientOutput::Request(_, Request::Publish(keys)) => self.keys = Some(*keys),
                ClientOutput::Request(id, Request::Send { messages, .. }) => {
                    self.sent = Some(id);
                    let sealed = messages.iter().map(|message| message.ciphertext.clone());
                    self.messages = sealed.collect();
                }
                ClientOutput::Request(id, Request::Bundles(_)) => self.asked = Some(id),
                ClientOutput::Request(_, Request::SendToDevice { to, kind, timestamp, .. }) => {
                    self.to_devices.push((to, kind, timestamp));
                }
                ClientOutput::Event(ClientEvent::Received(received)) => {
                    if let Content::Data(data) = received.content {
                        self.texts.push(data.body.unwrap_or_default());
                    }
                }
                ClientOutput::Event(ClientEvent::NotRead(..)) => self.errors += 1,
                ClientOutput::Event(_)
                | ClientOutput::Acknowledge(_)
                | ClientOutput::ReadAgain(..)
                | ClientOutput::Request(
                    _,
                    Request::AppendGroupEntry { .. }
                    | Request::Certificate
                    | Request::DeviceList
                    | Request::PublishDeviceList(_)
                    | Request::GroupEntries { .. }
                    | Request::SendGroup { .. },
                ) => {}
            }
        }
    }

    pub(crate) fn bundle(&self) -> PreKeyBundle {
        let keys = self.keys.as_ref().unwrap();
        PreKeyBundle {
            device: DeviceId::PRIMARY,
            registration_id: 2,
            identity: keys.identity,
            signed: keys.signed,
            one_time: None,
            kem: Some(keys.kem.clone()),
        }
    }

    pub(crate) fn read(&mut self, from: Address, sent: &Ciphertext) {
        let kind = match sent.kind {
            CiphertextKind::PreKey => EnvelopeKind::PreKeyBundle,
            CiphertextKind::Signal => EnvelopeKind::Ciphertext,
        };
        let next = Timestamp(self.now.0 + u64::try_from(self.times.len()).unwrap());
        let time = *self.times.entry(sent.bytes.clone()).or_insert(next);
        let mut envelope = Envelope::new(kind, time);
        envelope.source_account = Some(from.account);
        envelope.source_device = Some(from.device);
        envelope.content = Some(sent.bytes.clone());
        let input = ClientInput::Envelope(Delivery(1), Box::new(envelope));
        self.client.handle(self.now, input, &mut self.rng);
        self.run();
        let written = std::mem::take(&mut self.written);
        // Nobody sends again what could not be read.
        let later = Timestamp(self.now.0 + 60 * 60 * 1000);
        self.client.handle(later, ClientInput::Timeout, &mut self.rng);
        self.run();
        self.written = written;
    }

    /// The sizes of the rows for the sessions with an account.
    pub(crate) fn stored(&self, peer: Address) -> Vec<usize> {
        let of_peer = |key: &StoreKey| {
            let (StoreKey::Session(address) | StoreKey::ArchivedSession { address, .. }) = key
            else {
                return false;
            };
            address.account == peer.account
        };
        self.rows.iter().filter(|(key, _)| of_peer(key)).map(|(_, row)| row.len()).collect()
    }

    /// Publishes more one-time prekeys.
    pub(crate) fn refill(&mut self) {
        self.now.0 += 60 * 60 * 1000;
        self.client.keys_left(self.now, 0, &mut self.rng);
        self.run();
    }

    pub(crate) fn restart(&mut self) {
        let rows = self.rows.iter().map(|(key, value)| (*key, value.clone()));
        self.client = Client::restore(rows).unwrap();
    }

    /// The user knows this person.
    pub(crate) fn keep(&mut self, person: &Person) {
        let input = ClientInput::Keep(person.address.account);
        self.client.handle(self.now, input, &mut self.rng);
        self.run();
    }
}

/// Starts another session with Bob, and skips so many messages.
pub(crate) fn start(sender: &mut Person, bob: &Bob, skipped: usize) -> Ciphertext {
    start_with(sender, bob.bundle(), skipped)
}

pub(crate) fn start_with(sender: &mut Person, bundle: PreKeyBundle, skipped: usize) -> Ciphertext {
    let to = address(2);
    let bundle = bundle.verify().unwrap();
    let record = sender.sessions.entry(to).or_default();
    record.initiate(&sender.identity, &bundle, sender.now, &mut sender.rng).unwrap();
    for _ in 0..skipped {
        sender.write(to, b"skipped");
    }
    text(sender, "first")
}

pub(crate) fn text(sender: &mut Person, body: &str) -> Ciphertext {
    sender.write(address(2), &pad(&content(body).encode()))
}

/// A message with a text.
pub(crate) fn content(body: &str) -> Content {
    let mut data = DataMessage::default();
    data.body = Some(body.to_owned());
    Content::Data(Box::new(data))
}
