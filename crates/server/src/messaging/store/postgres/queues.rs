//! The queues that a transaction has locked: what waits in them, and the positions of new messages.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Row;

use super::columns::{Columns, Read};
use crate::messaging::store::DeviceKey;
use crate::messaging::store::tables::QueueUse;

/// The locked queues of a transaction.
#[derive(Debug, Default)]
pub(super) struct Queues {
    locked: BTreeMap<DeviceKey, Queue>,
    /// Messages that were removed from queues that are not locked yet.
    removed: BTreeMap<DeviceKey, QueueUse>,
}

/// The row of a queue.
#[derive(Clone, Copy, Debug)]
struct Queue {
    /// Position of the newest message that was ever stored.
    position: i64,
    size: QueueUse,
    is_changed: bool,
}

impl Queues {
    /// Those of these devices whose queues are not locked, in order, with all from which messages were removed.
    pub(super) fn unlocked(&self, devices: impl IntoIterator<Item = DeviceKey>) -> Vec<i64> {
        let is_unlocked = |device: &DeviceKey| !self.locked.contains_key(device);
        let devices = devices.into_iter().filter(is_unlocked);
        let all: BTreeSet<DeviceKey> = devices.chain(self.removed.keys().copied()).collect();
        all.into_iter().map(|device| device.0).collect()
    }

    /// Adds the rows of queues that are locked now.
    pub(super) fn add_locked(&mut self, rows: &[Row]) -> Read<()> {
        for row in rows {
            let mut columns = Columns::new(row);
            let device = DeviceKey(columns.value()?);
            let position = columns.value()?;
            let size = QueueUse { messages: columns.number()?, bytes: columns.number()? };
            let mut queue = Queue { position, size, is_changed: false };
            if let Some(removed) = self.removed.remove(&device) {
                queue.subtract(removed);
            }
            self.locked.insert(device, queue);
        }
        // A device that does not exist has no queue.
        self.removed.clear();
        Ok(())
    }

    /// How much waits in a locked queue.
    pub(super) fn size(&self, device: DeviceKey) -> QueueUse {
        self.locked.get(&device).map(|queue| queue.size).unwrap_or_default()
    }

    /// Subtracts a removed message of this length.
    pub(super) fn remove(&mut self, device: DeviceKey, bytes: u64) {
        let size = QueueUse { messages: 1, bytes };
        match self.locked.get_mut(&device) {
            Some(queue) => queue.subtract(size),
            None => {
                let removed = self.removed.entry(device).or_default();
                removed.messages += 1;
                removed.bytes += bytes;
            }
        }
    }

    /// Adds a message of this length. Returns its position. No earlier message of the device ever had it.
    pub(super) fn push(&mut self, device: DeviceKey, bytes: u64) -> Option<i64> {
        let queue = self.locked.get_mut(&device)?;
        queue.position += 1;
        queue.size.messages += 1;
        queue.size.bytes += bytes;
        queue.is_changed = true;
        Some(queue.position)
    }

    /// Takes the changed rows as columns. They count as unchanged afterwards.
    pub(super) fn take_changes(&mut self) -> ChangedQueues {
        let mut changed = ChangedQueues::default();
        for (device, queue) in &mut self.locked {
            if std::mem::take(&mut queue.is_changed) {
                changed.devices.push(device.0);
                changed.positions.push(queue.position);
                changed.messages.push(count(queue.size.messages));
                changed.bytes.push(count(queue.size.bytes));
            }
        }
        changed
    }
}

impl Queue {
    fn subtract(&mut self, removed: QueueUse) {
        self.size.messages = self.size.messages.saturating_sub(removed.messages);
        self.size.bytes = self.size.bytes.saturating_sub(removed.bytes);
        self.is_changed = true;
    }
}

/// Rows of queues, as columns.
#[derive(Debug, Default)]
pub(super) struct ChangedQueues {
    pub(super) devices: Vec<i64>,
    pub(super) positions: Vec<i64>,
    pub(super) messages: Vec<i64>,
    pub(super) bytes: Vec<i64>,
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
