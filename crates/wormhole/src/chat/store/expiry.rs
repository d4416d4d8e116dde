//! Received messages that disappear before the application has taken them, because the user has read them on another device.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use wormhole_chat::{AccountId, MessageRef, Timestamp};

use super::database::{Database, Transaction};
use super::history::{HistoryChange, HistoryWriter};
use super::received::ReceivedIndex;
use super::sealing::{RowKeys, Table};
use super::{ReceivedId, Store, StoreError, StoredMessage, items};
use crate::chat::account::now;
use crate::chat::written::Written;

/// When received messages must be gone.
#[derive(Debug, Default)]
pub(super) struct ReceivedEnds(BTreeMap<ReceivedId, Timestamp>);

impl ReceivedEnds {
    /// # Errors
    /// The store is damaged or cannot be read.
    pub(super) fn load(database: &Database, keys: &RowKeys) -> Result<Self, StoreError> {
        let mut ends = BTreeMap::new();
        database.for_each(keys, Table::ReceivedEnd, |key, value| {
            ends.insert(items::decode_received_id(key)?, items::decode_timestamp(value)?);
            Ok(())
        })?;
        Ok(Self(ends))
    }

    /// When the next message must be gone.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.0.values().min().copied()
    }

    /// Whether a message must not be shown any more.
    pub(super) fn is_over(&self, id: ReceivedId, now: Timestamp) -> bool {
        self.0.get(&id).is_some_and(|end| *end <= now)
    }

    pub(super) fn remove(&mut self, id: ReceivedId) {
        self.0.remove(&id);
    }

    /// Writes when messages must be gone. The first time counts.
    pub(super) fn write(
        &mut self,
        rows: &mut Transaction<'_>,
        ends: Vec<(ReceivedId, Timestamp)>,
    ) -> Result<(), StoreError> {
        for (id, end) in ends {
            if let Entry::Vacant(entry) = self.0.entry(id) {
                rows.put(Table::ReceivedEnd, &id.0.to_be_bytes(), &end.0.to_be_bytes())?;
                entry.insert(end);
            }
        }
        Ok(())
    }
}

impl Store {
    /// Deletes the received messages that have disappeared. When this returns, that is durable, and they are overwritten.
    pub(super) fn purge_received(&mut self) -> Result<(), StoreError> {
        let time = now();
        let over = self.ends.0.keys().copied().filter(|id| self.ends.is_over(*id, time));
        let over: Vec<_> = over.collect();
        if over.is_empty() {
            return Ok(());
        }
        let mut transaction = self.database.begin(&self.keys)?;
        for id in &over {
            for table in [Table::Received, Table::Note, Table::ReceivedEnd] {
                transaction.set(table, &id.0.to_be_bytes(), None)?;
            }
        }
        transaction.commit()?;
        for id in over {
            self.received.remove(id);
            self.ends.remove(id);
        }
        self.database.wipe_log()
    }
}

/// When messages must be gone that we have just read on another device.
pub(super) fn ends_of_read(
    rows: &Transaction<'_>,
    index: &ReceivedIndex,
    changes: &[HistoryChange],
) -> Result<Vec<(ReceivedId, Timestamp)>, StoreError> {
    let mut read = BTreeSet::new();
    for change in changes {
        if let HistoryChange::Read(messages) = change {
            read.extend(messages.iter().map(|message| (message.author, message.timestamp)));
        }
    }
    let authors: BTreeSet<AccountId> = read.iter().map(|(author, _)| *author).collect();
    let mut ends = Vec::new();
    for id in index.of_authors(&authors) {
        let value = rows.get(Table::Received, &id.0.to_be_bytes())?;
        let Some(Disappearing { author, written, timer }) = value.and_then(|it| disappearing(&it))
        else {
            continue;
        };
        // An edit goes with its message.
        let names = [Some(written.timestamp), written.edits].into_iter().flatten();
        if !written.is_ours && names.into_iter().any(|name| read.contains(&(author, name))) {
            ends.push((id, after(now(), timer)));
        }
    }
    Ok(ends)
}

/// When messages must be gone that have just arrived: we have sent them from another device, or have read them there before.
pub(super) fn ends_of_arrived(
    writer: &HistoryWriter<'_, '_>,
    arrived: &[(ReceivedId, &[u8])],
) -> Result<Vec<(ReceivedId, Timestamp)>, StoreError> {
    let mut ends = Vec::new();
    for (id, value) in arrived {
        let Some(Disappearing { author, written, timer }) = disappearing(value) else { continue };
        let end = if written.is_ours {
            Some(after(written.timestamp.min(now()), timer))
        } else {
            writer.expiry_of(MessageRef { author, timestamp: written.timestamp })?
        };
        ends.extend(end.map(|end| (*id, end)));
    }
    Ok(ends)
}

/// A message with a timer.
struct Disappearing {
    author: AccountId,
    written: Written,
    /// In milliseconds.
    timer: u64,
}

/// The message of a row, if it has a timer.
fn disappearing(value: &[u8]) -> Option<Disappearing> {
    let Ok(StoredMessage::Read(received)) = items::decode_received(value) else { return None };
    let written = Written::from_received(&received)?;
    let seconds = written.message.expire_timer.filter(|seconds| *seconds > 0)?;
    let timer = u64::from(seconds).saturating_mul(1000);
    Some(Disappearing { author: received.from.account, written, timer })
}

const fn after(start: Timestamp, timer: u64) -> Timestamp {
    Timestamp(start.0.saturating_add(timer))
}
