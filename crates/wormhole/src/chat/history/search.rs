//! The results of a search, one after the other.

use std::collections::VecDeque;

use super::access::HistoryStore;
use super::{HistoryId, HistoryMessage};
use crate::chat::error::Ended;
use crate::chat::store::HistoryQuery;

/// The messages that a search finds, the newest first. The store is searched only as far as they are asked for.
#[derive(Debug)]
pub struct Search {
    store: HistoryStore,
    query: HistoryQuery,
    found: VecDeque<HistoryMessage>,
    /// Where to continue; `None`: nowhere.
    next: Option<HistoryId>,
}

impl Search {
    pub(super) const fn new(store: HistoryStore, query: HistoryQuery) -> Self {
        Self { store, query, found: VecDeque::new(), next: Some(HistoryId(i64::MAX)) }
    }

    /// Returns the next message. `None`: there are no more. If the returned future is dropped, nothing is lost.
    ///
    /// # Errors
    /// The client has ended, or the store cannot be read.
    pub async fn next(&mut self) -> Result<Option<HistoryMessage>, Ended> {
        loop {
            if let Some(message) = self.found.pop_front() {
                return Ok(Some(message));
            }
            let Some(before) = self.next else { return Ok(None) };
            let found = self.store.find(self.query.clone(), Some(before), PAGE).await?;
            self.found.extend(found.messages);
            self.next = found.next;
        }
    }
}

/// Messages that are looked up at once.
const PAGE: usize = 100;
