//! Long replays that are still being sent, so that the next reader shares their memory.
//!
//! Without this cache, every link that opens a full mailbox and does not read would have its own copy in memory.
//! The cache contains only weak references: a message that no link needs any more is read from the database again.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use wormhole_magic::mailbox::server::StoredMessage;

/// The long mailboxes that were read recently, by their key.
#[derive(Debug, Default)]
pub(super) struct ReplayCache {
    replays: HashMap<i64, Vec<Weak<StoredMessage>>>,
    /// Number of mailboxes at which unused entries are removed.
    sweep_at: usize,
}

impl ReplayCache {
    /// Removes and returns the messages of a mailbox, in their order. Those that are still in memory can be upgraded.
    pub(super) fn take(&mut self, mailbox: i64) -> Vec<Weak<StoredMessage>> {
        self.replays.remove(&mailbox).unwrap_or_default()
    }

    /// Caches the messages of a mailbox for as long as a link needs them.
    pub(super) fn put(&mut self, mailbox: i64, messages: &[Arc<StoredMessage>]) {
        if self.replays.len() >= self.sweep_at {
            self.replays
                .retain(|_, replay| replay.iter().any(|message| message.strong_count() > 0));
            self.sweep_at = 2 * self.replays.len() + MIN_SWEEP;
        }
        self.replays.insert(mailbox, messages.iter().map(Arc::downgrade).collect());
    }

    /// Removes the entry of a removed mailbox, because SQLite may reuse its key.
    pub(super) fn remove(&mut self, mailbox: i64) {
        self.replays.remove(&mailbox);
    }

    /// Removes all entries, because they may contain messages of a failed transaction.
    pub(super) fn clear(&mut self) {
        self.replays.clear();
    }
}

/// Minimum number of new mailboxes between two sweeps.
const MIN_SWEEP: usize = 64;
