//! Changes of the history within a transaction.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use wormhole_chat::{AccountId, MessageRef, Timestamp};

use super::index::{IndexBuilder, directory};
use super::read::{check, open};
use super::row::{HistoryRow, conversation_key};
use super::segment::{ConversationState, History, STEP, Segment, SegmentWords};
use super::words::words;
use crate::chat::history::Conversation;
use crate::chat::store::StoreError;
use crate::chat::store::database::{HistoryTable, Transaction};
use crate::chat::store::sealing::{RowKeys, Table, version};

/// Changes of the history. [`finish`](Self::finish) writes what they have in common.
pub(in crate::chat::store) struct HistoryWriter<'a, 'b> {
    pub(super) rows: &'a mut Transaction<'b>,
    pub(super) history: &'a mut History,
    pub(super) now: Timestamp,
    /// Accounts that the user has accepted, if it matters.
    pub(super) accepted: Option<&'a BTreeSet<AccountId>>,
    /// Segments whose row must be written.
    segments: BTreeSet<i64>,
    /// Segments whose words must be written.
    words: BTreeSet<i64>,
    conversations: BTreeSet<Conversation>,
    /// Whether texts were deleted.
    is_erased: bool,
}

impl<'a, 'b> HistoryWriter<'a, 'b> {
    pub(in crate::chat::store) const fn new(
        rows: &'a mut Transaction<'b>,
        history: &'a mut History,
        now: Timestamp,
    ) -> Self {
        Self {
            rows,
            history,
            now,
            accepted: None,
            segments: BTreeSet::new(),
            words: BTreeSet::new(),
            conversations: BTreeSet::new(),
            is_erased: false,
        }
    }

    /// Sets the accounts that the user has accepted.
    pub(in crate::chat::store) const fn knowing(
        mut self,
        accepted: &'a BTreeSet<AccountId>,
    ) -> Self {
        self.accepted = Some(accepted);
        self
    }

    /// Whether messages are kept.
    pub(in crate::chat::store) const fn is_on(&self) -> bool {
        self.history.is_on()
    }

    /// Adds a message, unless the history has it already.
    pub(super) fn add(&mut self, row: &HistoryRow) -> Result<(), StoreError> {
        if self.find(row.author, row.timestamp, Some(row.conversation))?.is_some() {
            return Ok(());
        }
        let number = self.history.next;
        let last = self.history.segments.last_key_value();
        // Segments that were taken over from another device have negative numbers, and stay as they are.
        let open = last.filter(|(first, it)| **first >= 0 && !it.is_full(**first));
        let first = open.map_or(number, |(first, _)| *first);
        self.insert(first, number, row)?;
        self.history.next = number.saturating_add(1);
        self.apply_early(MessageRef { author: row.author, timestamp: row.timestamp })?;
        let needs_words = |it: &Segment| it.is_full(first) || it.without_words(first) >= STEP;
        if self.history.segments.get(&first).is_some_and(needs_words) {
            self.words.insert(first);
        }
        Ok(())
    }

    /// Adds older messages as segments of their own, below all others. They are sorted, the newest first.
    pub(super) fn add_older(&mut self, rows: &[HistoryRow]) -> Result<u64, StoreError> {
        let mut fresh = Vec::with_capacity(rows.len());
        for row in rows {
            if self.find(row.author, row.timestamp, Some(row.conversation))?.is_none() {
                fresh.push(row);
            }
        }
        let count = i64::try_from(fresh.len()).map_err(|_| StoreError::Damaged)?;
        let first = self.history.lowest.saturating_sub(count);
        for (number, row) in (first..).zip(fresh.iter().rev()) {
            self.insert(first, number, row)?;
            self.apply_early(MessageRef { author: row.author, timestamp: row.timestamp })?;
        }
        if count > 0 {
            self.history.lowest = first;
            self.words.insert(first);
        }
        Ok(u64::try_from(count).unwrap_or_default())
    }

    /// Writes a new row into the segment with this first number.
    fn insert(&mut self, first: i64, number: i64, row: &HistoryRow) -> Result<(), StoreError> {
        let new = Segment { oldest: row.stored, is_checked: true, ..Segment::default() };
        let segment = self.history.segments.entry(first).or_insert(new);
        let value = row.encode();
        segment.last = number;
        segment.messages += 1;
        segment.bytes += u64::try_from(value.len()).unwrap_or(u64::MAX);
        segment.oldest = segment.oldest.min(row.stored);
        let conversation = self.history.conversations.entry(row.conversation);
        let state = conversation.or_insert(ConversationState {
            messages: 0,
            first: number,
            last: number,
            latest: row.stored,
        });
        state.messages += 1;
        state.first = state.first.min(number);
        state.last = state.last.max(number);
        state.latest = state.latest.max(row.stored);
        self.conversations.insert(row.conversation);
        self.put(first, number, row)
    }

    /// Writes a row of the segment with this first number.
    fn put(&mut self, first: i64, number: i64, row: &HistoryRow) -> Result<(), StoreError> {
        let keys = self.rows.keys();
        let sealed = keys.seal_numbered(Table::HistoryMessage, number, &row.encode())?;
        let name = keys.history_name(row.author.as_bytes(), row.timestamp.0);
        let digest = keys.numbered_digest(number, &version(&sealed)?);
        self.rows.history().put(number, name, &sealed)?;
        if let Some(segment) = self.history.segments.get_mut(&first) {
            segment.add(&digest);
            segment.expects(row.expires);
        }
        self.segments.insert(first);
        Ok(())
    }

    /// Takes a row out of the digest of its segment. Returns the segment and the row.
    fn take(&mut self, number: i64) -> Result<Option<(i64, HistoryRow)>, StoreError> {
        let Some(first) = self.history.segment_of(number) else { return Ok(None) };
        let Some(sealed) = self.rows.history().get(number)? else { return Ok(None) };
        let keys = self.rows.keys();
        let row = open(keys, number, &sealed)?;
        let digest = keys.numbered_digest(number, &version(&sealed)?);
        if let Some(segment) = self.history.segments.get_mut(&first) {
            segment.add(&digest);
        }
        self.segments.insert(first);
        Ok(Some((first, row)))
    }

    /// Changes a message.
    pub(super) fn change(
        &mut self,
        number: i64,
        change: impl FnOnce(&mut HistoryRow),
    ) -> Result<(), StoreError> {
        let Some((first, mut row)) = self.take(number)? else { return Ok(()) };
        let before: Vec<_> = row.texts().map(str::to_owned).collect();
        let edits = row.edits.len();
        change(&mut row);
        if !row.texts().eq(before.iter().map(String::as_str)) || row.edits.len() < edits {
            self.is_erased = true;
            self.rebuild(first);
        }
        self.put(first, number, &row)
    }

    /// Deletes a message.
    pub(super) fn delete(&mut self, number: i64) -> Result<(), StoreError> {
        let Some((first, row)) = self.take(number)? else { return Ok(()) };
        self.rows.history().delete(number)?;
        self.is_erased = true;
        self.conversations.insert(row.conversation);
        if let Some(state) = self.history.conversations.get_mut(&row.conversation) {
            state.messages = state.messages.saturating_sub(1);
            if state.messages == 0 {
                self.history.conversations.remove(&row.conversation);
            }
        }
        let Some(segment) = self.history.segments.get_mut(&first) else { return Ok(()) };
        segment.messages = segment.messages.saturating_sub(1);
        if segment.messages == 0 {
            self.history.segments.remove(&first);
            self.words.remove(&first);
            return self.rows.history().delete_words(pages_of(first)?);
        }
        self.rebuild(first);
        Ok(())
    }

    /// Marks the words of a segment for writing, if it has a list of them.
    pub(super) fn rebuild(&mut self, first: i64) {
        if self.history.segments.get(&first).is_some_and(|segment| segment.words.is_some()) {
            self.words.insert(first);
        }
    }

    /// The newest message of an author with this timestamp.
    pub(super) fn find(
        &self,
        author: AccountId,
        timestamp: Timestamp,
        conversation: Option<Conversation>,
    ) -> Result<Option<(i64, HistoryRow)>, StoreError> {
        let name = self.rows.keys().history_name(author.as_bytes(), timestamp.0);
        for number in self.rows.history().named(name)? {
            let Some(sealed) = self.rows.history().get(number)? else { continue };
            let row = open(self.rows.keys(), number, &sealed)?;
            if (row.author, row.timestamp) == (author, timestamp)
                && conversation.is_none_or(|conversation| conversation == row.conversation)
            {
                return Ok(Some((number, row)));
            }
        }
        Ok(None)
    }

    /// When a message disappears. `None` if it is not here, has no timer, or nobody has read it.
    pub(in crate::chat::store) fn expiry_of(
        &self,
        MessageRef { author, timestamp }: MessageRef,
    ) -> Result<Option<Timestamp>, StoreError> {
        if !self.is_on() {
            return Ok(None);
        }
        Ok(self.find(author, timestamp, None)?.and_then(|(_, row)| row.expires))
    }

    /// When the first messages of a segment expire and came in, after some were deleted.
    pub(super) fn set_times(&mut self, first: i64, due: Option<Timestamp>, oldest: Timestamp) {
        if let Some(segment) = self.history.segments.get_mut(&first) {
            (segment.due, segment.oldest) = (due, oldest);
            self.segments.insert(first);
        }
    }

    /// Writes the words and the state. Returns whether the log must be overwritten after the commit.
    pub(in crate::chat::store) fn finish(mut self) -> Result<bool, StoreError> {
        for first in std::mem::take(&mut self.words) {
            self.write_words(first)?;
            self.segments.insert(first);
        }
        for first in &self.segments {
            self.history.write_segment(self.rows, *first)?;
        }
        for conversation in &self.conversations {
            self.history.write_conversation(self.rows, *conversation)?;
        }
        if !self.segments.is_empty() {
            self.history.write(self.rows)?;
        }
        Ok(self.is_erased)
    }

    fn write_words(&mut self, first: i64) -> Result<(), StoreError> {
        let keys = self.rows.keys();
        let Some(segment) = self.history.segments.get_mut(&first) else { return Ok(()) };
        check(self.rows.history(), keys, first, segment)?;
        let index = collect(self.rows.history(), keys, first, segment.last)?;
        let numbers = pages_of(first)?;
        self.rows.history().delete_words(numbers.clone())?;
        let mut described = Vec::new();
        let put = |number: Option<i64>, value: &[u8]| {
            let number = number.ok_or(StoreError::Damaged)?;
            let sealed = keys.seal_numbered(Table::HistoryWords, number, value)?;
            self.rows.history().put_words(number, &sealed)?;
            version(&sealed)
        };
        let mut left = numbers.clone().skip(1);
        for page in index.pages() {
            described.push((put(left.next(), &page.value)?, page.first_word.clone()));
        }
        let directory = put(Some(*numbers.start()), &directory(&described))?;
        segment.words = Some(SegmentWords { directory, last: segment.last });
        Ok(())
    }
}

/// The words of the messages of a segment.
fn collect(
    table: HistoryTable<'_>,
    keys: &RowKeys,
    first: i64,
    last: i64,
) -> Result<IndexBuilder, StoreError> {
    let mut index = IndexBuilder::default();
    table.for_each_ascending(first..=last, |number, sealed| {
        let row = open(keys, number, sealed)?;
        let position = u32::try_from(number - first).map_err(|_| StoreError::Damaged)?;
        index.add(&conversation_word(row.conversation), position);
        for text in row.texts() {
            words(text).for_each(|word| index.add(word.as_bytes(), position));
        }
        Ok(())
    })?;
    Ok(index)
}

/// The numbers of the pages of words of a segment. The first one is the directory.
pub(super) fn pages_of(first: i64) -> Result<RangeInclusive<i64>, StoreError> {
    let directory = first.checked_mul(MAX_PAGES).ok_or(StoreError::Damaged)?;
    Ok(directory..=directory.checked_add(MAX_PAGES - 1).ok_or(StoreError::Damaged)?)
}

/// More pages than the words of a segment can have.
const MAX_PAGES: i64 = 1 << 16;

/// The word that stands for a conversation. Words of texts do not begin with zero.
pub(super) fn conversation_word(conversation: Conversation) -> Vec<u8> {
    [&[0], &conversation_key(conversation)[..]].concat()
}
