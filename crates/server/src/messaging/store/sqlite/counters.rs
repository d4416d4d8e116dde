//! Numbers that are kept in memory because this process alone changes the database.

use std::collections::HashMap;

use rusqlite::{Connection, Result, params};

use crate::messaging::store::DeviceKey;
use crate::messaging::store::tables::QueueSize;

/// The row `counters`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Counters {
    position: i64,
    messages: u64,
    is_changed: bool,
}

impl Counters {
    pub(super) fn load(database: &Connection) -> Result<Self> {
        let sql = "SELECT position, messages FROM counters";
        database.query_row(sql, [], |row| {
            Ok(Self { position: row.get(0)?, messages: row.get(1)?, is_changed: false })
        })
    }

    /// Writes the row if it has changed.
    pub(super) fn save(&mut self, database: &Connection) -> Result<()> {
        if std::mem::take(&mut self.is_changed) {
            let sql = "UPDATE counters SET position = ?, messages = ?";
            database.prepare_cached(sql)?.execute(params![self.position, self.messages])?;
        }
        Ok(())
    }

    /// The position of a new message. No earlier message ever had it.
    pub(super) const fn add_message(&mut self) -> i64 {
        self.is_changed = true;
        self.position += 1;
        self.messages += 1;
        self.position
    }

    pub(super) const fn remove_messages(&mut self, count: u64) {
        self.is_changed = true;
        self.messages = self.messages.saturating_sub(count);
    }

    /// Number of stored messages.
    pub(super) const fn messages(&self) -> u64 {
        self.messages
    }
}

/// The sizes of the queues that were used recently. A queue that is not here is counted when it is needed.
#[derive(Debug, Default)]
pub(super) struct QueueSizes(HashMap<DeviceKey, QueueSize>);

impl QueueSizes {
    /// The size of a queue.
    pub(super) fn of(&mut self, database: &Connection, device: DeviceKey) -> Result<QueueSize> {
        if let Some(size) = self.0.get(&device) {
            return Ok(*size);
        }
        let sql = "SELECT count(*), coalesce(sum(length(envelope)), 0) FROM messages
            WHERE device = ?";
        let size = database.prepare_cached(sql)?.query_row([device.0], |row| {
            Ok(QueueSize { messages: row.get(0)?, bytes: row.get(1)? })
        })?;
        if self.0.len() >= MAX_QUEUES {
            self.0.clear();
        }
        self.0.insert(device, size);
        Ok(size)
    }

    pub(super) fn add(&mut self, device: DeviceKey, bytes: u64) {
        if let Some(size) = self.0.get_mut(&device) {
            size.messages += 1;
            size.bytes += bytes;
        }
    }

    pub(super) fn remove(&mut self, device: DeviceKey, bytes: u64) {
        if let Some(size) = self.0.get_mut(&device) {
            size.messages = size.messages.saturating_sub(1);
            size.bytes = size.bytes.saturating_sub(bytes);
        }
    }

    /// Forgets one queue.
    pub(super) fn forget(&mut self, device: DeviceKey) {
        self.0.remove(&device);
    }

    /// Forgets all queues.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Most queues whose sizes are kept, about 8 MiB.
const MAX_QUEUES: usize = 1 << 17;
