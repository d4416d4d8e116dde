//! Which messages have arrived: a sender may encrypt the same message twice, and the server may deliver it twice.
//!
//! A device never uses a timestamp twice (docs/chat-protocol.md), so a device and a timestamp identify a message. They are
//! kept in rows of 100 timestamps: the key is the device and the number of the row (4), the value `01`, the day of the
//! latest arrival (4, days since 1970) and the timestamps (8 each).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use wormhole_chat::{Address, Timestamp};
use wormhole_kit::Reader;

use super::StoreError;
use super::database::Transaction;
use super::sealing::Table;
use super::state_key::decode_address;

/// The messages that have arrived.
#[derive(Debug, Default)]
pub(super) struct Seen {
    devices: BTreeMap<Address, Device>,
    /// Rows that differ from the database.
    changed: BTreeSet<(Address, u32)>,
}

/// The messages of one device.
#[derive(Debug, Default)]
struct Device {
    timestamps: BTreeSet<Timestamp>,
    /// Oldest first.
    rows: VecDeque<SeenRow>,
}

#[derive(Debug)]
struct SeenRow {
    number: u32,
    day: u32,
    timestamps: Vec<Timestamp>,
}

impl Seen {
    /// Adds a stored row.
    pub(super) fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let mut key = Reader::new(key);
        let address = decode_address(&mut key)?;
        let number = key.u32_be()?;
        let mut value = Reader::new(value);
        if value.u8()? != FORMAT {
            return Err(StoreError::UnknownFormat);
        }
        let day = value.u32_be()?;
        let mut timestamps = Vec::new();
        while !value.is_empty() {
            timestamps.push(Timestamp(u64::from_be_bytes(value.array()?)));
        }
        let device = self.devices.entry(address).or_default();
        device.timestamps.extend(&timestamps);
        let at = device.rows.partition_point(|row| row.number < number);
        device.rows.insert(at, SeenRow { number, day, timestamps });
        Ok(())
    }

    /// Remembers a message. False if it has arrived before.
    pub(super) fn insert(&mut self, from: Address, timestamp: Timestamp, day: u32) -> bool {
        let device = self.devices.entry(from).or_default();
        if !device.timestamps.insert(timestamp) {
            return false;
        }
        let number = device.add(timestamp, day);
        self.changed.insert((from, number));
        while let Some(number) = device.remove_oldest(day) {
            self.changed.insert((from, number));
        }
        if self.devices.len() > MAX_DEVICES {
            self.forget_device(from);
        }
        true
    }

    /// Writes the rows that have changed.
    pub(super) fn write(&mut self, rows: &mut Transaction<'_>) -> Result<(), StoreError> {
        for (address, number) in std::mem::take(&mut self.changed) {
            let device = self.devices.get(&address);
            let row = device.and_then(|device| device.rows.iter().find(|row| row.number == number));
            let key =
                [address.account.as_bytes(), &[address.device.number()][..], &number.to_be_bytes()];
            rows.set(Table::Seen, &key.concat(), row.map(SeenRow::encode).as_deref())?;
        }
        Ok(())
    }

    /// Forgets the device from which nothing has arrived for the longest time, except for this one.
    fn forget_device(&mut self, except: Address) {
        let others = self.devices.iter().filter(|(address, _)| **address != except);
        let latest = |device: &Device| device.rows.back().map(|row| row.day);
        let oldest = others.min_by_key(|(_, device)| latest(device)).map(|(address, _)| *address);
        let Some(address) = oldest else { return };
        let rows = self.devices.remove(&address).map(|device| device.rows).unwrap_or_default();
        self.changed.extend(rows.iter().map(|row| (address, row.number)));
    }
}

impl Device {
    /// Adds a timestamp. Returns the number of its row.
    fn add(&mut self, timestamp: Timestamp, day: u32) -> u32 {
        if let Some(row) = self.rows.back_mut().filter(|row| row.timestamps.len() < ROW) {
            row.timestamps.push(timestamp);
            row.day = row.day.max(day);
            return row.number;
        }
        let number = self.rows.back().map_or(0, |row| row.number.saturating_add(1));
        self.rows.push_back(SeenRow { number, day, timestamps: vec![timestamp] });
        number
    }

    /// Removes the oldest row if it is too old, or if there are too many. Returns its number.
    fn remove_oldest(&mut self, day: u32) -> Option<u32> {
        let is_full = self.rows.len() > MAX_ROWS;
        let is_old = |row: &SeenRow| row.day.saturating_add(DAYS) < day;
        if !self.rows.front().is_some_and(|row| is_full || is_old(row)) {
            return None;
        }
        let row = self.rows.pop_front()?;
        row.timestamps.iter().for_each(|timestamp| {
            self.timestamps.remove(timestamp);
        });
        Some(row.number)
    }
}

impl SeenRow {
    fn encode(&self) -> Vec<u8> {
        let mut value = vec![FORMAT];
        value.extend(self.day.to_be_bytes());
        value.extend(self.timestamps.iter().flat_map(|timestamp| timestamp.0.to_be_bytes()));
        value
    }
}

/// First byte of each value.
const FORMAT: u8 = 1;

/// Timestamps in a row.
const ROW: usize = 100;

/// Maximum number of rows of one device: 10,000 messages.
const MAX_ROWS: usize = 100;

/// How long a message is remembered. The server keeps messages for 30 days.
const DAYS: u32 = 30;

/// Maximum number of devices.
const MAX_DEVICES: usize = 10_000;

#[cfg(test)]
mod tests {
    use wormhole_chat::{AccountId, DeviceId};

    use super::*;

    const BOB: Address =
        Address { account: AccountId::from_bytes([1; 16]), device: DeviceId::PRIMARY };

    fn seen(count: u64) -> Seen {
        let mut seen = Seen::default();
        assert!((0..count).all(|number| seen.insert(BOB, Timestamp(number), 1)));
        seen
    }

    #[test]
    fn the_last_ten_thousand_messages_of_a_device_are_recognised() {
        let mut seen = seen(10_001);
        assert!(!seen.insert(BOB, Timestamp(10_000), 1));
        assert!(!seen.insert(BOB, Timestamp(200), 1));
        assert!(seen.insert(BOB, Timestamp(0), 1));
    }

    #[test]
    fn messages_are_recognised_for_thirty_days() {
        let mut seen = seen(100);
        assert!(seen.insert(BOB, Timestamp(1000), 31));
        assert!(!seen.insert(BOB, Timestamp(0), 31));
        assert!(seen.insert(BOB, Timestamp(1001), 32));
        assert!(seen.insert(BOB, Timestamp(0), 32));
        assert!(!seen.insert(BOB, Timestamp(1000), 32));
    }

    #[test]
    fn a_clock_that_goes_back_forgets_nothing() {
        let mut seen = seen(100);
        assert!(seen.insert(BOB, Timestamp(1000), 0));
        assert!(!seen.insert(BOB, Timestamp(0), 0));
    }

    #[test]
    fn invented_senders_do_not_fill_the_store() {
        let mut seen = seen(1);
        for number in 0..10_000_u32 {
            let mut id = [2; 16];
            id[..4].copy_from_slice(&number.to_be_bytes());
            let address = Address { account: AccountId::from_bytes(id), device: DeviceId::PRIMARY };
            assert!(seen.insert(address, Timestamp(0), 2));
        }
        assert_eq!(seen.devices.len(), MAX_DEVICES);
        assert!(seen.changed.contains(&(BOB, 0)) && !seen.devices.contains_key(&BOB));
    }
}
