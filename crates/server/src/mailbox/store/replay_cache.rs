//! Long replays that are still being sent, so that the next reader shares their memory.
//!
//! Without this cache, every link that opens a full mailbox and does not read would hold its own copy.
//! The cache holds weak references only: a message that no link needs any more is read from the
//! database again.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use wormhole_magic::mailbox::server::StoredMessage;

/// The long mailboxes that were read lately, by their key.
#[derive(Debug, Default)]
pub(super) struct ReplayCache {
    replays: HashMap<i64, Vec<Weak<StoredMessage>>>,
    /// Number of mailboxes at which unused entries are removed.
    sweep_at: usize,
}

impl ReplayCache {
    /// Takes out the messages of a mailbox that are still in memory, by position.
    pub(super) fn take(&mut self, mailbox: i64) -> Vec<Weak<StoredMessage>> {
        self.replays.remove(&mailbox).unwrap_or_default()
    }

    /// Remembers the messages of a mailbox for as long as a link holds them.
    pub(super) fn put(&mut self, mailbox: i64, messages: &[Arc<StoredMessage>]) {
        if self.replays.len() >= self.sweep_at {
            self.replays
                .retain(|_, replay| replay.iter().any(|message| message.strong_count() > 0));
            self.sweep_at = 2 * self.replays.len() + MIN_SWEEP;
        }
        self.replays.insert(mailbox, messages.iter().map(Arc::downgrade).collect());
    }

    /// Forgets a removed mailbox: SQLite may use its key again.
    pub(super) fn forget(&mut self, mailbox: i64) {
        self.replays.remove(&mailbox);
    }

    /// Forgets everything, because messages of a failed transaction may be here.
    pub(super) fn clear(&mut self) {
        self.replays.clear();
    }
}

/// Number of mailboxes below which no sweep is worthwhile.
const MIN_SWEEP: usize = 64;
