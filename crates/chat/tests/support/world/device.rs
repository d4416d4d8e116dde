//! A device of a simulated world: its client, its store, and everything that its application has seen.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use wormhole_chat::{
    AccountId, Address, Client, ClientEvent, ClientInput, ClientOutput, Content, IdentitySync,
    KnownIdentity, PublicKey, Received, StoreKey, Timestamp,
};
use zeroize::Zeroizing;

/// A device with its storage.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) address: Address,
    pub(crate) client: Client,
    /// The durable rows.
    pub(super) store: BTreeMap<StoreKey, Zeroizing<Vec<u8>>>,
    pub(crate) inbox: Vec<Received>,
    /// Inputs in transit to the client.
    pub(super) inputs: VecDeque<ClientInput>,
    pub(crate) accepted: BTreeMap<Timestamp, (AccountId, String)>,
    /// Messages that were cancelled: they may have been sent before.
    pub(crate) cancelled: BTreeSet<Timestamp>,
    /// Texts that the client received, which may or may not be durable.
    pub(super) tried: VecDeque<String>,
    pub(crate) events: Vec<ClientEvent>,
}

impl Device {
    pub(super) fn apply(&mut self, changes: wormhole_chat::Changes) {
        for (key, value) in changes.rows {
            match value {
                Some(value) => {
                    self.store.insert(key, value);
                }
                None => {
                    self.store.remove(&key);
                }
            }
        }
        self.inbox.extend(changes.received);
    }

    pub(super) fn tell(&mut self, event: ClientEvent) {
        if let ClientEvent::Accepted(timestamp, to) = &event
            && let Some(text) = self.tried.pop_front()
        {
            self.accepted.insert(*timestamp, (*to, text));
        }
        self.events.push(event);
    }

    pub(crate) fn outbox_len(&self) -> usize {
        self.client.outbox_len()
    }

    /// Number of messages of the user in the outbox.
    pub(crate) fn waiting(&self) -> usize {
        self.client.outbox().count()
    }

    /// Bytes of the user's messages in the outbox.
    #[allow(dead_code, reason = "not every test uses it")]
    pub(crate) fn outbox_bytes(&self) -> usize {
        self.client.outbox_bytes().map(|(_, bytes)| bytes).sum()
    }

    pub(crate) fn poll(&mut self) -> Option<ClientOutput> {
        self.client.poll()
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        let visible = self.inbox.iter().filter(|received| received.content.is_visible());
        let bodies = visible.map(|received| match &received.content {
            Content::Data(data) => data.body.clone().unwrap(),
            other => panic!("{other:?}"),
        });
        bodies.collect()
    }

    pub(crate) fn identity_of(&self, account: AccountId) -> Option<KnownIdentity> {
        self.client.identity_of(account)
    }

    /// What the user has decided about a key of an account, as far as this device knows.
    #[allow(dead_code, reason = "only some tests use it")]
    pub(crate) fn identity_decision(
        &self,
        account: AccountId,
        key: &PublicKey,
    ) -> Option<IdentitySync> {
        self.client.identity_decision(account, key)
    }

    /// The keys of an account that the user has refused.
    #[allow(dead_code, reason = "only some tests use it")]
    pub(crate) fn refused(&self, account: AccountId) -> Vec<PublicKey> {
        self.client.refused_identities(account)
    }

    /// The durable rows.
    pub(crate) fn rows(&self) -> &BTreeMap<StoreKey, Zeroizing<Vec<u8>>> {
        &self.store
    }
}
