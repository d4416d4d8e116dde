//! Our own prekeys: creating, publishing, using and replacing them (X3DH §4.5, §4.6).

use std::collections::BTreeMap;

use rand_core::CryptoRngCore;

use super::Client;
use super::exchange::{Publication, Request, Response};
use super::pending::Purpose;
use super::replays::RememberedSessions;
use super::store::{Changes, StoreKey};
use crate::address::{AccountId, Address};
use crate::key::{KeyPair, PublicKey};
use crate::message::PreKeySignalMessage;
use crate::prekey::{KemPreKey, OneTimePreKey, SignedPreKey};
use crate::record::{Identity, ReferencedPreKeys, UsedPreKeys};
use crate::session::DecryptError;
use crate::time::{DAY, Timestamp};

/// Our prekeys, including the private keys.
#[derive(Debug, Default)]
pub(super) struct PreKeys {
    pub(super) one_time: BTreeMap<u32, OneTimePreKey>,
    pub(super) signed: BTreeMap<u32, SignedPreKey>,
    pub(super) kem: BTreeMap<u32, KemPreKey>,
    /// Sessions that started without a one-time prekey, by signed prekey. They are kept as long as that.
    pub(super) sessions_without_one_time_prekey: BTreeMap<u32, RememberedSessions>,
    /// The keys that the server is known to have, if it may not have the newest.
    pub(super) confirmed: Option<Confirmed>,
    /// When keys were made last, since the program was started.
    renewed: Option<Timestamp>,
    /// Whether the signed prekey must be replaced, although it is not old.
    must_rotate: bool,
}

/// The greatest ids of the last publication that the server confirmed; 0 if there was none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Confirmed {
    pub(super) one_time: u32,
    pub(super) signed: u32,
    pub(super) kem: u32,
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

    /// Deletes the used one-time prekey, or remembers the session if none was used.
    ///
    /// # Errors
    /// The same message already started a session, or there are too many to remember. Nothing has changed.
    pub(super) fn record_use(
        &mut self,
        account: AccountId,
        used: &UsedPreKeys,
        changes: &mut Changes,
    ) -> Result<(), DecryptError> {
        if let Some(id) = used.one_time {
            self.one_time.remove(&id);
            changes.delete(StoreKey::OneTimePreKey(id));
            return Ok(());
        }
        let (signed, kem, base_key) = (used.signed, used.kem, used.base_key);
        let has_room = self.can_remember_sessions();
        let sessions = self.sessions_without_one_time_prekey.entry(signed).or_default();
        if sessions.contains(&(kem, base_key)) {
            return Err(DecryptError::Duplicate);
        }
        if !has_room || !sessions.has_room(account) {
            return Err(DecryptError::TooManySessions);
        }
        sessions.insert((kem, base_key), Some(account));
        let key = StoreKey::SessionWithoutOneTimePreKey { signed, kem, base_key };
        changes.put(key, account.as_bytes().to_vec());
        Ok(())
    }

    /// Whether the sessions that started with all signed prekeys leave room for more.
    fn can_remember_sessions(&self) -> bool {
        let sessions = self.sessions_without_one_time_prekey.values();
        sessions.map(RememberedSessions::len).sum::<usize>() < MAX_REMEMBERED
    }

    /// Creates new keys: signed and last-resort keys if the newest are old, and one-time keys, unless too many are
    /// unconfirmed already. Keys that the server may still hand out stay.
    fn renew(
        &mut self,
        identity: &KeyPair,
        now: Timestamp,
        changes: &mut Changes,
        rng: &mut impl CryptoRngCore,
    ) {
        let confirmed = self.confirmed.unwrap_or_else(|| self.newest());
        self.confirmed = Some(confirmed);
        self.renewed = Some(now);
        if (self.are_old(now) || self.must_rotate)
            && let (Some(signed), Some(kem)) = (next(&self.signed), next(&self.kem))
        {
            let key = SignedPreKey::random(signed, identity, now, rng);
            changes.put_signed(&key);
            self.signed.insert(signed, key);
            let key = KemPreKey::random(kem, true, identity, now, rng);
            changes.put_kem(&key);
            self.kem.insert(kem, key);
            self.expire(now, confirmed, changes);
            self.must_rotate = false;
        }
        let unconfirmed = self.one_time.range(confirmed.one_time.saturating_add(1)..).count();
        let room = if unconfirmed < MAX_UNCONFIRMED { BATCH } else { 0 };
        for _ in 0..room {
            let Some(id) = next(&self.one_time) else { break };
            let key = OneTimePreKey { id, pair: KeyPair::random(rng) };
            changes.put_one_time(&key);
            self.one_time.insert(id, key);
        }
        self.delete_oldest_one_time(confirmed, changes);
        changes.put_confirmed(confirmed);
    }

    /// Whether the signed prekey must be replaced: it is old, or few more sessions that start with it can be remembered. A
    /// key from the future was made while the clock was wrong.
    fn are_old(&self, now: Timestamp) -> bool {
        self.signed.last_key_value().is_none_or(|(id, key)| {
            let sessions = self.sessions_without_one_time_prekey.get(id);
            let is_filling = sessions.is_some_and(RememberedSessions::is_filling);
            let is_early = is_filling && self.can_remember_sessions();
            let limit = if is_early { REFILL_PAUSE } else { ROTATION };
            now.since(key.created) >= limit || key.created.since(now) >= DAY
        })
    }

    /// Whether new one-time keys may be made because the server has few. Without a pause, the server could make us
    /// replace all keys again and again.
    pub(super) fn may_refill(&self, now: Timestamp) -> bool {
        self.renewed.is_none_or(|last| now < last || now.since(last) >= REFILL_PAUSE)
    }

    /// The next keys include new signed ones.
    pub(super) const fn discard_signed(&mut self) {
        self.must_rotate = true;
    }

    /// The greatest ids.
    fn newest(&self) -> Confirmed {
        Confirmed {
            one_time: self.one_time.last_key_value().map_or(0, |(id, _)| *id),
            signed: self.signed.last_key_value().map_or(0, |(id, _)| *id),
            kem: self.kem.last_key_value().map_or(0, |(id, _)| *id),
        }
    }

    /// Deletes the oldest one-time keys above the maximum, but none of the last confirmed publication or a later one.
    fn delete_oldest_one_time(&mut self, confirmed: Confirmed, changes: &mut Changes) {
        let published = confirmed.one_time.saturating_sub(BATCH_IDS);
        while self.one_time.len() > MAX_ONE_TIME
            && let Some(oldest) = self.one_time.first_entry()
            && *oldest.key() <= published
        {
            let (id, _) = oldest.remove_entry();
            changes.delete(StoreKey::OneTimePreKey(id));
        }
    }

    /// Deletes signed keys that no message in transit can use any more: those that were replaced long ago, but never
    /// the newest that the server is known to have.
    fn expire(&mut self, now: Timestamp, confirmed: Confirmed, changes: &mut Changes) {
        let created = self.signed.iter().map(|(id, key)| (*id, key.created));
        for id in replaced(created, now).filter(|id| *id < confirmed.signed).collect::<Vec<_>>() {
            self.signed.remove(&id);
            changes.delete(StoreKey::SignedPreKey(id));
            let sessions = self.sessions_without_one_time_prekey.remove(&id).unwrap_or_default();
            for (kem, base_key) in sessions.into_names() {
                let signed = id;
                changes.delete(StoreKey::SessionWithoutOneTimePreKey { signed, kem, base_key });
            }
        }
        let created = self.kem.iter().map(|(id, key)| (*id, key.created));
        for id in replaced(created, now).filter(|id| *id < confirmed.kem).collect::<Vec<_>>() {
            self.kem.remove(&id);
            changes.delete(StoreKey::KemPreKey(id));
        }
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
        // Messages that this device has sent before it was installed again are older.
        client.last_written = now;
        changes.put_last_written(now);
        client.renew_keys(now, changes, rng);
        client
    }

    /// Reports how many one-time prekeys the server has left. Creates more when few are left, at most once per hour, and
    /// replaces the signed prekey when it is old or many sessions have started with it. Call this at least once a day.
    pub fn keys_left(&mut self, now: Timestamp, count: usize, rng: &mut impl CryptoRngCore) {
        let has_few = count < REFILL_BELOW && self.prekeys.may_refill(now);
        if has_few || self.prekeys.are_old(now) {
            self.renew_keys(now, Changes::default(), rng);
        }
    }

    pub(super) fn renew_keys(
        &mut self,
        now: Timestamp,
        mut changes: Changes,
        rng: &mut impl CryptoRngCore,
    ) {
        self.prekeys.renew(&self.identity.pair, now, &mut changes, rng);
        self.commit(changes, Vec::new());
        // Clients that get the keys must find this device in the list.
        if self.is_listed() {
            self.publish_keys();
        }
    }

    /// Publishes the keys that have waited until this device was in the list of our devices.
    pub(super) fn publish_waiting_keys(&mut self) {
        if self.prekeys.confirmed.is_some() && !self.pending.has(Purpose::Publish) {
            self.publish_keys();
        }
    }

    fn publish_keys(&mut self) {
        if let Some(keys) = self.prekeys.publication(self.identity.pair.public()) {
            let request = self.request(Purpose::Publish, Request::Publish(Box::new(keys)));
            self.after_commits(vec![request]);
        }
    }

    /// Publishes keys again if the server may not have the newest. Creates new ones a few times: if the server
    /// did receive the previous ones, it may have handed some out, and would hand them out twice.
    pub(super) fn publish_again(&mut self, now: Timestamp, rng: &mut impl CryptoRngCore) {
        if self.prekeys.confirmed.is_some() {
            self.renew_keys(now, Changes::default(), rng);
        }
    }

    pub(super) fn handle_publish_response(&mut self, response: &Response) {
        if *response == Response::Done && !self.pending.has(Purpose::Publish) {
            self.prekeys.confirmed = None;
            let mut changes = Changes::default();
            changes.delete(StoreKey::Unpublished);
            self.commit(changes, Vec::new());
            self.ask_waiting();
        }
    }
}

/// The ids of keys that were replaced long ago. A key is in use until it has a successor, however long that takes. The newest
/// keys are never among them: if the clock is wrong for a moment, it must not delete keys that are in use.
fn replaced(
    created: impl DoubleEndedIterator<Item = (u32, Timestamp)>,
    now: Timestamp,
) -> impl Iterator<Item = u32> {
    // From the newest to the oldest. A successor that was made while the clock was ahead does not count.
    let ids = created.rev().scan(None, |earliest: &mut Option<Timestamp>, (id, created)| {
        let replaced = *earliest;
        *earliest = Some(replaced.map_or(created, |at| at.min(created)));
        Some((id, replaced))
    });
    let is_over = move |at: Option<Timestamp>| at.is_some_and(|at| now.since(at) >= LIFETIME);
    ids.skip(MIN_KEPT).filter(move |(_, replaced)| is_over(*replaced)).map(|(id, _)| id)
}

/// The id after the greatest one. `None`: there are no more ids. It would take decades to use them all.
fn next<T>(keys: &BTreeMap<u32, T>) -> Option<u32> {
    let greatest = keys.last_key_value().map_or(0, |(id, _)| *id);
    (greatest < MAX_ID).then(|| greatest + 1)
}

/// Number of one-time prekeys created and published at once.
const BATCH: usize = 100;

/// The same limit, as a number for computing with ids.
const BATCH_IDS: u32 = 100;

/// With this many unconfirmed one-time prekeys, the newest are published again instead of new ones.
const MAX_UNCONFIRMED: usize = 1000;

/// With fewer one-time prekeys than this at the server, we publish more.
const REFILL_BELOW: usize = 20;

/// Milliseconds between two times that more one-time prekeys are made because the server has few, or that the signed prekey
/// is replaced before it is old.
const REFILL_PAUSE: u64 = DAY / 24;

/// Number of signed prekeys that are always kept. With one per week, 7 are in use, and a wrong clock adds one.
const MIN_KEPT: usize = 8;

/// Maximum number of one-time prekeys kept, except those that the server may still hand out.
const MAX_ONE_TIME: usize = 2000;

/// Maximum number of remembered sessions that started without a one-time prekey, with all signed prekeys.
const MAX_REMEMBERED: usize = 160_000;

/// The greatest prekey id: ids have 24 bits, and 0xffffff is the last-resort key of
/// clients of 2014.
const MAX_ID: u32 = 0xff_fffe;

/// Milliseconds after which the signed prekey is replaced.
const ROTATION: u64 = 7 * DAY;

/// Milliseconds for which a replaced signed prekey can still be used.
const LIFETIME: u64 = 37 * DAY;

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::address::DeviceId;

    #[test]
    fn attack_3_no_remembered_session_is_forgotten_in_favour_of_others() {
        let mut prekeys = PreKeys::default();
        let mut changes = Changes::default();
        for number in 0..20_000 {
            assert_eq!(use_without_one_time(&mut prekeys, number, 1, &mut changes), Ok(()));
        }
        let full = Err(DecryptError::TooManySessions);
        assert_eq!(use_without_one_time(&mut prekeys, 20_000, 1, &mut changes), full);
        for number in 0..20_000 {
            let replayed = use_without_one_time(&mut prekeys, number, 1, &mut changes);
            assert_eq!(replayed, Err(DecryptError::Duplicate));
        }
        // The next signed prekey has room of its own.
        assert_eq!(use_without_one_time(&mut prekeys, 20_000, 2, &mut changes), Ok(()));
    }

    /// A session starts without a one-time prekey. Each account starts a hundred of them.
    fn use_without_one_time(
        prekeys: &mut PreKeys,
        number: u32,
        signed: u32,
        changes: &mut Changes,
    ) -> Result<(), DecryptError> {
        let mut account = [0; 16];
        account[..4].copy_from_slice(&(number / 100).to_be_bytes());
        let account = AccountId::from_bytes(account);
        prekeys.record_use(account, &used(number, signed), changes)
    }

    fn used(number: u32, signed: u32) -> UsedPreKeys {
        let mut bytes = [7; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        let base_key = PublicKey::from_u(bytes).unwrap();
        UsedPreKeys { one_time: None, kem: None, signed, base_key }
    }

    #[test]
    fn attack_3_one_account_cannot_use_up_the_memory_of_sessions() {
        let mut prekeys = PreKeys::default();
        let mut changes = Changes::default();
        let [mallory, bob] = [1, 2].map(|number| AccountId::from_bytes([number; 16]));
        for number in 0..100 {
            assert_eq!(prekeys.record_use(mallory, &used(number, 1), &mut changes), Ok(()));
        }
        let full = Err(DecryptError::TooManySessions);
        assert_eq!(prekeys.record_use(mallory, &used(100, 1), &mut changes), full);
        assert_eq!(prekeys.record_use(bob, &used(100, 1), &mut changes), Ok(()));
    }

    #[test]
    fn attack_3_the_signed_prekey_is_replaced_before_its_sessions_cannot_be_remembered() {
        let (mut client, now, mut rng) = client();
        let mut changes = Changes::default();
        let newest = |client: &Client| client.prekeys.newest().signed;
        for number in 0..14_999 {
            use_without_one_time(&mut client.prekeys, number, 1, &mut changes).unwrap();
        }
        let later = Timestamp(now.0 + 60 * 60_000);
        client.keys_left(later, 100, &mut rng);
        assert_eq!(newest(&client), 1);
        use_without_one_time(&mut client.prekeys, 14_999, 1, &mut changes).unwrap();
        client.keys_left(Timestamp(later.0 - 1), 100, &mut rng);
        assert_eq!(newest(&client), 1);
        client.keys_left(later, 100, &mut rng);
        assert_eq!(newest(&client), 2);
        // No more keys are made when the memory for all signed prekeys is full.
        for signed in 2..12 {
            for number in 0..15_000 {
                // The last ones are refused.
                let _full = use_without_one_time(&mut client.prekeys, number, signed, &mut changes);
            }
        }
        let refused = use_without_one_time(&mut client.prekeys, 15_000, 2, &mut changes);
        assert_eq!(refused, Err(DecryptError::TooManySessions));
        client.keys_left(Timestamp(now.0 + DAY), 100, &mut rng);
        assert_eq!(newest(&client), 2);
    }

    /// A client that has made its first keys, and the time.
    fn client() -> (Client, Timestamp, ChaCha8Rng) {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let us = Address { account: AccountId::from_bytes([1; 16]), device: DeviceId::PRIMARY };
        let identity = Identity { pair: KeyPair::random(&mut rng), registration_id: 1 };
        let now = Timestamp(1_600_000_000_000);
        let mut client = Client::new(us, identity, now, &mut rng);
        client.handle_publish_response(&Response::Unavailable);
        client.pending.clear();
        client.handle_publish_response(&Response::Done);
        (client, now, rng)
    }

    #[test]
    fn a_server_that_always_needs_prekeys_gets_new_ones_once_per_hour() {
        let (mut client, now, mut rng) = client();
        let newest = |client: &Client| client.prekeys.newest().one_time;
        for minute in 1..60 {
            client.keys_left(Timestamp(now.0 + minute * 60_000), 0, &mut rng);
        }
        assert_eq!(newest(&client), 100);
        client.keys_left(Timestamp(now.0 + 60 * 60_000), 0, &mut rng);
        assert_eq!(newest(&client), 200);
        // The clock was set back.
        client.keys_left(Timestamp(now.0 - DAY), 0, &mut rng);
        assert_eq!(newest(&client), 300);
    }

    #[test]
    fn no_prekey_is_replaced_when_all_ids_are_used() {
        let (mut client, now, mut rng) = client();
        let mut key = client.prekeys.one_time.pop_last().unwrap().1;
        key.id = MAX_ID - 1;
        client.prekeys.one_time.insert(key.id, key);
        client.keys_left(Timestamp(now.0 + DAY), 0, &mut rng);
        assert_eq!(client.prekeys.newest().one_time, MAX_ID);
        assert_eq!(client.prekeys.one_time.len(), 101);
        client.keys_left(Timestamp(now.0 + 2 * DAY), 0, &mut rng);
        assert_eq!(client.prekeys.one_time.len(), 101);
    }

    #[test]
    fn a_clock_that_is_wrong_for_a_moment_deletes_no_signed_prekey_that_is_in_use() {
        let (mut client, start, mut rng) = client();
        let mut now = start;
        let mut step = |client: &mut Client, to: u64| {
            client.keys_left(Timestamp(to), 100, &mut rng);
            client.pending.clear();
            client.handle_publish_response(&Response::Done);
        };
        for _ in 0..12 {
            now.0 += 7 * DAY;
            step(&mut client, now.0);
        }
        let kept: Vec<_> = client.prekeys.signed.keys().copied().collect();
        assert_eq!(kept, [6, 7, 8, 9, 10, 11, 12, 13]);
        step(&mut client, now.0 + 365 * DAY);
        let in_use: Vec<_> = client.prekeys.signed.keys().copied().collect();
        // Number 7 was replaced 35 days ago.
        assert_eq!(in_use, [7, 8, 9, 10, 11, 12, 13, 14]);
        // The clock is right again: the key from the future is replaced.
        step(&mut client, now.0 + 1);
        assert_eq!(client.prekeys.signed.last_key_value().unwrap().1.created.0, now.0 + 1);
        assert!(client.prekeys.signed.contains_key(&13));
        // The keys are deleted later, although one was made in the future.
        for week in 1..8 {
            step(&mut client, now.0 + 7 * DAY * week + 1);
        }
        assert_eq!(client.prekeys.signed.len(), 8);
    }
}
