//! The state of the history in memory: its segments, its conversations, and what is kept.
//!
//! Messages have consecutive numbers. A segment is a range of them. Its row holds a digest of its messages and says which
//! version of its words is the current one, so that nothing of it can be exchanged, and that opening the store does not read the
//! messages.

use std::collections::BTreeMap;
use std::time::Duration;

use wormhole_chat::{AccountId, Address, DeviceId, Timestamp};
use wormhole_kit::Reader;

use super::early::EarlyIndex;
use super::row::{conversation_key, read_conversation, read_timestamp};
use crate::chat::history::{Conversation, HistoryLimits, HistoryMode};
use crate::chat::store::StoreError;
use crate::chat::store::database::{Database, Transaction};
use crate::chat::store::records::{FORMAT, end, read_flag, start};
use crate::chat::store::sealing::{NONCE, RowKeys, RowVersion, Table};

/// The part of the history that is in memory.
#[derive(Debug, Default)]
pub(in crate::chat::store) struct History {
    pub(super) mode: HistoryMode,
    /// Our own account; `None` before the registration.
    pub(super) own: Option<AccountId>,
    /// This device.
    pub(super) device: Option<DeviceId>,
    /// The next number of a message. Numbers are never used again.
    pub(super) next: i64,
    /// Older messages get numbers below this one.
    pub(super) lowest: i64,
    /// By the number of their first message.
    pub(super) segments: BTreeMap<i64, Segment>,
    pub(super) conversations: BTreeMap<Conversation, ConversationState>,
    /// Changes and receipts that have arrived before their messages.
    pub(super) early: EarlyIndex,
}

/// A segment of the history.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Segment {
    /// Its last number.
    pub(super) last: i64,
    pub(super) messages: u32,
    /// Bytes of the messages that were added.
    pub(super) bytes: u64,
    /// XOR of the keyed hashes of its messages.
    pub(super) digest: [u8; 32],
    /// The words of its first messages. `None` if the segment has no list of words: then it is read completely.
    pub(super) words: Option<SegmentWords>,
    /// When the first of its messages expires.
    pub(super) due: Option<Timestamp>,
    /// When the first of its messages came into the store.
    pub(super) oldest: Timestamp,
    /// Whether the digest was compared since the store was opened. Not stored.
    pub(super) is_checked: bool,
}

/// The words of a segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct SegmentWords {
    /// The current version of their directory.
    pub(super) directory: RowVersion,
    /// They are those of the messages up to this number. Later ones are read one by one.
    pub(super) last: i64,
}

/// The messages of a conversation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct ConversationState {
    pub(super) messages: u64,
    /// No message has a lower number.
    pub(super) first: i64,
    /// No message has a higher number.
    pub(super) last: i64,
    /// When the latest message came into the store.
    pub(super) latest: Timestamp,
}

impl History {
    /// Reads the state.
    pub(in crate::chat::store) fn load(
        database: &Database,
        keys: &RowKeys,
    ) -> Result<Self, StoreError> {
        let mut history = Self::default();
        if let Some(value) = database.get(keys, Table::History, &[])? {
            history.decode(&value)?;
        }
        database.for_each(keys, Table::HistorySegment, |key, value| {
            let first = i64::from_be_bytes(Reader::new(key).array()?);
            history.segments.insert(first, Segment::decode(value)?);
            Ok(())
        })?;
        database.for_each(keys, Table::HistoryConversation, |key, value| {
            let conversation = read_conversation(&mut Reader::new(key))?;
            history.conversations.insert(conversation, ConversationState::decode(value)?);
            Ok(())
        })?;
        history.early = EarlyIndex::load(database, keys)?;
        Ok(history)
    }

    pub(super) fn write(&self, rows: &mut Transaction<'_>) -> Result<(), StoreError> {
        rows.put(Table::History, &[], &self.encode())
    }

    pub(super) fn write_segment(
        &self,
        rows: &mut Transaction<'_>,
        first: i64,
    ) -> Result<(), StoreError> {
        let value = self.segments.get(&first).map(Segment::encode);
        rows.set(Table::HistorySegment, &first.to_be_bytes(), value.as_deref())
    }

    pub(super) fn write_conversation(
        &self,
        rows: &mut Transaction<'_>,
        conversation: Conversation,
    ) -> Result<(), StoreError> {
        let value = self.conversations.get(&conversation).map(ConversationState::encode);
        let key = conversation_key(conversation);
        rows.set(Table::HistoryConversation, &key, value.as_deref())
    }

    /// Sets our account and device.
    pub(in crate::chat::store) fn set_own(&mut self, own: Option<Address>) {
        if let Some(Address { account, device }) = own {
            (self.own, self.device) = (Some(account), Some(device));
        }
    }

    /// Whether messages are kept.
    pub(in crate::chat::store) const fn is_on(&self) -> bool {
        matches!(self.mode, HistoryMode::On(_))
    }

    /// Number of messages.
    pub(super) fn messages(&self) -> u64 {
        self.segments.values().map(|segment| u64::from(segment.messages)).sum()
    }

    /// The first number of the segment with this message.
    pub(super) fn segment_of(&self, number: i64) -> Option<i64> {
        let (first, segment) = self.segments.range(..=number).next_back()?;
        (number <= segment.last).then_some(*first)
    }

    /// When something must be deleted.
    pub(in crate::chat::store) fn due(&self) -> Option<Timestamp> {
        let HistoryMode::On(limits) = self.mode else { return None };
        let expiry = self.segments.values().filter_map(|segment| segment.due).min();
        let oldest = self.segments.values().map(|segment| segment.oldest).min();
        let too_old = limits.max_age.zip(oldest).map(|(age, oldest)| {
            Timestamp(oldest.0.saturating_add(milliseconds(age)).saturating_add(HOUR))
        });
        let surplus = limits.max_messages.filter(|max| self.messages() >= max + SURPLUS);
        expiry.into_iter().chain(too_old).chain(surplus.map(|_| Timestamp(0))).min()
    }

    fn encode(&self) -> Vec<u8> {
        let mut value = vec![FORMAT, self.is_on().into()];
        let HistoryLimits { max_age, max_messages } = match self.mode {
            HistoryMode::On(limits) => limits,
            HistoryMode::Off => HistoryLimits::default(),
        };
        // Zero means no limit: a history without space is useless.
        value.extend(max_age.map_or(0, milliseconds).to_be_bytes());
        value.extend(max_messages.unwrap_or(0).to_be_bytes());
        value.extend(self.next.to_be_bytes());
        value.extend(self.lowest.to_be_bytes());
        value
    }

    fn decode(&mut self, value: &[u8]) -> Result<(), StoreError> {
        let mut reader = start(value)?;
        let is_on = read_flag(&mut reader)?;
        let age = Some(u64::from_be_bytes(reader.array()?)).filter(|age| *age > 0);
        let count = Some(u64::from_be_bytes(reader.array()?)).filter(|count| *count > 0);
        let limits = HistoryLimits { max_age: age.map(Duration::from_millis), max_messages: count };
        self.mode = if is_on { HistoryMode::On(limits) } else { HistoryMode::Off };
        self.next = i64::from_be_bytes(reader.array()?);
        self.lowest = i64::from_be_bytes(reader.array()?);
        end(&reader, ())
    }
}

impl Segment {
    /// How many messages are after those whose words are stored.
    pub(super) fn without_words(&self, first: i64) -> i64 {
        self.last - self.words.map_or(first - 1, |words| words.last)
    }

    /// Whether it gets no further messages.
    pub(super) const fn is_full(&self, first: i64) -> bool {
        self.last - first + 1 >= MAX_MESSAGES || self.bytes >= MAX_BYTES
    }

    /// Adds the digest of a row that is new or has changed; adding it again removes it.
    pub(super) fn add(&mut self, digest: &[u8; 32]) {
        self.digest.iter_mut().zip(digest).for_each(|(to, from)| *to ^= from);
    }

    pub(super) fn expects(&mut self, expires: Option<Timestamp>) {
        self.due = self.due.into_iter().chain(expires).min();
    }

    fn encode(&self) -> Vec<u8> {
        let mut value = vec![SEGMENT_FORMAT];
        value.extend(self.last.to_be_bytes());
        value.extend(self.messages.to_be_bytes());
        value.extend(self.bytes.to_be_bytes());
        value.extend(self.digest);
        value.push(self.words.is_some().into());
        if let Some(words) = self.words {
            value.extend(words.directory);
            value.extend(words.last.to_be_bytes());
        }
        value.push(self.due.is_some().into());
        value.extend(self.due.into_iter().flat_map(|due| due.0.to_be_bytes()));
        value.extend(self.oldest.0.to_be_bytes());
        value
    }

    fn decode(value: &[u8]) -> Result<Self, StoreError> {
        let mut reader = Reader::new(value);
        let format = reader.u8()?;
        if format != SEGMENT_FORMAT && format != WITHOUT_PAGES {
            return Err(StoreError::UnknownFormat);
        }
        let last = i64::from_be_bytes(reader.array()?);
        let messages = reader.u32_be()?;
        let bytes = u64::from_be_bytes(reader.array()?);
        let digest = reader.array()?;
        let has_words = read_flag(&mut reader)?;
        let words = if format == WITHOUT_PAGES {
            // Those that it has are gone.
            reader.take(if has_words { NONCE } else { 0 })?;
            None
        } else {
            has_words.then(|| read_words(&mut reader)).transpose()?
        };
        let has_due = read_flag(&mut reader)?;
        let due = has_due.then(|| read_timestamp(&mut reader)).transpose()?;
        let oldest = read_timestamp(&mut reader)?;
        let segment = Self { last, messages, bytes, digest, words, due, oldest, is_checked: false };
        end(&reader, segment)
    }
}

fn read_words(reader: &mut Reader<'_>) -> Result<SegmentWords, StoreError> {
    let directory = reader.array()?;
    Ok(SegmentWords { directory, last: i64::from_be_bytes(reader.array()?) })
}

impl ConversationState {
    fn encode(&self) -> Vec<u8> {
        let mut value = vec![FORMAT];
        value.extend(self.messages.to_be_bytes());
        value.extend(self.first.to_be_bytes());
        value.extend(self.last.to_be_bytes());
        value.extend(self.latest.0.to_be_bytes());
        value
    }

    fn decode(value: &[u8]) -> Result<Self, StoreError> {
        let mut reader = start(value)?;
        let messages = u64::from_be_bytes(reader.array()?);
        let first = i64::from_be_bytes(reader.array()?);
        let last = i64::from_be_bytes(reader.array()?);
        let latest = read_timestamp(&mut reader)?;
        end(&reader, Self { messages, first, last, latest })
    }
}

/// The time in milliseconds.
pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Messages of a segment, at most.
pub(super) const MAX_MESSAGES: i64 = 4096;

/// Messages after which the words of the segment that is not full yet are written again.
pub(super) const STEP: i64 = MAX_MESSAGES / 4;

/// First byte of the row of a segment before words were in pages.
const WITHOUT_PAGES: u8 = 1;

/// First byte of the row of a segment.
const SEGMENT_FORMAT: u8 = 2;

/// A segment with so many bytes gets no further messages.
const MAX_BYTES: u64 = 2 << 20;

/// Messages beyond the limit before the oldest are removed: each time, the words of a segment are written again.
const SURPLUS: u64 = 256;

/// Milliseconds that messages may be kept beyond their maximum age, so that they are removed together.
const HOUR: u64 = 60 * 60 * 1000;

#[cfg(feature = "fuzzing")]
pub(in crate::chat::store) fn decode_all(bytes: &[u8]) {
    let _ = Segment::decode(bytes);
    let _ = ConversationState::decode(bytes);
    let _ = History::default().decode(bytes);
}
