//! The state that all devices of our account share: the user's decisions about people and their keys, and the settings of the
//! account. A new device asks for it; later changes are sent when they are made.
//!
//! The server may deliver messages between our devices in any order. So everything has a time, and the latest counts.

use std::collections::{BTreeMap, BTreeSet};

use wormhole_chat::{
    AccountId, ClientInput, ConfigurationSync, IdentitySync, PersonDecision, RequestDecision,
    RequestSync, SyncMessage, Timestamp,
};
use wormhole_kit::Reader;
use zeroize::Zeroizing;

use super::Driver;
use super::people::MAX_BLOCKED;
use crate::chat::account::now;
use crate::chat::client::READ_RECEIPTS;

/// The state that all devices of our account share.
#[derive(Debug)]
pub(in crate::chat) struct Shared {
    /// The latest decision about each account.
    people: BTreeMap<AccountId, (Timestamp, RequestDecision)>,
    /// Whether others may learn what the user has read, and when that was set: 0 if never.
    read_receipts: (Timestamp, bool),
}

impl Shared {
    /// Reads the settings [`PEOPLE`] and [`CONFIGURATION`].
    pub(in crate::chat) fn decode(people: Option<&[u8]>, configuration: Option<&[u8]>) -> Self {
        let people = people.unwrap_or_default().chunks_exact(ENTRY).filter_map(decode_entry);
        let configuration = configuration.and_then(|value| {
            let mut value = Reader::new(value);
            Some((Timestamp(u64::from_be_bytes(value.array().ok()?)), value.u8().ok()? == 1))
        });
        let read_receipts = configuration.unwrap_or((Timestamp(0), true));
        Self { people: people.collect(), read_receipts }
    }

    /// The value of [`PEOPLE`].
    fn encode_people(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(self.people.len() * ENTRY);
        for (account, (decided, decision)) in &self.people {
            value.extend(account.as_bytes());
            value.extend(decided.0.to_be_bytes());
            value.push(u8::try_from(decision.number()).unwrap_or_default());
        }
        value
    }

    /// The value of [`CONFIGURATION`].
    fn encode_configuration(&self) -> Vec<u8> {
        let (decided, is_on) = self.read_receipts;
        let mut value = decided.0.to_be_bytes().to_vec();
        value.push(is_on.into());
        value
    }

    /// Remembers a decision that the user makes on this device.
    pub(super) fn decide(
        &mut self,
        now: Timestamp,
        account: AccountId,
        decision: RequestDecision,
    ) -> PersonDecision {
        let known = self.people.get(&account).map(|(decided, _)| *decided);
        let decided = after(now, known.unwrap_or(Timestamp(0)));
        self.put(account, decided, decision);
        PersonDecision { account, decision, decided }
    }

    /// Remembers a decision of another device. `false`: this device knows a later one, or the same.
    fn learn(&mut self, received: &PersonDecision) -> bool {
        let PersonDecision { account, decision, decided } = *received;
        let known = self.people.get(&account);
        let is_news = known.is_none_or(|known| (decided, decision) > *known);
        if is_news && decided > Timestamp(0) {
            self.put(account, decided, decision);
        }
        is_news && decided.0 <= MAX_TIME
    }

    fn put(&mut self, account: AccountId, decided: Timestamp, decision: RequestDecision) {
        if decided.0 > MAX_TIME {
            return;
        }
        self.people.insert(account, (decided, decision));
        if self.people.len() > MAX_PEOPLE {
            let others = self.people.iter().filter(|(_, (_, it))| *it != RequestDecision::Block);
            let oldest = others.min_by_key(|(_, (decided, _))| *decided).map(|(it, _)| *it);
            oldest.map(|oldest| self.people.remove(&oldest));
        }
    }

    /// Whether a decision about an account is known.
    fn has(&self, account: AccountId) -> bool {
        self.people.contains_key(&account)
    }
}

fn decode_entry(entry: &[u8]) -> Option<(AccountId, (Timestamp, RequestDecision))> {
    let mut entry = Reader::new(entry);
    let account = AccountId::from_bytes(entry.array().ok()?);
    let decided = Timestamp(u64::from_be_bytes(entry.array().ok()?));
    let decision = RequestDecision::from_number(entry.u8().ok()?.into())?;
    Some((account, (decided, decision)))
}

/// The time of a decision that is made now: later than the last one, whatever the clocks say.
pub(super) fn after(now: Timestamp, last: Timestamp) -> Timestamp {
    Timestamp(now.0.min(MAX_TIME / 2).max(last.0.saturating_add(1)))
}

impl Driver {
    /// Remembers a decision that the user makes here, and tells our other devices, together with the list of blocked accounts.
    pub(super) fn share_decision(&mut self, account: AccountId, decision: RequestDecision) {
        let decision = self.shared.decide(now(), account, decision);
        self.store_people();
        let blocked = self.blocked.iter().copied().collect();
        let sync = RequestSync { blocked, decisions: vec![decision] };
        self.input(ClientInput::Synchronise(SyncMessage::Requests(sync)));
    }

    fn store_people(&mut self) {
        let value = Zeroizing::new(self.shared.encode_people());
        self.commits.add_setting(PEOPLE.to_owned(), Some(value));
    }

    /// Applies decisions about people from another device of our account.
    pub(super) fn learn_people(&mut self, sync: RequestSync) {
        let RequestSync { blocked, decisions } = sync;
        let own = self.own;
        let mut is_changed = false;
        for received in decisions.iter().filter(|it| it.account != own) {
            let blocks = received.decision == RequestDecision::Block;
            let is_blocked = self.is_blocked(received.account);
            let has_no_room = blocks && !is_blocked && self.blocked.len() >= MAX_BLOCKED;
            // Without a time, it says only that the user knows the person.
            let is_weak = received.decided == Timestamp(0) && is_blocked;
            if !has_no_room && !is_weak && self.shared.learn(received) {
                self.apply(received.account, received.decision);
                is_changed |= received.decided > Timestamp(0);
            }
        }
        if is_changed {
            self.store_people();
        }
        for account in blocked.into_iter().filter(|account| *account != own) {
            // The list may be older than the decision that we know.
            let is_new = !self.shared.has(account) && !self.is_blocked(account);
            if is_new && self.blocked.len() < MAX_BLOCKED {
                self.apply(account, RequestDecision::Block);
            }
        }
    }

    /// Sends the settings of the account to our other devices, if the user has changed them.
    pub(super) fn share_configuration(&mut self) {
        let read_receipts = self.receipts.are_read_on();
        let (last, known) = self.shared.read_receipts;
        if read_receipts == known {
            return;
        }
        let decided = after(now(), last);
        self.shared.read_receipts = (decided, read_receipts);
        self.store_configuration();
        let sync = ConfigurationSync { read_receipts, decided };
        self.input(ClientInput::Synchronise(SyncMessage::Configuration(sync)));
    }

    fn store_configuration(&mut self) {
        let value = Zeroizing::new(self.shared.encode_configuration());
        self.commits.add_setting(CONFIGURATION.to_owned(), Some(value));
    }

    /// Applies settings of the account from another device. If two settings have the same time, receipts are off.
    pub(super) fn learn_configuration(&mut self, sync: ConfigurationSync) {
        let ConfigurationSync { read_receipts: is_on, decided } = sync;
        let (last, was_on) = self.shared.read_receipts;
        if (decided, !is_on) <= (last, !was_on) || decided.0 > MAX_TIME {
            return;
        }
        self.shared.read_receipts = (decided, is_on);
        self.store_configuration();
        self.receipts.set_read(is_on);
        let value = (!is_on).then(|| Zeroizing::new(vec![0]));
        self.commits.add_setting(READ_RECEIPTS.to_owned(), value);
    }

    /// Sends everything that our devices share: a new device of our account has requested it. All other devices answer.
    pub(super) fn share_everything(&mut self) {
        let decided = self.shared.people.iter().map(|(account, (decided, decision))| {
            PersonDecision { account: *account, decision: *decision, decided: *decided }
        });
        let mut people: Vec<_> = decided.collect();
        people.extend(self.known_without_decision());
        let blocked = self.blocked.iter().filter(|account| !self.shared.has(**account));
        let blocked = blocked.copied().collect();
        let mut syncs = vec![SyncMessage::Requests(RequestSync { blocked, decisions: Vec::new() })];
        syncs.extend(people.chunks(MAX_PEOPLE_AT_ONCE).map(|people| {
            let (blocked, decisions) = (Vec::new(), people.to_vec());
            SyncMessage::Requests(RequestSync { blocked, decisions })
        }));
        let keys = self.core.identity_decisions().map(|decision| self.with_verified(decision));
        let keys: Vec<IdentitySync> = keys.take(MAX_KEYS).collect();
        let keys = keys.chunks(MAX_KEYS_AT_ONCE).map(|keys| SyncMessage::Identities(keys.to_vec()));
        syncs.extend(keys);
        let (decided, read_receipts) = self.shared.read_receipts;
        syncs.push(SyncMessage::Configuration(ConfigurationSync { read_receipts, decided }));
        syncs.extend(self.names_for_new_device());
        syncs.extend(self.timers_for_new_device());
        for sync in syncs {
            self.input(ClientInput::Synchronise(sync));
        }
    }

    /// The people that the user knows without a decision about a request, because the user has written to them, or named or verified them.
    fn known_without_decision(&self) -> Vec<PersonDecision> {
        let named = self.contacts.all().filter(|contact| contact.is_known());
        let known = self.core.known_accounts().chain(named.map(|contact| contact.account));
        let known = known.filter(|account| {
            *account != self.own && !self.is_blocked(*account) && !self.shared.has(*account)
        });
        let known: BTreeSet<_> = known.collect();
        let accepted = |account| PersonDecision {
            account,
            decision: RequestDecision::Accept,
            decided: Timestamp(0),
        };
        known.into_iter().take(MAX_PEOPLE).map(accepted).collect()
    }
}

/// The setting with the decisions about people: for each the account, its time (8) and its number (1).
pub(in crate::chat) const PEOPLE: &str = "wormhole.decided";

/// The setting that says what our devices know: when read receipts were set (8), and whether they are on (1).
pub(in crate::chat) const CONFIGURATION: &str = "wormhole.configuration";

/// Bytes of a decision about a person.
const ENTRY: usize = 25;

/// Maximum number of people about whom decisions are remembered; the oldest is dropped first, except blocked ones, of which there are
/// at most 2,000.
const MAX_PEOPLE: usize = 6000;

/// Maximum number of them in one message.
const MAX_PEOPLE_AT_ONCE: usize = 1000;

/// Maximum number of decisions about identity keys that a new device gets.
const MAX_KEYS: usize = 10_000;

/// Maximum number of them in one message.
const MAX_KEYS_AT_ONCE: usize = 200;

/// The latest time of a decision, in milliseconds. A clock that is wrong by more cannot make later decisions impossible.
pub(super) const MAX_TIME: u64 = 1 << 47;

#[cfg(test)]
mod tests {
    use super::*;

    const BOB: AccountId = AccountId::from_bytes([2; 16]);

    fn shared() -> Shared {
        Shared::decode(None, None)
    }

    #[test]
    fn the_same_decisions_about_people_end_equal_in_any_order() {
        use RequestDecision::{Accept, Block, Delete};
        let received =
            [(Accept, 5), (Block, 7), (Delete, 7), (Accept, 6), (Accept, 0), (Delete, 3)];
        let received = received.map(|(decision, decided)| PersonDecision {
            account: BOB,
            decision,
            decided: Timestamp(decided),
        });
        for first in 0..received.len() {
            let (mut known, mut order) = (shared(), received.to_vec());
            order.rotate_left(first);
            for decisions in [order.clone(), order.into_iter().rev().collect()] {
                decisions.iter().for_each(|decision| {
                    known.learn(decision);
                });
                assert_eq!(known.people[&BOB], (Timestamp(7), Block));
            }
        }
    }

    #[test]
    fn a_decision_here_is_later_than_all_that_are_known_and_is_read_as_it_was_written() {
        let mut known = shared();
        let decision = RequestDecision::Block;
        known.learn(&PersonDecision { account: BOB, decision, decided: Timestamp(1000) });
        let decided = known.decide(Timestamp(7), BOB, RequestDecision::Accept);
        assert_eq!(decided.decided, Timestamp(1001));
        // A clock that is absurd.
        let decided = Timestamp(u64::MAX);
        assert!(!known.learn(&PersonDecision { account: BOB, decision, decided }));
        known.read_receipts = (Timestamp(9), false);
        let read =
            Shared::decode(Some(&known.encode_people()), Some(&known.encode_configuration()));
        assert_eq!((&read.people, read.read_receipts), (&known.people, known.read_receipts));
    }

    #[test]
    fn only_so_many_decisions_are_remembered_and_blocked_people_are_not_forgotten() {
        let mut known = shared();
        known.decide(Timestamp(1), BOB, RequestDecision::Block);
        for number in 0..=u32::try_from(MAX_PEOPLE).unwrap() {
            let mut account = [0xaa; 16];
            account[..4].copy_from_slice(&number.to_be_bytes());
            let now = Timestamp(u64::from(number) + 2);
            known.decide(now, AccountId::from_bytes(account), RequestDecision::Accept);
        }
        assert_eq!(known.people.len(), MAX_PEOPLE);
        assert!(known.has(BOB));
    }
}
