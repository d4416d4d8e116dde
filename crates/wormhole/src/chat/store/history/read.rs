//! Reads the history: pages of a conversation, and messages with certain words.
//!
//! The newest segment is read first. Its words say which messages have all that are wanted, and only these are read, after the last
//! ones, whose words are not stored yet.

use std::collections::BTreeSet;

use wormhole_chat::Timestamp;
use zeroize::Zeroizing;

use super::index::{self, Directory};
use super::postings::Postings;
use super::row::HistoryRow;
use super::segment::{History, Segment};
use super::words::Query;
use super::write::{conversation_word, pages_of};
use crate::chat::history::{Conversation, HistoryId, HistoryMessage};
use crate::chat::store::StoreError;
use crate::chat::store::database::HistoryTable;
use crate::chat::store::sealing::{RowKeys, RowVersion, Table, version};

/// The requested messages.
#[derive(Clone, Debug, Default)]
pub(in crate::chat) struct HistoryQuery {
    /// Only those of this conversation.
    pub(in crate::chat) conversation: Option<Conversation>,
    /// Only those with these words.
    words: Option<Query>,
    /// Whether no message can match.
    is_empty: bool,
}

impl HistoryQuery {
    pub(in crate::chat) fn all(conversation: Option<Conversation>) -> Self {
        Self { conversation, ..Self::default() }
    }

    /// Messages with all words of a text. A text without words has no matches.
    pub(in crate::chat) fn search(text: &str, conversation: Option<Conversation>) -> Self {
        let words = Query::new(text);
        Self { conversation, is_empty: words.is_none(), words }
    }
}

/// Some of the messages that are wanted.
#[derive(Debug)]
pub(in crate::chat) struct HistoryFound<T = HistoryMessage> {
    /// The newest first.
    pub(in crate::chat) messages: Vec<T>,
    /// Where to continue: there may be older ones. `None` if all were read.
    pub(in crate::chat) next: Option<HistoryId>,
}

/// Messages as they are stored.
pub(super) type FoundRows = HistoryFound<(i64, HistoryRow)>;

impl FoundRows {
    const fn new() -> Self {
        Self { messages: Vec::new(), next: None }
    }

    /// Creates the message that the application sees.
    pub(super) fn shown(self) -> HistoryFound {
        let messages = self.messages.into_iter();
        let messages = messages.map(|(number, row)| row.shown(HistoryId(number))).collect();
        HistoryFound { messages, next: self.next }
    }
}

/// Reads the history.
pub(super) struct HistoryReader<'a> {
    pub(super) table: HistoryTable<'a>,
    pub(super) keys: &'a RowKeys,
    pub(super) history: &'a mut History,
    pub(super) now: Timestamp,
}

impl HistoryReader<'_> {
    /// Finds the newest messages below a number. Looks at so many segments that at least one message is found, but at most at
    /// [`MAX_SEGMENTS`] with lists of words.
    pub(super) fn find(
        &mut self,
        query: &HistoryQuery,
        before: Option<HistoryId>,
        limit: usize,
    ) -> Result<FoundRows, StoreError> {
        let mut found = FoundRows::new();
        if limit == 0 || query.is_empty {
            return Ok(found);
        }
        let end = before.map_or(i64::MAX, |HistoryId(before)| before);
        let firsts = self.segments(query, end);
        for (seen, first) in firsts.iter().enumerate() {
            if seen == MAX_SEGMENTS || !found.messages.is_empty() && query.words.is_some() {
                found.next = Some(HistoryId(self.end_of(*first, end)));
                break;
            }
            self.search(*first, query, end, limit, &mut found)?;
            if found.messages.len() >= limit {
                found.next = found.messages.last().map(|(number, _)| HistoryId(*number));
                break;
            }
        }
        Ok(found)
    }

    /// One more than the highest number in a segment that is wanted.
    fn end_of(&self, first: i64, end: i64) -> i64 {
        self.history.segments.get(&first).map_or(end, |it| end.min(it.last.saturating_add(1)))
    }

    /// The segments that may have wanted messages, the newest first.
    fn segments(&self, query: &HistoryQuery, end: i64) -> Vec<i64> {
        let range = match query.conversation {
            None => Some((i64::MIN, i64::MAX)),
            Some(conversation) => {
                let state = self.history.conversations.get(&conversation);
                state.map(|state| (state.first, state.last))
            }
        };
        let Some((low, high)) = range else { return Vec::new() };
        let segments = self.history.segments.range(..end).rev();
        let wanted = segments.filter(|(first, segment)| **first <= high && segment.last >= low);
        wanted.map(|(first, _)| *first).collect()
    }

    /// Adds the wanted messages of a segment.
    fn search(
        &mut self,
        first: i64,
        query: &HistoryQuery,
        end: i64,
        limit: usize,
        found: &mut FoundRows,
    ) -> Result<(), StoreError> {
        let Some(segment) = self.history.segments.get_mut(&first) else { return Ok(()) };
        let last = segment.last.min(end.saturating_sub(1));
        let candidates = candidates(self.table, self.keys, first, segment, query)?;
        let with_words = segment.words.filter(|_| candidates.is_some()).map(|words| words.last);
        let tail = with_words.map_or(first, |last| last.saturating_add(1));
        let has_candidates = candidates.as_ref().is_some_and(|found| !found.is_empty());
        if tail > last && !has_candidates {
            return Ok(());
        }
        check(self.table, self.keys, first, segment)?;
        let (keys, now) = (self.keys, self.now);
        let mut take = |number: i64, sealed: &[u8]| {
            let row = open(keys, number, sealed)?;
            if query.wants(&row) && !row.is_expired(now) {
                found.messages.push((number, row));
            }
            Ok::<_, StoreError>(found.messages.len() < limit)
        };
        let mut continues = true;
        if tail <= last {
            self.table.for_each(tail..=last, |number, sealed| {
                continues = take(number, sealed)?;
                Ok(continues)
            })?;
        }
        let below = last.saturating_add(1).saturating_sub(first);
        let below = u32::try_from(below).unwrap_or(u32::MAX);
        for position in candidates.iter().flat_map(|found| found.below(below)) {
            if !continues {
                break;
            }
            let number = first.saturating_add(position.into());
            // It may have been deleted since the words were written.
            if let Some(sealed) = self.table.get(number)? {
                continues = take(number, &sealed)?;
            }
        }
        Ok(())
    }

    /// Reads the numbers of all messages of a conversation.
    pub(super) fn numbers(&mut self, conversation: Conversation) -> Result<Vec<i64>, StoreError> {
        let query = HistoryQuery::all(Some(conversation));
        let mut numbers = BTreeSet::new();
        for first in self.segments(&query, i64::MAX) {
            let mut found = FoundRows::new();
            // Also those that have expired.
            self.now = Timestamp(0);
            self.search(first, &query, i64::MAX, usize::MAX, &mut found)?;
            numbers.extend(found.messages.iter().map(|(number, _)| *number));
        }
        Ok(numbers.into_iter().collect())
    }
}

impl HistoryQuery {
    /// Whether it wants only some messages.
    const fn is_selective(&self) -> bool {
        self.conversation.is_some() || self.words.is_some()
    }

    /// Beginnings that the words of a wanted message must have: the longest first, because it has the fewest messages.
    fn beginnings(&self) -> Vec<Vec<u8>> {
        let words = self.words.iter().flat_map(Query::words).map(|word| word.as_bytes().to_vec());
        let mut beginnings: Vec<_> = words.collect();
        beginnings.sort_by_key(|word| std::cmp::Reverse(word.len()));
        beginnings.extend(self.conversation.map(conversation_word));
        beginnings
    }

    fn wants(&self, row: &HistoryRow) -> bool {
        let is_here = self.conversation.is_none_or(|wanted| wanted == row.conversation);
        is_here && self.words.as_ref().is_none_or(|words| words.matches(&text(row)))
    }
}

/// The text and the names of files, so that words of both can be wanted.
fn text(row: &HistoryRow) -> String {
    row.texts().collect::<Vec<_>>().join("\n")
}

/// The messages of a segment that have all words, of those whose words are stored. `None`: all messages must be read.
fn candidates(
    table: HistoryTable<'_>,
    keys: &RowKeys,
    first: i64,
    segment: &Segment,
    query: &HistoryQuery,
) -> Result<Option<Postings>, StoreError> {
    let Some(words) = segment.words.filter(|_| query.is_selective()) else { return Ok(None) };
    let numbers = pages_of(first)?;
    let value = page(table, keys, *numbers.start(), &words.directory)?;
    let directory = Directory::decode(&value)?;
    let count = words.last.saturating_add(1).saturating_sub(first);
    let count = u32::try_from(count).map_err(|_| StoreError::Damaged)?;
    let mut all: Option<Postings> = None;
    for beginning in query.beginnings() {
        let mut found = Postings::new(count);
        for (number, version) in directory.pages(&beginning)? {
            let number = numbers.start().checked_add(number.into()).ok_or(StoreError::Damaged)?;
            index::find(&page(table, keys, number, &version)?, &beginning, &mut found)?;
        }
        if let Some(all) = &all {
            found.intersect(all);
        }
        let is_empty = found.is_empty();
        all = Some(found);
        if is_empty {
            break;
        }
    }
    Ok(all)
}

/// A page of words, in this version.
fn page(
    table: HistoryTable<'_>,
    keys: &RowKeys,
    number: i64,
    wanted: &RowVersion,
) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let sealed = table.words(number)?.ok_or(StoreError::Damaged)?;
    if version(&sealed)? != *wanted {
        return Err(StoreError::Damaged);
    }
    keys.open_numbered(Table::HistoryWords, number, &sealed)
}

/// Checks once that no message of a segment was removed, or replaced with an older version.
pub(super) fn check(
    table: HistoryTable<'_>,
    keys: &RowKeys,
    first: i64,
    segment: &mut Segment,
) -> Result<(), StoreError> {
    if segment.is_checked {
        return Ok(());
    }
    let mut digest = Segment::default();
    let mut messages = 0;
    table.for_each(first..=segment.last, |number, sealed| {
        digest.add(&keys.numbered_digest(number, &version(sealed)?));
        messages += 1;
        Ok(true)
    })?;
    if digest.digest != segment.digest || messages != segment.messages {
        return Err(StoreError::Damaged);
    }
    segment.is_checked = true;
    Ok(())
}

/// Opens a message.
pub(super) fn open(keys: &RowKeys, number: i64, sealed: &[u8]) -> Result<HistoryRow, StoreError> {
    HistoryRow::decode(&keys.open_numbered(Table::HistoryMessage, number, sealed)?)
}

/// Segments after which a search that has found nothing returns, so that others can use the store.
const MAX_SEGMENTS: usize = 64;
