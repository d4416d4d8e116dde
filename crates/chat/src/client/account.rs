//! Our own prekeys: creating, publishing, using and replacing them (X3DH §4.5, §4.6).

use std::collections::{BTreeMap, BTreeSet};

use rand_core::CryptoRngCore;

use super::exchange::{Publication, Request, Response};
use super::store::{Changes, StoreKey};
use super::{Client, PendingRequest};
use crate::address::Address;
use crate::key::{KeyPair, PublicKey};
use crate::message::PreKeySignalMessage;
use crate::prekey::{KemPreKey, OneTimePreKey, SignedPreKey};
use crate::record::{Identity, ReferencedPreKeys, UsedPreKeys};
use crate::time::{DAY, Timestamp};

/// Our prekeys, including the private keys.
#[derive(Debug, Default)]
pub(super) struct PreKeys {
    pub(super) one_time: BTreeMap<u32, OneTimePreKey>,
    pub(super) signed: BTreeMap<u32, SignedPreKey>,
    pub(super) kem: BTreeMap<u32, KemPreKey>,
    /// Sessions that started without a one-time prekey, to reject replays.
    pub(super) sessions_without_one_time_prekey: BTreeSet<(u32, Option<u32>, PublicKey)>,
    /// Whether the server may not have the newest keys.
    pub(super) unpublished: bool,
}

impl PreKeys {
    /// The keys that a first message refers to.
    pub(super) fn named(&self, message: &PreKeySignalMessage) -> ReferencedPreKeys<'_> {
        ReferencedPreKeys {
            signed: self.signed.get(&message.signed_pre_key_id()),
            one_time: message.pre_key_id().and_then(|id| self.one_time.get(&id)),
            kem: message.kem_pre_key_id().and_then(|id| self.kem.get(&id)),
        }
    }

    /// Deletes the used one-time prekey, or remembers the session if none was used. Returns `None` and
    /// changes nothing if the same message already started a session.
    pub(super) fn record_use(&mut self, used: &UsedPreKeys, changes: &mut Changes) -> Option<()> {
        if let Some(id) = used.one_time {
            self.one_time.remove(&id);
            changes.delete(StoreKey::OneTimePreKey(id));
            return Some(());
        }
        let session = (used.signed, used.kem, used.base_key);
        if self.sessions_without_one_time_prekey.contains(&session) {
            return None;
        }
        if self.sessions_without_one_time_prekey.len() >= MAX_SESSIONS_WITHOUT_ONE_TIME_PREKEY
            && let Some((signed, kem, base_key)) = self.sessions_without_one_time_prekey.pop_first()
        {
            changes.delete(StoreKey::SessionWithoutOneTimePreKey { signed, kem, base_key });
        }
        self.sessions_without_one_time_prekey.insert(session);
        let (signed, kem, base_key) = session;
        changes.put(StoreKey::SessionWithoutOneTimePreKey { signed, kem, base_key }, Vec::new());
        Some(())
    }

    /// Creates new keys: signed and last-resort keys if the newest are old, and one-time keys.
    fn renew(
        &mut self,
        identity: &KeyPair,
        now: Timestamp,
        changes: &mut Changes,
        rng: &mut impl CryptoRngCore,
    ) {
        let newest = self.signed.last_key_value();
        if newest.is_none_or(|(_, key)| now.since(key.created) >= ROTATION) {
            let id = next(self.signed.last_key_value().map(|(id, _)| *id));
            let key = SignedPreKey::random(id, identity, now, rng);
            changes.put_signed(&key);
            self.signed.insert(id, key);
            let id = next(self.kem.last_key_value().map(|(id, _)| *id));
            let key = KemPreKey::random(id, true, identity, now, rng);
            changes.put_kem(&key);
            self.kem.insert(id, key);
            self.expire(now, changes);
        }
        for _ in 0..BATCH {
            let id = next(self.one_time.last_key_value().map(|(id, _)| *id));
            let key = OneTimePreKey { id, pair: KeyPair::random(rng) };
            changes.put_one_time(&key);
            self.one_time.insert(id, key);
        }
        while self.one_time.len() > MAX_ONE_TIME
            && let Some((id, _)) = self.one_time.pop_first()
        {
            changes.delete(StoreKey::OneTimePreKey(id));
        }
        self.unpublished = true;
        changes.put(StoreKey::Unpublished, Vec::new());
    }

    /// Deletes signed keys that no message in transit can use any more, but never the newest.
    fn expire(&mut self, now: Timestamp, changes: &mut Changes) {
        let newest = self.signed.last_key_value().map(|(id, _)| *id);
        self.signed.retain(|id, key| {
            let keep = Some(*id) == newest || now.since(key.created) < LIFETIME;
            if !keep {
                changes.delete(StoreKey::SignedPreKey(*id));
            }
            keep
        });
        let newest = self.kem.last_key_value().map(|(id, _)| *id);
        self.kem.retain(|id, key| {
            let keep = Some(*id) == newest || now.since(key.created) < LIFETIME;
            if !keep {
                changes.delete(StoreKey::KemPreKey(*id));
            }
            keep
        });
        let signed = &self.signed;
        self.sessions_without_one_time_prekey.retain(|(id, kem, base_key)| {
            let keep = signed.contains_key(id);
            if !keep {
                let (signed, kem, base_key) = (*id, *kem, *base_key);
                changes.delete(StoreKey::SessionWithoutOneTimePreKey { signed, kem, base_key });
            }
            keep
        });
    }

    fn publication(&self, identity: &PublicKey) -> Option<Publication> {
        let (_, signed) = self.signed.last_key_value()?;
        let (_, kem) = self.kem.last_key_value()?;
        let newest = self.one_time.values().rev().take(BATCH);
        Some(Publication {
            identity: *identity,
            signed: (signed.id, *signed.pair.public(), signed.signature),
            one_time: newest.map(|key| (key.id, *key.pair.public())).collect(),
            kem: (kem.id, kem.pair.public().clone(), kem.signature),
        })
    }
}

impl Client {
    /// Creates a newly registered device. It commits its state and publishes its first keys.
    pub fn new(
        us: Address,
        identity: Identity,
        now: Timestamp,
        rng: &mut impl CryptoRngCore,
    ) -> Self {
        let mut client = Self::empty(us, identity);
        let mut changes = Changes::default();
        changes.put_account(us, &client.identity);
        client.renew_keys(now, changes, rng);
        client
    }

    /// Reports how many one-time prekeys the server has left. Creates more when few are left, and
    /// replaces the signed prekey when it is old. Call this at least once a day.
    pub fn keys_left(&mut self, now: Timestamp, count: usize, rng: &mut impl CryptoRngCore) {
        let newest = self.prekeys.signed.last_key_value();
        let is_old = newest.is_none_or(|(_, key)| now.since(key.created) >= ROTATION);
        if count < REFILL_BELOW || is_old {
            self.renew_keys(now, Changes::default(), rng);
        }
    }

    fn renew_keys(&mut self, now: Timestamp, mut changes: Changes, rng: &mut impl CryptoRngCore) {
        self.prekeys.renew(&self.identity.pair, now, &mut changes, rng);
        self.commit(changes, Vec::new());
        if let Some(keys) = self.prekeys.publication(self.identity.pair.public()) {
            let request = self.request(PendingRequest::Publish, Request::Publish(Box::new(keys)));
            self.after_commits(vec![request]);
        }
    }

    /// Publishes keys again if the server may not have the newest. Creates new ones: if the server
    /// did receive the previous ones, it may have handed some out, and would hand them out twice.
    pub(super) fn publish_again(&mut self, now: Timestamp, rng: &mut impl CryptoRngCore) {
        if self.prekeys.unpublished {
            self.renew_keys(now, Changes::default(), rng);
        }
    }

    pub(super) fn handle_publish_response(&mut self, response: &Response) {
        if *response == Response::Done
            && !self.pending.values().any(|pending| *pending == PendingRequest::Publish)
        {
            self.prekeys.unpublished = false;
            let mut changes = Changes::default();
            changes.delete(StoreKey::Unpublished);
            self.commit(changes, Vec::new());
        }
    }
}

/// The id after the greatest id in use.
fn next(greatest: Option<u32>) -> u32 {
    greatest.map_or(1, |id| if id >= MAX_ID { 1 } else { id + 1 })
}

/// Number of one-time prekeys created and published at once.
const BATCH: usize = 100;

/// With fewer one-time prekeys than this at the server, we publish more.
const REFILL_BELOW: usize = 20;

/// Maximum number of one-time prekeys kept. The server has the newest.
const MAX_ONE_TIME: usize = 2000;

/// Maximum number of remembered sessions that started without a one-time prekey.
const MAX_SESSIONS_WITHOUT_ONE_TIME_PREKEY: usize = 50_000;

/// The greatest prekey id: ids have 24 bits, and 0xffffff is the last-resort key of
/// clients of 2014.
const MAX_ID: u32 = 0xff_fffe;

/// Milliseconds after which the signed prekey is replaced.
const ROTATION: u64 = 7 * DAY;

/// Milliseconds for which a replaced signed prekey can still be used.
const LIFETIME: u64 = 37 * DAY;
