//! Changes on their way to the store: one transaction at a time, on a blocking thread. What arrives meanwhile goes into
//! the next transaction together.

use std::future::Future;
use std::pin::Pin;

use tokio::sync::oneshot;
use wormhole_chat::{Changes, CommitId};

use crate::chat::account::SharedStore;
use crate::chat::store::{Commit, Contact, ReceivedId, StoreError};

/// Changes that are not durable yet.
#[derive(Default)]
pub(super) struct Commits {
    waiting: Batch,
    /// How many changes of the client are in `waiting`.
    changes: usize,
    running: Option<Running>,
}

/// Changes for one transaction.
#[derive(Default)]
struct Batch {
    commit: Commit,
    /// What depends on it.
    then: Durable,
}

/// Changes that are durable now.
#[derive(Debug, Default)]
pub(super) struct Durable {
    /// The last commit of the client.
    pub(super) last: Option<CommitId>,
    /// The messages that have arrived, of all.
    pub(super) received: Vec<ReceivedId>,
    /// The messages that the application has taken.
    pub(super) taken: usize,
    /// Who waits for it.
    pub(super) replies: Vec<oneshot::Sender<()>>,
}

type Running = Pin<Box<dyn Future<Output = Result<Durable, StoreError>> + Send>>;

impl Commits {
    /// Adds changes of the client.
    pub(super) fn add_changes(&mut self, id: CommitId, changes: Changes) {
        self.waiting.commit.changes.push(changes);
        self.waiting.then.last = Some(id);
        self.changes += 1;
    }

    /// Adds a contact. It replaces the one with the same account.
    pub(super) fn add_contact(&mut self, contact: Contact) {
        self.waiting.commit.contacts.push(contact);
    }

    /// Adds a message that the application has taken.
    pub(super) fn add_taken(&mut self, id: ReceivedId) {
        self.waiting.commit.taken.push(id);
    }

    /// Answers when everything that was added so far is durable.
    pub(super) fn reply(&mut self, reply: oneshot::Sender<()>) {
        self.waiting.then.replies.push(reply);
    }

    /// How many changes of the client wait. It measures how far the store is behind.
    pub(super) const fn len(&self) -> usize {
        self.changes
    }

    /// Whether everything is durable.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_none() && self.waiting.is_empty()
    }

    /// Starts the next transaction if none is running.
    pub(super) fn start(&mut self, store: &SharedStore) {
        if self.running.is_some() || self.waiting.is_empty() {
            return;
        }
        let Batch { commit, mut then } = std::mem::take(&mut self.waiting);
        self.changes = 0;
        then.taken = commit.taken.len();
        let store = store.clone();
        self.running = Some(Box::pin(async move {
            then.received = store.run(move |store| store.commit(&commit)).await?;
            Ok(then)
        }));
    }

    /// Waits until the running transaction is durable; for ever if there is none.
    pub(super) async fn next(&mut self) -> Result<Durable, StoreError> {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        let result = running.await;
        self.running = None;
        result
    }
}

impl Batch {
    fn is_empty(&self) -> bool {
        let Commit { changes, registration, contacts, taken, settings } = &self.commit;
        let has_rows = registration.is_some() || !contacts.is_empty() || !settings.is_empty();
        changes.is_empty() && !has_rows && taken.is_empty() && self.then.replies.is_empty()
    }
}
