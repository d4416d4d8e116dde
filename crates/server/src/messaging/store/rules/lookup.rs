//! Facts that several requests of a turn need, read with one statement for all of them.

use std::collections::HashMap;
use std::hash::Hash;

use wormhole_chat::DeviceId;

use crate::messaging::store::tables::{
    QueueSize, QueueUse, RecipientDevice, SenderQueue, StoredMessage, Tables,
};
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
pub(super) struct Queues {
    all: HashMap<DeviceKey, QueueUse>,
    by_sender: HashMap<SenderQueue, QueueUse>,
}

impl Queues {
    /// Reads the sizes of these queues.
    pub(super) fn read(
        tables: &mut dyn Tables,
        queues: impl IntoIterator<Item = SenderQueue>,
    ) -> Result<Self, StoreError> {
        let queues = distinct(queues);
        let sizes = tables.queue_sizes(&queues)?;
        let mut read = Self::default();
        for (queue, QueueSize { all, from_sender }) in queues.into_iter().zip(sizes) {
            read.all.insert(queue.device, all);
            read.by_sender.insert(queue, from_sender);
        }
        Ok(read)
    }

    /// Removes messages for which there is no room, and counts the others.
    pub(super) fn admit_some(&mut self, messages: &mut Vec<StoredMessage<'_>>) {
        messages.retain(|message| {
            let has_capacity = self.has_capacity(message);
            if has_capacity {
                self.add(message);
            }
            has_capacity
        });
    }

    /// Counts the messages to an account, and returns those that fit into the queues. A linked device whose queue is full is left
    /// out, so that an abandoned one does not keep messages from the others. `None` if the primary device has no room, or if no
    /// device has.
    pub(super) fn admit<'a>(
        &mut self,
        mut messages: Vec<StoredMessage<'a>>,
        recipients: &[RecipientDevice],
    ) -> Option<Vec<StoredMessage<'a>>> {
        let is_admitted = self.would_admit(&messages, recipients);
        if is_admitted {
            self.admit_some(&mut messages);
        }
        is_admitted.then_some(messages)
    }

    /// Whether there is room for the messages to an account.
    pub(super) fn would_admit(
        &self,
        messages: &[StoredMessage<'_>],
        recipients: &[RecipientDevice],
    ) -> bool {
        let primary = recipients.iter().find(|device| device.number == DeviceId::PRIMARY);
        let is_primary = |message: &&StoredMessage<'_>| {
            primary.is_some_and(|primary| primary.key == message.device)
        };
        let has_capacity = |message: &StoredMessage<'_>| self.has_capacity(message);
        messages.iter().filter(is_primary).all(has_capacity)
            && (messages.is_empty() || messages.iter().any(has_capacity))
    }

    /// Whether a message still fits. One sender alone cannot fill a queue: it gets at most as much room as it leaves to
    /// all others.
    pub(super) fn has_capacity(&self, message: &StoredMessage<'_>) -> bool {
        let all = self.all.get(&message.device).copied().unwrap_or_default();
        let own = self.by_sender.get(&queue_of(message)).copied().unwrap_or_default();
        let messages = MAX_QUEUED_MESSAGES.saturating_sub(all.messages);
        let bytes = MAX_QUEUED_BYTES.saturating_sub(all.bytes);
        own.messages < messages && own.bytes.saturating_add(message.bytes()) <= bytes
    }

    fn add(&mut self, message: &StoredMessage<'_>) {
        let all = self.all.entry(message.device).or_default();
        let own = self.by_sender.entry(queue_of(message)).or_default();
        for waiting in [all, own] {
            waiting.messages += 1;
            waiting.bytes += message.bytes();
        }
    }
}

const fn queue_of(message: &StoredMessage<'_>) -> SenderQueue {
    SenderQueue { device: message.device, source: message.source }
}

/// Each value once, in a fixed order.
pub(super) fn distinct<T: Copy + Eq + Hash + Ord>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.into_iter().collect();
    values.sort_unstable();
    values.dedup();
    values
}
