//! Numbers that are kept in memory because this process alone changes the database.

use std::collections::HashMap;

use rusqlite::{Connection, Result, Row, params};
use wormhole_chat::AccountId;

use crate::messaging::store::DeviceKey;
use crate::messaging::store::tables::{QueueSize, QueueUse, SenderQueue};

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
pub(super) struct QueueSizes {
    queues: HashMap<DeviceKey, SizeBySender>,
    /// Senders in all queues.
    senders: usize,
}

/// How much waits for a device, from each sender.
#[derive(Debug, Default)]
struct SizeBySender {
    all: QueueUse,
    from: HashMap<AccountId, QueueUse>,
}

impl QueueSizes {
    /// The size of a queue.
    pub(super) fn get(&mut self, database: &Connection, queue: SenderQueue) -> Result<QueueSize> {
        let SenderQueue { device, source } = queue;
        if !self.queues.contains_key(&device) {
            let counted = SizeBySender::count(database, device)?;
            if self.queues.len() >= MAX_QUEUES || self.senders >= MAX_QUEUES {
                self.clear();
            }
            self.senders += counted.from.len();
            self.queues.insert(device, counted);
        }
        Ok(self.queues.get(&device).map_or_else(QueueSize::default, |size| QueueSize {
            all: size.all,
            from_sender: size.from.get(&source).copied().unwrap_or_default(),
        }))
    }

    pub(super) fn add(&mut self, queue: SenderQueue, bytes: u64) {
        let Some(size) = self.queues.get_mut(&queue.device) else { return };
        let senders = size.from.len();
        let own = size.from.entry(queue.source).or_default();
        for waiting in [&mut size.all, own] {
            waiting.messages += 1;
            waiting.bytes += bytes;
        }
        self.senders += size.from.len() - senders;
    }

    pub(super) fn remove(&mut self, queue: SenderQueue, bytes: u64) {
        let Some(size) = self.queues.get_mut(&queue.device) else { return };
        let Some(own) = size.from.get_mut(&queue.source) else { return };
        for waiting in [&mut size.all, &mut *own] {
            waiting.messages = waiting.messages.saturating_sub(1);
            waiting.bytes = waiting.bytes.saturating_sub(bytes);
        }
        if own.messages == 0 {
            size.from.remove(&queue.source);
            self.senders = self.senders.saturating_sub(1);
        }
    }

    /// Forgets one queue.
    pub(super) fn forget(&mut self, device: DeviceKey) {
        if let Some(size) = self.queues.remove(&device) {
            self.senders = self.senders.saturating_sub(size.from.len());
        }
    }

    /// Forgets all queues.
    pub(super) fn clear(&mut self) {
        self.queues.clear();
        self.senders = 0;
    }
}

impl SizeBySender {
    fn count(database: &Connection, device: DeviceKey) -> Result<Self> {
        let sql = "SELECT source, count(*), sum(length(envelope)) FROM messages
            WHERE device = ? GROUP BY source";
        let mut statement = database.prepare_cached(sql)?;
        let read = |row: &Row<'_>| {
            let waiting = QueueUse { messages: row.get(1)?, bytes: row.get(2)? };
            Ok((row.get(0).map(AccountId::from_bytes)?, waiting))
        };
        let mut counted = Self::default();
        for row in statement.query_map([device.0], read)? {
            let (source, waiting) = row?;
            counted.all.messages += waiting.messages;
            counted.all.bytes += waiting.bytes;
            counted.from.insert(source, waiting);
        }
        Ok(counted)
    }
}

/// Maximum number of queues whose sizes are kept, and of senders in them, about 16 MiB.
const MAX_QUEUES: usize = 1 << 17;
