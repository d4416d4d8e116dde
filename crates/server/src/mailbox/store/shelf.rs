//! Long replays that are on their way to somebody, so that the next reader shares them.
//!
//! Without it, every link that opens a full mailbox and does not read would hold a copy of its own.
//! Holds nothing by itself: what nobody is being shown is read from the database again.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use wormhole_magic::mailbox::server::StoredMessage;

/// The long mailboxes that were read lately, by their key.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    replays: HashMap<i64, Vec<Weak<StoredMessage>>>,
    /// Mailboxes beyond which those that nobody reads any more are looked for.
    sweep_at: usize,
}

impl Shelf {
    /// What somebody is still being shown of a mailbox, by position.
    pub(super) fn take(&mut self, mailbox: i64) -> Vec<Weak<StoredMessage>> {
        self.replays.remove(&mailbox).unwrap_or_default()
    }

    /// Remembers a mailbox for as long as somebody is being shown it.
    pub(super) fn put(&mut self, mailbox: i64, messages: &[Arc<StoredMessage>]) {
        if self.replays.len() >= self.sweep_at {
            self.replays
                .retain(|_, replay| replay.iter().any(|message| message.strong_count() > 0));
            self.sweep_at = 2 * self.replays.len() + MIN_SWEEP;
        }
        self.replays.insert(mailbox, messages.iter().map(Arc::downgrade).collect());
    }

    /// Forgets a mailbox that is removed: its key may serve another one.
    pub(super) fn forget(&mut self, mailbox: i64) {
        self.replays.remove(&mailbox);
    }

    /// Forgets everything: what was read in a transaction may never have been.
    pub(super) fn clear(&mut self) {
        self.replays.clear();
    }
}

/// Mailboxes that are not worth looking through.
const MIN_SWEEP: usize = 64;
