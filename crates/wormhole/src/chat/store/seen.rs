//! A record of arrived messages: a sender may encrypt the same message twice, and the server may deliver it twice.
//!
//! A message is recognised by a keyed hash of what it says and of who sent it (`Fingerprint`). A timestamp would not do: others
//! can forge one, and some programs use the same one twice. The hashes of a device are in rows of 100: the key is the device
//! and the number of the row (4), the value `02`, the day of the latest arrival (4, days since 1970) and the hashes (8 each).

use std::collections::{BTreeMap, BTreeSet};

use wormhole_chat::{AccountId, Address};
use wormhole_kit::Reader;

use super::StoreError;
use super::database::Transaction;
use super::sealing::{Fingerprint, Table};
use super::state_key::decode_address;

/// The messages that have arrived.
#[derive(Debug, Default)]
pub(super) struct Seen {
    messages: BTreeSet<(Address, Fingerprint)>,
    rows: BTreeMap<RowKey, SeenRow>,
    /// The rows in the order in which they are forgotten.
    order: BTreeSet<(Age, RowKey)>,
    /// Rows that differ from the database.
    changed: BTreeSet<RowKey>,
}

/// A device, and the number of a row of it.
type RowKey = (Address, u32);

/// The order in which rows are forgotten: first those of accounts that we do not know, then the older ones.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Age {
    is_known: bool,
    day: u32,
}

#[derive(Debug)]
struct SeenRow {
    age: Age,
    messages: Vec<Fingerprint>,
}

impl Seen {
    /// Adds a stored row. `known` are the accounts that we know.
    pub(super) fn restore(
        &mut self,
        key: &[u8],
        value: &[u8],
        known: &BTreeSet<AccountId>,
    ) -> Result<(), StoreError> {
        let mut key = Reader::new(key);
        let address = decode_address(&mut key)?;
        let key = (address, key.u32_be()?);
        let mut value = Reader::new(value);
        match value.u8()? {
            FORMAT => {}
            // It has timestamps.
            OLD_FORMAT => {
                self.changed.insert(key);
                return Ok(());
            }
            _ => return Err(StoreError::UnknownFormat),
        }
        let age = Age { is_known: known.contains(&address.account), day: value.u32_be()? };
        let mut messages = Vec::new();
        while !value.is_empty() {
            messages.push(value.array()?);
        }
        self.messages.extend(messages.iter().map(|message| (address, *message)));
        self.order.insert((age, key));
        self.rows.insert(key, SeenRow { age, messages });
        Ok(())
    }

    /// Forgets old rows, also of devices that do not write any more. The latest arrival is the time, not the clock.
    pub(super) fn forget_old(&mut self) {
        let today = self.rows.values().map(|row| row.age.day).max().unwrap_or_default();
        let is_old = |row: &SeenRow| row.age.day.saturating_add(DAYS) < today;
        let old = self.rows.iter().filter(|(_, row)| is_old(row)).map(|(key, _)| *key);
        old.collect::<Vec<_>>().into_iter().for_each(|key| self.remove(key));
    }

    /// Remembers a message. False if it has arrived before.
    pub(super) fn insert(
        &mut self,
        from: Address,
        message: Fingerprint,
        day: u32,
        known: &BTreeSet<AccountId>,
    ) -> bool {
        if !self.messages.insert((from, message)) {
            return false;
        }
        self.add(from, message, Age { is_known: known.contains(&from.account), day });
        while let Some(key) = self.oldest_of(from, day) {
            self.remove(key);
        }
        while self.messages.len() > MAX_MESSAGES || self.rows.len() > MAX_ROWS {
            let Some((_, key)) = self.order.first().copied() else { break };
            self.remove(key);
        }
        true
    }

    /// Writes the rows that have changed.
    pub(super) fn write(&mut self, rows: &mut Transaction<'_>) -> Result<(), StoreError> {
        for (address, number) in std::mem::take(&mut self.changed) {
            let row = self.rows.get(&(address, number));
            let key =
                [address.account.as_bytes(), &[address.device.number()][..], &number.to_be_bytes()];
            rows.set(Table::Seen, &key.concat(), row.map(SeenRow::encode).as_deref())?;
        }
        Ok(())
    }

    /// Adds a message to the last row of its device, or to a new one.
    fn add(&mut self, from: Address, message: Fingerprint, age: Age) {
        let last = self.rows.range((from, 0)..=(from, u32::MAX)).next_back();
        let last = last.map(|(key, row)| (*key, row.messages.len()));
        let key = match last {
            Some((key, length)) if length < ROW => key,
            Some(((_, number), _)) => (from, number.saturating_add(1)),
            None => (from, 0),
        };
        let row = self.rows.entry(key).or_insert(SeenRow { age, messages: Vec::new() });
        self.order.remove(&(row.age, key));
        row.messages.push(message);
        row.age = Age { is_known: age.is_known, day: row.age.day.max(age.day) };
        self.order.insert((row.age, key));
        self.changed.insert(key);
    }

    /// The oldest row of a device, if it is too old, or if there are too many.
    fn oldest_of(&self, device: Address, day: u32) -> Option<RowKey> {
        let mut rows = self.rows.range((device, 0)..=(device, u32::MAX));
        let is_full = rows.clone().nth(MAX_DEVICE_ROWS).is_some();
        let (key, row) = rows.next()?;
        (is_full || row.age.day.saturating_add(DAYS) < day).then_some(*key)
    }

    fn remove(&mut self, key: RowKey) {
        let Some(row) = self.rows.remove(&key) else { return };
        for message in row.messages {
            self.messages.remove(&(key.0, message));
        }
        self.order.remove(&(row.age, key));
        self.changed.insert(key);
    }
}

impl SeenRow {
    fn encode(&self) -> Vec<u8> {
        let mut value = vec![FORMAT];
        value.extend(self.age.day.to_be_bytes());
        value.extend(self.messages.iter().flatten());
        value
    }
}

/// First byte of each value.
const FORMAT: u8 = 2;

/// First byte of the values that earlier versions wrote.
const OLD_FORMAT: u8 = 1;

/// Messages in a row.
const ROW: usize = 100;

/// Maximum number of rows of one device: 10,000 messages.
const MAX_DEVICE_ROWS: usize = 100;

/// How long a message is remembered. The server keeps messages for 30 days.
const DAYS: u32 = 30;

/// Maximum number of messages of all devices.
const MAX_MESSAGES: usize = 200_000;

/// Maximum number of rows of all devices.
const MAX_ROWS: usize = 20_000;

#[cfg(test)]
mod tests {
    use wormhole_chat::DeviceId;

    use super::*;

    const BOB: Address = device(1);

    const fn device(number: u32) -> Address {
        let [a, b, c, d] = number.to_be_bytes();
        let id = [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        Address { account: AccountId::from_bytes(id), device: DeviceId::PRIMARY }
    }

    fn insert(seen: &mut Seen, from: Address, number: u64, day: u32) -> bool {
        let known = BTreeSet::from([BOB.account]);
        seen.insert(from, number.to_be_bytes(), day, &known)
    }

    fn seen(count: u64) -> Seen {
        let mut seen = Seen::default();
        assert!((0..count).all(|number| insert(&mut seen, BOB, number, 1)));
        seen
    }

    #[test]
    fn the_last_ten_thousand_messages_of_a_device_are_recognised() {
        let mut seen = seen(10_001);
        assert!(!insert(&mut seen, BOB, 10_000, 1));
        assert!(!insert(&mut seen, BOB, 200, 1));
        assert!(insert(&mut seen, BOB, 0, 1));
    }

    #[test]
    fn messages_are_recognised_for_thirty_days() {
        let mut seen = seen(100);
        assert!(insert(&mut seen, BOB, 1000, 31));
        assert!(!insert(&mut seen, BOB, 0, 31));
        assert!(insert(&mut seen, BOB, 1001, 32));
        assert!(insert(&mut seen, BOB, 0, 32));
        assert!(!insert(&mut seen, BOB, 1000, 32));
    }

    #[test]
    fn devices_that_do_not_write_any_more_are_forgotten() {
        let mut seen = seen(1);
        assert!(insert(&mut seen, device(2), 0, 31));
        seen.forget_old();
        assert_eq!(seen.rows.len(), 2);
        assert!(insert(&mut seen, device(3), 0, 32));
        seen.forget_old();
        assert_eq!((seen.rows.len(), seen.messages.len(), seen.order.len()), (2, 2, 2));
        assert!(seen.changed.contains(&(BOB, 0)) && !seen.rows.contains_key(&(BOB, 0)));
    }

    #[test]
    fn a_clock_that_goes_back_forgets_nothing() {
        let mut seen = seen(100);
        assert!(insert(&mut seen, BOB, 1000, 0));
        assert!(!insert(&mut seen, BOB, 0, 0));
    }

    #[test]
    fn invented_senders_push_out_one_another_and_not_those_that_we_know() {
        let mut seen = seen(1);
        for number in 0..25_000 {
            assert!(insert(&mut seen, device(2 + number), 0, 2));
        }
        assert_eq!((seen.rows.len(), seen.order.len()), (MAX_ROWS, MAX_ROWS));
        assert!(!insert(&mut seen, BOB, 0, 2));
        assert!(!insert(&mut seen, device(25_001), 0, 2));
        assert!(insert(&mut seen, device(2), 0, 2));
    }

    #[test]
    fn all_devices_together_are_limited() {
        let mut seen = seen(1);
        for number in 0..210_000 {
            let from = device(2 + u32::try_from(number / 10_000).unwrap());
            assert!(insert(&mut seen, from, number, 2));
        }
        assert!((MAX_MESSAGES - ROW..=MAX_MESSAGES).contains(&seen.messages.len()));
        assert!(!insert(&mut seen, BOB, 0, 2) && insert(&mut seen, device(2), 0, 2));
    }
}
