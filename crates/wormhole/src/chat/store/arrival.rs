//! Writes messages that have arrived: each once, and not more of one sender than its share.

use std::collections::BTreeSet;

use wormhole_chat::{AccountId, Address, DeviceId};
use zeroize::Zeroizing;

use super::received::{Entry, ReceivedIndex};
use super::requests::People;
use super::sealing::{RowKeys, Table};
use super::seen::Seen;
use super::write::NewMessage;
use super::{ReceivedId, StoreError, items};
use crate::chat::account::now;

/// Messages on their way into a transaction.
pub(super) struct Arrival<'a, 'b> {
    pub(super) people: People<'a, 'b>,
    /// Whether messages of people that the user does not know wait for a decision.
    pub(super) holds_requests: bool,
    pub(super) new_requests: &'a mut BTreeSet<AccountId>,
    pub(super) keys: &'a RowKeys,
    pub(super) seen: &'a mut Seen,
    pub(super) index: &'a mut ReceivedIndex,
    /// The accounts that we know.
    pub(super) known: &'a BTreeSet<AccountId>,
}

impl Arrival<'_, '_> {
    /// Writes messages of those who are accepted now, and messages that have not arrived before. Returns their ids and values, without
    /// those that were only counted or wait for a decision.
    pub(super) fn write<'m>(
        &mut self,
        accepted: &'m [Zeroizing<Vec<u8>>],
        messages: &'m [NewMessage],
    ) -> Result<Vec<(ReceivedId, &'m [u8])>, StoreError> {
        let day = u32::try_from(now().0 / MILLISECONDS_PER_DAY).unwrap_or(u32::MAX);
        let last = self.people.rows.get(Table::LastReceived, &[])?;
        let last = last.map(|last| items::decode_received_id(&last)).transpose()?;
        let first = last.map_or(0, |ReceivedId(last)| last);
        let mut last = first;
        let mut written = Vec::new();
        for value in accepted {
            if let Some(id) = self.put(value, items::sender(value), ReceivedId(last + 1))? {
                written.push((id, value.as_slice()));
                last = id.0;
            }
        }
        for message in messages {
            let id = ReceivedId(last + 1);
            if !self.is_new(message, day) {
                continue;
            }
            if let Some(from) = self.stranger(message) {
                if self.people.add(from, id, &message.value)? {
                    self.new_requests.insert(from);
                    last = id.0;
                }
            } else if let Some(id) = self.add(message, id)? {
                written.push((id, message.value.as_slice()));
                last = id.0;
            }
        }
        self.seen.write(self.people.rows)?;
        if last > first {
            self.people.rows.put(Table::LastReceived, &[], &last.to_be_bytes())?;
        }
        Ok(written)
    }

    /// The sender of a message that has to wait for a decision.
    fn stranger(&self, message: &NewMessage) -> Option<AccountId> {
        let from = message.from?.account;
        let is_request =
            self.holds_requests && !message.is_in_group && !items::is_unreadable(&message.value);
        (is_request && !self.people.accepted.contains(&from)).then_some(from)
    }

    /// Whether a message has not arrived before.
    fn is_new(&mut self, message: &NewMessage, day: u32) -> bool {
        let NewMessage { from, envelope, value, .. } = message;
        let fingerprint = match envelope {
            Some(envelope) => self.keys.fingerprint(&[b"envelope", envelope]),
            None if items::is_unreadable(value) => return true,
            // Also the sender, the timestamp, and whether the identity key is the accepted one.
            None => self.keys.fingerprint(&[value]),
        };
        self.seen.insert(from.unwrap_or(NOBODY), fingerprint, day, self.known)
    }

    /// Adds a message with this id. `None` if it was only counted.
    fn add(
        &mut self,
        message: &NewMessage,
        id: ReceivedId,
    ) -> Result<Option<ReceivedId>, StoreError> {
        let NewMessage { from, timestamp, value, .. } = message;
        let surplus = from.filter(|from| {
            let is_stranger = !self.known.contains(&from.account);
            is_stranger && self.index.is_share_used(from.account, value.len())
        });
        match surplus {
            Some(from) if !items::is_unreadable(value) => {
                self.put(&items::encode_too_many(from, *timestamp), Some(from.account), id)
            }
            _ => self.put(value, from.map(|from| from.account), id),
        }
    }

    /// Writes a row, or counts a message that could not be read.
    fn put(
        &mut self,
        value: &[u8],
        from: Option<AccountId>,
        id: ReceivedId,
    ) -> Result<Option<ReceivedId>, StoreError> {
        let is_readable = !items::is_unreadable(value);
        if !is_readable && let Some(last) = self.index.last_unreadable(from) {
            return self.count(last).map(|()| None);
        }
        self.people.rows.put(Table::Received, &id.0.to_be_bytes(), value)?;
        self.index.insert(id, Entry { from, is_readable, bytes: value.len() });
        while let Some(oldest) = self.index.surplus() {
            self.people.rows.set(Table::Received, &oldest.0.to_be_bytes(), None)?;
            self.people.rows.set(Table::Note, &oldest.0.to_be_bytes(), None)?;
            self.index.remove(oldest);
        }
        Ok(Some(id))
    }

    /// Counts one more message that could not be read in the row of another one.
    fn count(&mut self, id: ReceivedId) -> Result<(), StoreError> {
        let key = id.0.to_be_bytes();
        let value = self.people.rows.get(Table::Received, &key)?.ok_or(StoreError::Damaged)?;
        // A damaged row is reported as such, and cannot count.
        let Ok(value) = items::add_one(&value) else { return Ok(()) };
        self.people.rows.put(Table::Received, &key, &value)?;
        let (from, bytes) = (items::sender(&value), value.len());
        self.index.insert(id, Entry { from, is_readable: false, bytes });
        Ok(())
    }
}

/// The sender of messages whose sender is not known.
const NOBODY: Address =
    Address { account: AccountId::from_bytes([0; 16]), device: DeviceId::PRIMARY };

const MILLISECONDS_PER_DAY: u64 = 24 * 60 * 60 * 1000;
