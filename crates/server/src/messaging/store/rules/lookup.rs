//! What several requests of a turn need to know, read with one statement for all of them.

use std::collections::HashMap;
use std::hash::Hash;

use crate::messaging::store::tables::{QueueSize, RecipientDevice, StoredMessage, Tables};
use crate::messaging::store::{
    AccountKey, DeviceKey, MAX_QUEUED_BYTES, MAX_QUEUED_MESSAGES, StoreError,
};

/// The devices of these accounts.
pub(super) fn devices_of(
    tables: &mut dyn Tables,
    accounts: impl IntoIterator<Item = AccountKey>,
) -> Result<HashMap<AccountKey, Vec<RecipientDevice>>, StoreError> {
    let accounts = distinct(accounts);
    let devices = tables.recipients(&accounts)?;
    Ok(accounts.into_iter().zip(devices).collect())
}

/// How much waits for devices, and what this turn adds.
#[derive(Debug, Default)]
pub(super) struct Queues(HashMap<DeviceKey, QueueSize>);

impl Queues {
    /// Reads the sizes of the queues of these devices.
    pub(super) fn of(
        tables: &mut dyn Tables,
        devices: impl IntoIterator<Item = DeviceKey>,
    ) -> Result<Self, StoreError> {
        let devices = distinct(devices);
        let sizes = tables.queue_sizes(&devices)?;
        Ok(Self(devices.into_iter().zip(sizes).collect()))
    }

    /// Whether there is room for all of these messages. If so, counts them. Each is for another device.
    pub(super) fn admit_all(&mut self, messages: &[StoredMessage<'_>]) -> bool {
        let has_room = messages.iter().all(|message| self.has_room(message));
        if has_room {
            messages.iter().for_each(|message| self.add(message));
        }
        has_room
    }

    /// Removes messages for which there is no room, and counts the others.
    pub(super) fn admit_some(&mut self, messages: &mut Vec<StoredMessage<'_>>) {
        messages.retain(|message| {
            let has_room = self.has_room(message);
            if has_room {
                self.add(message);
            }
            has_room
        });
    }

    fn has_room(&self, message: &StoredMessage<'_>) -> bool {
        let size = self.0.get(&message.device).copied().unwrap_or_default();
        let bytes = size.bytes.saturating_add(message.bytes());
        size.messages < MAX_QUEUED_MESSAGES && bytes <= MAX_QUEUED_BYTES
    }

    fn add(&mut self, message: &StoredMessage<'_>) {
        let size = self.0.entry(message.device).or_default();
        size.messages += 1;
        size.bytes += message.bytes();
    }
}

/// Each value once, in a fixed order.
pub(super) fn distinct<T: Copy + Eq + Hash + Ord>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.into_iter().collect();
    values.sort_unstable();
    values.dedup();
    values
}
