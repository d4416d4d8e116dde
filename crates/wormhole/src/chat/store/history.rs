//! The message history in the store (docs/chat-protocol.md "Message history").
//!
//! It does not know what messages mean to the protocol, and not their attached files.

mod changes;
mod early;
mod edits;
mod index;
mod postings;
mod purge;
mod read;
mod row;
mod segment;
mod words;
mod write;

use wormhole_chat::rules::Changeable;
use wormhole_chat::{AccountId, Timestamp};

use super::{Store, StoreError};
use crate::chat::account::now;
use crate::chat::history::{
    Conversation, ConversationSummary, EarlierMessage, HistoryId, HistoryMode,
};
pub(in crate::chat) use changes::{HistoryChange, change_of};
use read::HistoryReader;
pub(in crate::chat) use read::{HistoryFound, HistoryQuery};
pub(in crate::chat) use row::HistoryRow;
#[cfg(test)]
pub(super) use row::StoredReaction;
pub(super) use segment::History;
pub(super) use write::HistoryWriter;

/// Decodes rows of the history.
#[cfg(feature = "fuzzing")]
#[expect(clippy::expect_used, reason = "a panic is how a fuzz target reports an error")]
pub(super) fn fuzz(bytes: &[u8]) {
    if let Ok(row) = HistoryRow::decode(bytes) {
        assert_eq!(HistoryRow::decode(&row.encode()).expect("our own row"), row);
    }
    for beginning in [&b""[..], bytes.get(20..24).unwrap_or_default()] {
        let _ = index::Directory::decode(bytes).and_then(|it| it.pages(beginning));
        let _ = index::find(bytes, beginning, &mut postings::Postings::new(4096));
    }
    segment::decode_all(bytes);
    early::fuzz(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let query = words::Query::new(text);
        assert!(query.is_none_or(|query| query.matches(text)), "a text has its own words");
    }
}

impl Store {
    /// The part of the history that is kept.
    pub fn history_mode(&self) -> HistoryMode {
        self.history.mode
    }

    /// Says what is kept of the history. Switching it off deletes it; limits delete what is beyond them. When this returns, that is
    /// durable, and the deleted rows are overwritten.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn set_history_mode(&mut self, mode: HistoryMode) -> Result<(), StoreError> {
        let is_cleared = mode == HistoryMode::Off && self.history.is_on();
        let mut transaction = self.database.begin(&self.keys)?;
        self.history.mode = mode;
        if is_cleared {
            transaction.history().clear()?;
            self.history.early.forget(None, &mut transaction)?;
            let segments: Vec<_> = std::mem::take(&mut self.history.segments).into_keys().collect();
            for first in segments {
                self.history.write_segment(&mut transaction, first)?;
            }
            let conversations = std::mem::take(&mut self.history.conversations);
            for conversation in conversations.into_keys() {
                self.history.write_conversation(&mut transaction, conversation)?;
            }
        }
        self.history.write(&mut transaction)?;
        transaction.commit()?;
        if is_cleared {
            self.database.wipe_log()?;
            self.database.shrink()?;
        }
        self.purge_history()
    }

    /// The conversations of which the history has messages, the latest first.
    pub(in crate::chat) fn conversations(&self) -> Vec<ConversationSummary> {
        let states = self.history.conversations.iter();
        let summaries = states.map(|(conversation, state)| ConversationSummary {
            conversation: *conversation,
            messages: state.messages,
            latest: state.latest,
        });
        let mut summaries: Vec<_> = summaries.collect();
        summaries.sort_by_key(|summary| std::cmp::Reverse(summary.latest));
        summaries
    }

    /// Finds the newest messages that are wanted, or the newest before one.
    pub(in crate::chat) fn find_history(
        &mut self,
        query: &HistoryQuery,
        before: Option<HistoryId>,
        limit: usize,
    ) -> Result<HistoryFound, StoreError> {
        Ok(self.history_reader().find(query, before, limit)?.shown())
    }

    /// What decides whether a message may be changed. `None` if it is not in the history.
    pub(in crate::chat) fn changeable(
        &mut self,
        conversation: Conversation,
        author: AccountId,
        timestamp: Timestamp,
    ) -> Result<Option<Changeable>, StoreError> {
        let mut found = None;
        self.write_history(|writer| {
            let row = writer.find(author, timestamp, Some(conversation))?;
            found = row.map(|(_, row)| edits::changeable(&row));
            Ok(())
        })?;
        Ok(found)
    }

    /// Reads the newest messages, or the newest before one, as another device of our account stores them. Returns also where to
    /// continue.
    pub(in crate::chat) fn export_history(
        &mut self,
        before: Option<HistoryId>,
        limit: usize,
    ) -> Result<(Vec<HistoryRow>, Option<HistoryId>), StoreError> {
        let found = self.history_reader().find(&HistoryQuery::all(None), before, limit)?;
        Ok((found.messages.into_iter().map(|(_, row)| row).collect(), found.next))
    }

    /// Deletes a message.
    pub(in crate::chat) fn forget_message(&mut self, id: HistoryId) -> Result<(), StoreError> {
        self.write_history(|writer| writer.delete(id.0))
    }

    /// Deletes all messages of a conversation.
    pub(in crate::chat) fn forget_conversation(
        &mut self,
        conversation: Conversation,
    ) -> Result<(), StoreError> {
        let numbers = self.history_reader().numbers(conversation)?;
        self.write_history(|writer| {
            writer.history.early.forget(Some(conversation), writer.rows)?;
            numbers.into_iter().try_for_each(|it| writer.delete(it))
        })
    }

    /// Adds messages of another device of our account that are older than those here. They are sorted, the newest first. Returns how
    /// many are new.
    pub(in crate::chat) fn import_history(
        &mut self,
        rows: &[HistoryRow],
    ) -> Result<u64, StoreError> {
        let mut added = 0;
        self.write_history(|writer| {
            added = writer.add_older(rows)?;
            Ok(())
        })?;
        Ok(added)
    }

    /// Adds messages that an application kept before: they are older than all in the history, and sorted, the newest
    /// first. Those that are in the history already are left out. Returns how many are new. Does nothing without a history. Our own
    /// messages are left out before the account is registered.
    ///
    /// # Errors
    /// The store is damaged or cannot be written.
    pub fn add_earlier(&mut self, messages: &[EarlierMessage]) -> Result<u64, StoreError> {
        if !self.history.is_on() {
            return Ok(0);
        }
        let (own, now) = (self.history.own, now());
        let rows: Vec<_> = messages.iter().filter_map(|message| message.row(own, now)).collect();
        self.import_history(&rows)
    }

    /// Number of messages in the history.
    pub(in crate::chat) fn history_messages(&self) -> u64 {
        self.history.messages()
    }

    /// When something must be deleted from the history, or a received message disappears.
    pub(in crate::chat) fn history_due(&self) -> Option<Timestamp> {
        self.history.due().into_iter().chain(self.ends.due()).min()
    }

    /// Everything that has a timer expires at this time.
    #[cfg(test)]
    pub(super) fn set_expiry_for_tests(&mut self, time: Timestamp) -> Result<(), StoreError> {
        let found = self.history_reader().find(&HistoryQuery::all(None), None, usize::MAX)?;
        let expiring = found.messages.into_iter().filter(|(_, row)| row.expires.is_some());
        let numbers: Vec<_> = expiring.map(|(number, _)| number).collect();
        self.write_history(|writer| {
            let mut numbers = numbers.into_iter();
            numbers.try_for_each(|number| writer.change(number, |row| row.expires = Some(time)))
        })
    }

    /// Number of changes and receipts that wait for their message.
    #[cfg(test)]
    pub(super) fn history_early_for_tests(&self) -> usize {
        self.history.early.len()
    }

    /// Writes a message and the words of its segment again, as they are.
    #[cfg(test)]
    pub(super) fn touch_for_tests(&mut self, id: HistoryId) -> Result<(), StoreError> {
        self.write_history(|writer| {
            writer.change(id.0, |_| ())?;
            writer.rebuild(0);
            Ok(())
        })
    }

    fn history_reader(&mut self) -> HistoryReader<'_> {
        HistoryReader {
            table: self.database.history(),
            keys: &self.keys,
            history: &mut self.history,
            now: now(),
        }
    }

    /// Changes the history in a transaction of its own.
    fn write_history(
        &mut self,
        change: impl FnOnce(&mut HistoryWriter<'_, '_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut transaction = self.database.begin(&self.keys)?;
        let mut writer = HistoryWriter::new(&mut transaction, &mut self.history, now());
        change(&mut writer)?;
        let is_erased = writer.finish()?;
        transaction.commit()?;
        if is_erased { self.database.wipe_log() } else { Ok(()) }
    }
}
