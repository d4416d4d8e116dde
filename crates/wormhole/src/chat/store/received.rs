//! The received messages in the store, and their number for each sender.
//!
//! Stored messages are limited for each sender, so that a stranger does not take the place of others: messages that
//! cannot be read, and messages of accounts that we do not know.

use std::collections::{BTreeMap, BTreeSet};

use wormhole_chat::AccountId;

use super::ReceivedId;

/// The received messages in the store.
#[derive(Debug, Default)]
pub(super) struct ReceivedIndex {
    messages: BTreeMap<ReceivedId, Entry>,
    senders: BTreeMap<Option<AccountId>, Share>,
    /// The messages that could not be read.
    unreadable: BTreeSet<ReceivedId>,
    bytes: usize,
}

/// A message in the store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// The sender, if it is known.
    pub(super) from: Option<AccountId>,
    pub(super) is_readable: bool,
    /// Length of its row.
    pub(super) bytes: usize,
}

/// The messages of one sender.
#[derive(Debug, Default)]
struct Share {
    readable: usize,
    /// Bytes in those that can be read.
    bytes: usize,
    unreadable: BTreeSet<ReceivedId>,
}

impl ReceivedIndex {
    pub(super) fn insert(&mut self, id: ReceivedId, entry: Entry) {
        self.remove(id);
        let share = self.senders.entry(entry.from).or_default();
        if entry.is_readable {
            share.readable += 1;
            share.bytes += entry.bytes;
        } else {
            share.unreadable.insert(id);
            self.unreadable.insert(id);
        }
        self.bytes += entry.bytes;
        self.messages.insert(id, entry);
    }

    pub(super) fn remove(&mut self, id: ReceivedId) {
        let Some(entry) = self.messages.remove(&id) else { return };
        self.bytes = self.bytes.saturating_sub(entry.bytes);
        self.unreadable.remove(&id);
        let Some(share) = self.senders.get_mut(&entry.from) else { return };
        share.unreadable.remove(&id);
        if entry.is_readable {
            share.readable = share.readable.saturating_sub(1);
            share.bytes = share.bytes.saturating_sub(entry.bytes);
        }
        if share.readable == 0 && share.unreadable.is_empty() {
            self.senders.remove(&entry.from);
        }
    }

    /// The oldest message with a higher id, or the oldest of all.
    pub(super) fn after(&self, id: Option<ReceivedId>) -> Option<ReceivedId> {
        let mut newer = match id {
            Some(ReceivedId(id)) => self.messages.range(ReceivedId(id.saturating_add(1))..),
            None => self.messages.range(..),
        };
        newer.next().map(|(id, _)| *id)
    }

    /// The newest message of a sender that could not be read, if it has so many that no other one is stored.
    pub(super) fn last_unreadable(&self, from: Option<AccountId>) -> Option<ReceivedId> {
        let share = self.senders.get(&from)?;
        let is_full = share.unreadable.len() >= MAX_UNREADABLE_OF_ONE;
        share.unreadable.last().filter(|_| is_full).copied()
    }

    /// The oldest message that could not be read, if there are too many.
    pub(super) fn surplus(&self) -> Option<ReceivedId> {
        self.unreadable.first().filter(|_| self.unreadable.len() > MAX_UNREADABLE).copied()
    }

    /// Whether an account that we do not know has so many messages here that others are not stored.
    pub(super) fn is_share_used(&self, from: AccountId, more: usize) -> bool {
        self.senders.get(&Some(from)).is_some_and(|share| {
            share.readable >= MAX_OF_A_STRANGER
                || share.bytes.saturating_add(more) > MAX_BYTES_OF_A_STRANGER
        })
    }

    /// The messages of these accounts that could be read.
    pub(super) fn of_authors(&self, authors: &BTreeSet<AccountId>) -> Vec<ReceivedId> {
        if authors.is_empty() {
            return Vec::new();
        }
        let is_of_them = |entry: &Entry| {
            entry.is_readable && entry.from.is_some_and(|from| authors.contains(&from))
        };
        let of_them = self.messages.iter().filter(|(_, entry)| is_of_them(entry));
        of_them.map(|(id, _)| *id).collect()
    }

    pub(super) fn contains(&self, id: ReceivedId) -> bool {
        self.messages.contains_key(&id)
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn readable(&self) -> usize {
        self.messages.len().saturating_sub(self.unreadable.len())
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Maximum number of messages that could not be read; the oldest is removed first.
const MAX_UNREADABLE: usize = 1000;

/// Maximum number of messages of one account that could not be read. Of further ones, only the number is stored.
const MAX_UNREADABLE_OF_ONE: usize = 100;

/// Maximum number of messages of an account that we do not know, and that the application has not taken.
const MAX_OF_A_STRANGER: usize = 1000;

/// Maximum number of bytes in those. One message has at most 256 KiB.
const MAX_BYTES_OF_A_STRANGER: usize = 8 << 20;
