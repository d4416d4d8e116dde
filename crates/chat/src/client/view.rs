//! Queries of a client that do not change it.

use super::Client;
use super::outbox::{Lifetime, Outgoing};
use super::peer::Peer;
use crate::address::{AccountId, Address};
use crate::content::{Content, IdentitySync};
use crate::key::{KeyPair, PublicKey};
use crate::padding::unpad;
use crate::time::Timestamp;

/// The identity keys of another account.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KnownIdentity {
    /// The first key that we saw, or the one that the user has accepted.
    pub accepted: PublicKey,
    /// A different key that was seen since. Nothing is sent until the user accepts it.
    pub changed: Option<PublicKey>,
}

impl Client {
    /// Our own account and device.
    pub const fn address(&self) -> Address {
        self.us
    }

    /// Our own identity key.
    pub const fn identity(&self) -> &PublicKey {
        self.identity.pair.public()
    }

    /// Our own identity key pair.
    pub const fn identity_pair(&self) -> &KeyPair {
        &self.identity.pair
    }

    /// The identity keys of another account; `None` if we know none.
    pub fn identity_of(&self, account: AccountId) -> Option<KnownIdentity> {
        let peer = self.peers.get(&account)?;
        Some(KnownIdentity { accepted: peer.identity, changed: peer.changed })
    }

    /// The identity keys of another account that the user has refused, the latest first. One of them can still be accepted.
    pub fn refused_identities(&self, account: AccountId) -> Vec<PublicKey> {
        self.peers.get(&account).into_iter().flat_map(Peer::refused).copied().collect()
    }

    /// The user's decisions about the identity keys of other accounts, made here or on another device.
    pub fn identity_decisions(&self) -> impl Iterator<Item = IdentitySync> {
        self.peers.iter().flat_map(|(account, peer)| peer.decisions(*account))
    }

    /// The user's decision about an identity key of an account.
    pub fn identity_decision(&self, account: AccountId, key: &PublicKey) -> Option<IdentitySync> {
        self.peers.get(&account)?.decisions(account).find(|decision| decision.key == *key)
    }

    /// The accounts whose identity key has changed, and waits to be accepted or refused.
    pub fn identity_changes(&self) -> impl Iterator<Item = (AccountId, KnownIdentity)> {
        let changed = self.peers.iter().filter(|(_, peer)| peer.changed.is_some());
        changed.map(|(account, peer)| {
            (*account, KnownIdentity { accepted: peer.identity, changed: peer.changed })
        })
    }

    /// The messages that the server has not accepted yet, and their recipients, in the order in which they were written. Without
    /// those for our other devices ([`Client::waiting_syncs`]), and without volatile ones.
    pub fn outbox(&self) -> impl Iterator<Item = (Timestamp, AccountId)> {
        let is_listed = |it: &Outgoing| it.lifetime == Lifetime::Durable && !self.is_background(it);
        let messages = self.outbox.iter().filter(move |(_, outgoing)| is_listed(outgoing));
        messages.map(|(timestamp, outgoing)| (*timestamp, outgoing.to))
    }

    /// Whether we have exchanged messages with an account and the user knows it, because of writing to it or naming it.
    pub fn knows(&self, account: AccountId) -> bool {
        self.peers.contains_key(&account) && !self.is_stranger(account)
    }

    /// The accounts that the user knows, see [`Self::knows`].
    pub fn known_accounts(&self) -> impl Iterator<Item = AccountId> {
        let others = self.peers.keys().copied().filter(|account| *account != self.us.account);
        others.filter(|account| self.knows(*account))
    }

    /// Whether we can write to other devices of our own account. They are found when a message of ours is sent, or one of theirs
    /// arrives.
    pub fn has_other_devices(&self) -> bool {
        !self.devices(self.us.account).is_empty()
    }

    /// Number of devices of an account that we can write to. They are found when a message is sent to the account, or one arrives.
    pub fn device_count(&self, account: AccountId) -> usize {
        self.devices(account).len()
    }

    /// Whether a message in the outbox is encrypted. Then it may have been sent, perhaps before a crash.
    pub fn is_encrypted(&self, message: Timestamp) -> bool {
        self.outbox.get(&message).is_some_and(|outgoing| outgoing.ciphertexts.is_some())
            || self.is_group_message_encrypted(message)
    }

    /// The contents of a message in the outbox. `None` if there is no such message.
    pub fn outbox_content(&self, message: Timestamp) -> Option<Content> {
        let outgoing = self.outbox.get(&message)?;
        Content::decode_stored(unpad(&outgoing.plaintext)?).ok()
    }

    /// Whether prekeys of ours may not be at the server yet. While that is so, its count of them means nothing.
    pub const fn is_publishing(&self) -> bool {
        self.prekeys.confirmed.is_some()
    }
}
