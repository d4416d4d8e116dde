//! Changes, receipts and read marks that arrive before their message: from another device, or because it is sent again.
//!
//! They are kept in rows of their own, and applied when the message arrives. The key of a row: author (16) and timestamp (8) of the
//! message, conversation (17), who (16) and when (8), kind (1). Its value: `01`, when it came in (8), whether we know who sent it (1),
//! length of the content (4), content, and zeros up to a multiple of 64 bytes.

use std::collections::{BTreeMap, BTreeSet};

use wormhole_chat::{AccountId, Content, DataMessage, Edit, MessageRef, Timestamp};
use wormhole_kit::Reader;
use zeroize::Zeroizing;

use super::edits::MessageChange;
use super::row::{conversation_key, put_bytes, read_conversation, read_timestamp};
use super::write::HistoryWriter;
use crate::chat::history::{Conversation, HistoryState};
use crate::chat::store::StoreError;
use crate::chat::store::database::{Database, Transaction};
use crate::chat::store::records::{FORMAT, read_bytes, read_flag, start};
use crate::chat::store::sealing::{RowKeys, Table};

/// Changes and receipts that have arrived before their messages, in memory.
#[derive(Debug, Default)]
pub(super) struct EarlyIndex(BTreeMap<EarlyKey, EarlyEntry>);

/// Identifies something that has arrived before its message. All of one message are next to each other.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct EarlyKey {
    author: AccountId,
    timestamp: Timestamp,
    conversation: Conversation,
    from: AccountId,
    at: Timestamp,
    kind: Kind,
}

/// A change or a receipt that has arrived.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Kind {
    Delete,
    Edit,
    React,
    /// A device of the recipient has the message.
    Delivered,
    /// Somebody has read the message: a recipient, or we on another device.
    Read,
}

#[derive(Clone, Copy, Debug)]
struct EarlyEntry {
    arrived: Timestamp,
    bytes: usize,
    is_known: bool,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Delete, Self::Edit, Self::React, Self::Delivered, Self::Read];

    const fn number(self) -> u8 {
        match self {
            Self::Delete => 1,
            Self::Edit => 2,
            Self::React => 3,
            Self::Delivered => 4,
            Self::Read => 5,
        }
    }
}

impl EarlyKey {
    /// No key of this message is less.
    const fn first_of(message: MessageRef) -> Self {
        let MessageRef { author, timestamp } = message;
        let from = AccountId::from_bytes([0; 16]);
        let conversation = Conversation::Account(from);
        Self { author, timestamp, conversation, from, at: Timestamp(0), kind: Kind::Delete }
    }

    fn encode(&self) -> Vec<u8> {
        let mut key = Vec::with_capacity(66);
        key.extend(self.author.as_bytes());
        key.extend(self.timestamp.0.to_be_bytes());
        key.extend(conversation_key(self.conversation));
        key.extend(self.from.as_bytes());
        key.extend(self.at.0.to_be_bytes());
        key.push(self.kind.number());
        key
    }

    fn decode(key: &[u8]) -> Result<Self, StoreError> {
        let mut reader = Reader::new(key);
        let author = AccountId::from_bytes(reader.array()?);
        let timestamp = read_timestamp(&mut reader)?;
        let conversation = read_conversation(&mut reader)?;
        let from = AccountId::from_bytes(reader.array()?);
        let at = read_timestamp(&mut reader)?;
        let number = reader.u8()?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.number() == number);
        let kind = kind.ok_or(StoreError::UnknownFormat)?;
        Ok(Self { author, timestamp, conversation, from, at, kind })
    }
}

impl EarlyIndex {
    /// Reads what is kept.
    pub(super) fn load(database: &Database, keys: &RowKeys) -> Result<Self, StoreError> {
        let mut index = BTreeMap::new();
        database.for_each(keys, Table::HistoryEarly, |key, value| {
            let (arrived, is_known, _) = decode(value)?;
            let entry = EarlyEntry { arrived, bytes: value.len(), is_known };
            index.insert(EarlyKey::decode(key)?, entry);
            Ok(())
        })?;
        Ok(Self(index))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets what has arrived for a conversation, or everything.
    pub(super) fn forget(
        &mut self,
        conversation: Option<Conversation>,
        rows: &mut Transaction<'_>,
    ) -> Result<(), StoreError> {
        let is_meant = |key: &&EarlyKey| conversation.is_none_or(|it| it == key.conversation);
        let keys: Vec<_> = self.0.keys().filter(is_meant).copied().collect();
        keys.into_iter().try_for_each(|key| self.remove(&key, rows))
    }

    fn remove(&mut self, key: &EarlyKey, rows: &mut Transaction<'_>) -> Result<(), StoreError> {
        self.0.remove(key);
        rows.set(Table::HistoryEarly, &key.encode(), None)
    }

    /// Returns the item to remove before one more of this account is added in a conversation: the oldest of the account, or of the
    /// one that has the largest number.
    fn surplus(&self, new: &EarlyKey, bytes: usize, is_known: bool) -> Option<EarlyKey> {
        let of_author: Vec<_> = self.0.iter().filter(|(key, _)| key.from == new.from).collect();
        let sum = |entries: &mut dyn Iterator<Item = Entry<'_>>| {
            entries.map(|(_, entry)| entry.bytes).sum::<usize>()
        };
        if of_author.len() >= MAX_OF_AUTHOR
            || sum(&mut of_author.iter().copied()) + bytes > MAX_BYTES_OF_AUTHOR
        {
            return oldest(of_author.into_iter());
        }
        let in_conversation = |(key, _): &(&EarlyKey, _)| key.conversation == new.conversation;
        let of_kind = |(_, entry): &(_, &EarlyEntry)| entry.is_known == is_known;
        let (max, max_bytes) =
            if is_known { (MAX_KNOWN, MAX_BYTES_KNOWN) } else { (MAX_UNKNOWN, MAX_BYTES_UNKNOWN) };
        let of_all = || self.0.iter().filter(of_kind);
        if self.0.iter().filter(in_conversation).count() >= MAX_OF_CONVERSATION {
            heaviest(self.0.iter().filter(in_conversation))
        } else if of_all().count() >= max || sum(&mut of_all()) + bytes > max_bytes {
            heaviest(of_all())
        } else {
            None
        }
    }
}

type Entry<'a> = (&'a EarlyKey, &'a EarlyEntry);

fn oldest<'a>(entries: impl Iterator<Item = Entry<'a>>) -> Option<EarlyKey> {
    entries.min_by_key(|(_, entry)| entry.arrived).map(|(key, _)| *key)
}

/// The oldest of the account that has most.
fn heaviest<'a>(entries: impl Iterator<Item = Entry<'a>> + Clone) -> Option<EarlyKey> {
    let mut counts = BTreeMap::<AccountId, usize>::new();
    entries.clone().for_each(|(key, _)| *counts.entry(key.from).or_default() += 1);
    let (account, _) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    oldest(entries.filter(|(key, _)| key.from == account))
}

impl HistoryWriter<'_, '_> {
    /// Keeps a change of a message that has not arrived.
    pub(super) fn keep_change(
        &mut self,
        conversation: Conversation,
        target: MessageRef,
        from: AccountId,
        at: Timestamp,
        change: &MessageChange,
    ) -> Result<(), StoreError> {
        // Only the author may edit and delete: what others say about it is never applied.
        let (kind, content) = match change {
            MessageChange::Delete(_) => (Kind::Delete, Content::Null),
            MessageChange::Edit(target, message) => {
                let edit = Edit { target: *target, message: (**message).clone() };
                (Kind::Edit, Content::Edit(Box::new(edit)))
            }
            MessageChange::React(reaction) => {
                let reaction = Some(reaction.clone());
                let data = DataMessage { reaction, ..DataMessage::default() };
                (Kind::React, Content::Data(Box::new(data)))
            }
        };
        let MessageRef { author, timestamp } = target;
        let key = EarlyKey { author, timestamp, conversation, from, at, kind };
        self.keep(key, &content.encode())
    }

    /// Keeps a receipt for a message of ours that has not arrived from the device that has sent it, or a read mark of another device
    /// of ours for a message of somebody.
    pub(super) fn keep_receipt(
        &mut self,
        target: MessageRef,
        state: HistoryState,
        from: AccountId,
    ) -> Result<(), StoreError> {
        let MessageRef { author, timestamp } = target;
        let kind = if state == HistoryState::Read { Kind::Read } else { Kind::Delivered };
        let is_read_mark = Some(from) == self.history.own;
        let conversation = Conversation::Account(if is_read_mark { author } else { from });
        let key = EarlyKey { author, timestamp, conversation, from, at: Timestamp(0), kind };
        self.keep(key, &[])
    }

    fn keep(&mut self, key: EarlyKey, content: &[u8]) -> Result<(), StoreError> {
        self.forget_expired()?;
        let is_known = self.knows(key.from) || matches!(key.conversation, Conversation::Group(_));
        let value = encode(self.now, is_known, content);
        if value.len() > MAX_BYTES_OF_AUTHOR || self.history.early.0.contains_key(&key) {
            return Ok(());
        }
        while let Some(surplus) = self.history.early.surplus(&key, value.len(), is_known) {
            self.history.early.remove(&surplus, self.rows)?;
        }
        self.rows.put(Table::HistoryEarly, &key.encode(), &value)?;
        let entry = EarlyEntry { arrived: self.now, bytes: value.len(), is_known };
        self.history.early.0.insert(key, entry);
        Ok(())
    }

    /// Whether the user has accepted an account.
    fn knows(&self, account: AccountId) -> bool {
        let accepted = |accepted: &BTreeSet<AccountId>| accepted.contains(&account);
        Some(account) == self.history.own || self.accepted.is_some_and(accepted)
    }

    fn forget_expired(&mut self) -> Result<(), StoreError> {
        let limit = Timestamp(self.now.0.saturating_sub(MAX_AGE));
        let expired = self.history.early.0.iter().filter(|(_, entry)| entry.arrived < limit);
        let expired: Vec<_> = expired.map(|(key, _)| *key).collect();
        expired.into_iter().try_for_each(|key| self.history.early.remove(&key, self.rows))
    }

    /// Applies changes and receipts that have arrived before their message.
    pub(super) fn apply_early(&mut self, message: MessageRef) -> Result<(), StoreError> {
        let MessageRef { author, timestamp } = message;
        if self.history.early.0.is_empty() {
            return Ok(());
        }
        let is_meant = |key: &&EarlyKey| (key.author, key.timestamp) == (author, timestamp);
        let from_here = self.history.early.0.range(EarlyKey::first_of(message)..);
        let mut keys: Vec<_> =
            from_here.map(|(key, _)| key).take_while(is_meant).copied().collect();
        keys.sort_by_key(|key| (key.at, *key));
        for key in keys {
            if self.apply_one(&key)? {
                self.history.early.remove(&key, self.rows)?;
            }
        }
        Ok(())
    }

    /// Returns whether it is done.
    fn apply_one(&mut self, key: &EarlyKey) -> Result<bool, StoreError> {
        let EarlyKey { author, timestamp, conversation, from, at, kind } = *key;
        let target = MessageRef { author, timestamp };
        let change = match kind {
            Kind::Delivered => return self.confirm(timestamp, HistoryState::Delivered, from),
            Kind::Read if Some(author) == self.history.own => {
                return self.confirm(timestamp, HistoryState::Read, from);
            }
            Kind::Read => return self.mark_read(target),
            Kind::Delete => MessageChange::Delete(timestamp),
            Kind::Edit | Kind::React => match self.read_change(key)? {
                Some(change) => change,
                None => return Ok(true),
            },
        };
        self.change_known(conversation, target, from, at, &change)
    }

    fn read_change(&self, key: &EarlyKey) -> Result<Option<MessageChange>, StoreError> {
        let Some(value) = self.rows.get(Table::HistoryEarly, &key.encode())? else {
            return Ok(None);
        };
        let (_, _, content) = decode(&value)?;
        let content = Content::decode_stored(content).map_err(|_| StoreError::Damaged)?;
        Ok(if let Content::Data(data) = content {
            data.reaction.map(MessageChange::React)
        } else if let Content::Edit(edit) = content {
            Some(MessageChange::Edit(edit.target, Box::new(edit.message)))
        } else {
            None
        })
    }
}

fn encode(arrived: Timestamp, is_known: bool, content: &[u8]) -> Zeroizing<Vec<u8>> {
    let length = (14 + content.len()).next_multiple_of(PADDING);
    let mut value = Zeroizing::new(Vec::with_capacity(length));
    value.push(FORMAT);
    value.extend(arrived.0.to_be_bytes());
    value.push(is_known.into());
    put_bytes(&mut value, content);
    value.resize(length, 0);
    value
}

fn decode(value: &[u8]) -> Result<(Timestamp, bool, &[u8]), StoreError> {
    let mut reader = start(value)?;
    let arrived = read_timestamp(&mut reader)?;
    let is_known = read_flag(&mut reader)?;
    let content = read_bytes(&mut reader)?;
    let is_valid = reader.rest().iter().all(|byte| *byte == 0);
    if is_valid { Ok((arrived, is_known, content)) } else { Err(StoreError::Damaged) }
}

/// Decodes a row.
#[cfg(feature = "fuzzing")]
pub(super) fn fuzz(bytes: &[u8]) {
    let _ = EarlyKey::decode(bytes);
    let _ = decode(bytes);
}

/// Maximum number of that is kept of one account.
const MAX_OF_AUTHOR: usize = 64;

/// Maximum number of bytes that are kept of one account.
const MAX_BYTES_OF_AUTHOR: usize = 256 << 10;

/// Maximum number of that is kept of one conversation.
const MAX_OF_CONVERSATION: usize = 512;

/// Maximum number of that is kept of people whom the user has accepted, and of groups.
const MAX_KNOWN: usize = 2000;

/// Maximum number of bytes of them.
const MAX_BYTES_KNOWN: usize = 8 << 20;

/// Maximum number of that is kept of others.
const MAX_UNKNOWN: usize = 200;

/// Maximum number of bytes of them.
const MAX_BYTES_UNKNOWN: usize = 1 << 20;

/// Milliseconds for which it is kept: a week.
const MAX_AGE: u64 = 7 * 24 * 60 * 60 * 1000;

/// Values have a multiple of this length, so that it says little about a text.
const PADDING: usize = 64;
