//! Reading the history and choosing what it keeps: with a client, and with an account without one.

use super::{Conversation, ConversationSummary, HistoryId, HistoryMessage, HistoryMode, Search};
use crate::chat::account::{Account, ClientStore, SharedStore};
use crate::chat::client::Client;
use crate::chat::error::Ended;
use crate::chat::store::{HistoryFound, HistoryQuery, Store, StoreError};

impl Account {
    /// Like [`Client::history`].
    ///
    /// # Errors
    /// The store is damaged or cannot be read.
    pub async fn history(
        &self,
        conversation: Option<Conversation>,
        before: Option<HistoryId>,
        limit: usize,
    ) -> Result<Vec<HistoryMessage>, StoreError> {
        let query = HistoryQuery::all(conversation);
        self.store.run(move |store| page(store, &query, before, limit)).await
    }

    /// Like [`Client::search`].
    pub fn search(&self, text: &str, conversation: Option<Conversation>) -> Search {
        let query = HistoryQuery::search(text, conversation);
        Search::new(HistoryStore::Account(self.store.clone()), query)
    }

    /// Like [`Client::conversations`].
    pub async fn conversations(&self) -> Vec<ConversationSummary> {
        self.store.run(|store| store.conversations()).await
    }

    /// The part of the history that the store keeps.
    pub async fn history_mode(&self) -> HistoryMode {
        self.store.run(|store| store.history_mode()).await
    }

    /// Like [`Client::set_history_mode`].
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn set_history_mode(&self, mode: HistoryMode) -> Result<(), StoreError> {
        self.store.run(move |store| store.set_history_mode(mode)).await
    }

    /// Like [`Client::forget_conversation`].
    ///
    /// # Errors
    /// The store is damaged or cannot be written.
    pub async fn forget_conversation(&self, conversation: Conversation) -> Result<(), StoreError> {
        self.store.run(move |store| store.forget_conversation(conversation)).await
    }

    /// Like [`Client::forget_message`].
    ///
    /// # Errors
    /// The store is damaged or cannot be written.
    pub async fn forget_message(&self, message: HistoryId) -> Result<(), StoreError> {
        self.store.run(move |store| store.forget_message(message)).await
    }
}

impl Client {
    /// The newest messages of a conversation, or of all, the newest first: at most `limit`, and only those before a message, if one is
    /// named. Fewer than `limit` means that there are no older ones.
    ///
    /// # Errors
    /// The client has ended, or the store cannot be read.
    pub async fn history(
        &self,
        conversation: Option<Conversation>,
        before: Option<HistoryId>,
        limit: usize,
    ) -> Result<Vec<HistoryMessage>, Ended> {
        let query = HistoryQuery::all(conversation);
        Ok(self.in_store(move |store| page(store, &query, before, limit)).await??)
    }

    /// The messages that have all words of a text, the newest first. A word also finds longer ones that begin with it. Case and accents
    /// make no difference. The names of attached files are searched, too.
    pub fn search(&self, text: &str, conversation: Option<Conversation>) -> Search {
        let query = HistoryQuery::search(text, conversation);
        Search::new(HistoryStore::Client(self.store().clone()), query)
    }

    /// The conversations of which the history has messages, the latest first.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn conversations(&self) -> Result<Vec<ConversationSummary>, Ended> {
        self.in_store(|store| store.conversations()).await
    }

    /// The part of the history that the store keeps.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn history_mode(&self) -> Result<HistoryMode, Ended> {
        self.in_store(|store| store.history_mode()).await
    }

    /// Says what the store keeps of the history. Switching it off deletes it, and limits delete what is beyond them. When this
    /// returns, that is durable, and what was deleted is overwritten in the files. Until it returns, no message is stored or sent: a
    /// history of a million messages takes some seconds.
    ///
    /// # Errors
    /// The client has ended, or the store cannot be written.
    pub async fn set_history_mode(&self, mode: HistoryMode) -> Result<(), Ended> {
        let due = self.in_store(move |store| {
            store.set_history_mode(mode)?;
            Ok::<_, StoreError>(store.history_due())
        });
        let due = due.await??;
        self.query(move |driver| driver.set_history_due(due)).await
    }

    /// Deletes all messages of a conversation here, and overwrites them in the files. Others keep them.
    ///
    /// # Errors
    /// The client has ended, or the store cannot be written.
    pub async fn forget_conversation(&self, conversation: Conversation) -> Result<(), Ended> {
        Ok(self.in_store(move |store| store.forget_conversation(conversation)).await??)
    }

    /// Deletes a message here, and overwrites it in the files. Others keep it. Does nothing if there is no such message.
    ///
    /// # Errors
    /// The client has ended, or the store cannot be written.
    pub async fn forget_message(&self, message: HistoryId) -> Result<(), Ended> {
        Ok(self.in_store(move |store| store.forget_message(message)).await??)
    }

    /// Does something with the store.
    async fn in_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> T + Send + 'static,
    ) -> Result<T, Ended> {
        match self.store().run(work).await {
            Some(result) => Ok(result),
            None => Err(self.wait_for_end().await),
        }
    }
}

/// The store of an account or of a client.
#[derive(Clone, Debug)]
pub(super) enum HistoryStore {
    Account(SharedStore),
    Client(ClientStore),
}

impl HistoryStore {
    /// Some of the messages that are wanted.
    pub(super) async fn find(
        &self,
        query: HistoryQuery,
        before: Option<HistoryId>,
        limit: usize,
    ) -> Result<HistoryFound, Ended> {
        let find = move |store: &mut Store| store.find_history(&query, before, limit);
        match self {
            Self::Account(store) => Ok(store.run(find).await?),
            Self::Client(store) => Ok(store.run(find).await.ok_or(Ended::Closed)??),
        }
    }
}

/// A page of messages.
fn page(
    store: &mut Store,
    query: &HistoryQuery,
    mut before: Option<HistoryId>,
    limit: usize,
) -> Result<Vec<HistoryMessage>, StoreError> {
    let mut messages = Vec::new();
    loop {
        let left = limit.saturating_sub(messages.len());
        let found = store.find_history(query, before, left)?;
        messages.extend(found.messages);
        before = found.next;
        if before.is_none() || messages.len() >= limit {
            return Ok(messages);
        }
    }
}
