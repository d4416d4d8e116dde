//! Deletes what has expired, and what is beyond the limits.

use wormhole_chat::Timestamp;

use super::read::{check, open};
use super::segment::milliseconds;
use super::write::HistoryWriter;
use crate::chat::account::now;
use crate::chat::history::{HistoryLimits, HistoryMode};
use crate::chat::store::{Store, StoreError};

impl Store {
    /// Deletes what has expired while the store was closed. Without space on the disk, that is done later; expired messages are not
    /// shown meanwhile.
    pub(in crate::chat::store) fn purge_when_opened(&mut self) -> Result<(), StoreError> {
        if self.history_due().is_none_or(|due| due > now()) {
            return Ok(());
        }
        match self.purge_history() {
            Err(error @ (StoreError::Damaged | StoreError::UnknownFormat)) => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Deletes expired messages of the history, expired received messages, and messages beyond the limits. When this returns, that is durable, and the deleted rows are
    /// overwritten. Each segment has a transaction of its own.
    ///
    /// # Errors
    /// The store is damaged or cannot be written.
    pub(in crate::chat) fn purge_history(&mut self) -> Result<(), StoreError> {
        self.purge_received()?;
        let HistoryMode::On(limits) = self.history.mode else { return Ok(()) };
        let time = now();
        let before = oldest_kept(limits, time);
        let mut surplus =
            limits.max_messages.map_or(0, |max| self.history.messages().saturating_sub(max));
        let segments = self.history.segments.iter().map(|(first, segment)| (*first, *segment));
        for (first, segment) in segments.collect::<Vec<_>>() {
            let is_due = segment.due.is_some_and(|due| due <= time) || segment.oldest < before;
            if is_due || surplus > 0 {
                let mut deleted = 0;
                self.write_history(|writer| {
                    deleted = writer.purge(first, before, surplus)?;
                    Ok(())
                })?;
                surplus = surplus.saturating_sub(deleted);
            }
        }
        Ok(())
    }
}

impl HistoryWriter<'_, '_> {
    /// Deletes messages of a segment: those that have expired or are too old, and so many of the oldest. Returns how many.
    fn purge(
        &mut self,
        first: i64,
        before: Timestamp,
        mut surplus: u64,
    ) -> Result<u64, StoreError> {
        let keys = self.rows.keys();
        let Some(segment) = self.history.segments.get_mut(&first) else { return Ok(0) };
        check(self.rows.history(), keys, first, segment)?;
        let mut rows = Vec::new();
        self.rows.history().for_each(first..=segment.last, |number, sealed| {
            let row = open(keys, number, sealed)?;
            rows.push((number, row.is_expired(self.now), row.stored, row.expires));
            Ok(true)
        })?;
        let (mut due, mut oldest, mut deleted) = (None::<Timestamp>, None::<Timestamp>, 0);
        for (number, is_expired, stored, expires) in rows.into_iter().rev() {
            if is_expired || stored < before || surplus > 0 {
                self.delete(number)?;
                surplus = surplus.saturating_sub(1);
                deleted += 1;
            } else {
                due = due.into_iter().chain(expires).min();
                oldest = oldest.into_iter().chain([stored]).min();
            }
        }
        self.set_times(first, due, oldest.unwrap_or(self.now));
        Ok(deleted)
    }
}

/// Messages that came in before this time are not kept.
fn oldest_kept(limits: HistoryLimits, now: Timestamp) -> Timestamp {
    limits.max_age.map_or(Timestamp(0), |age| Timestamp(now.0.saturating_sub(milliseconds(age))))
}
