//! Changes on their way to the store: one transaction at a time, on a blocking thread. What arrives meanwhile goes into
//! the next transaction together, only the newest value of each row.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;

use tokio::sync::oneshot;
use wormhole_chat::group::GroupId;
use wormhole_chat::{
    AccountId, Changes, CommitId, Content, MessageRef, PublicKey, SenderCertificate, Timestamp,
};
use zeroize::Zeroizing;

use super::socket::RequestOrigin;
use crate::chat::account::SharedStore;
use crate::chat::profile::OwnProfile;
use crate::chat::store::{
    Commit, Contact, EnvelopeHash, HistoryChange, PeopleChanges, ReceivedId, StoreError,
};

/// Changes that are not durable yet.
#[derive(Default)]
pub(super) struct Commits {
    waiting: Batch,
    running: Option<Running>,
    /// Messages in the running transaction.
    running_messages: usize,
}

/// Changes for one transaction.
#[derive(Default)]
struct Batch {
    commit: Commit,
    then: Then,
}

/// Actions that wait for a transaction.
#[derive(Debug, Default)]
pub(super) struct Then {
    /// The last commit of the client.
    pub(super) last: Option<CommitId>,
    /// Requests of the server that can be answered.
    pub(super) acknowledged: Vec<RequestOrigin>,
    /// Messages of others that have arrived with it, and their groups.
    pub(super) arrived: Vec<(MessageRef, Option<GroupId>)>,
    /// Handles that wait for it.
    pub(super) replies: Vec<oneshot::Sender<()>>,
}

/// A transaction that is durable now.
#[derive(Debug)]
pub(super) struct Durable {
    pub(super) then: Then,
    /// Whether messages have arrived.
    pub(super) has_messages: bool,
    /// Accounts that have new messages that wait for a decision.
    pub(super) requests: BTreeSet<AccountId>,
    /// Number and size of the messages that wait for the application.
    pub(super) counts: Counts,
}

/// Number and size of the messages in the store that wait for the application.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::chat) struct Counts {
    /// Received messages that could be read.
    pub(in crate::chat) unread: usize,
    /// Their bytes.
    pub(in crate::chat) unread_bytes: usize,
    /// Messages that cannot be sent.
    pub(in crate::chat) failed: usize,
    /// When something must be deleted from the history.
    pub(in crate::chat) history_due: Option<Timestamp>,
}

type Running = Pin<Box<dyn Future<Output = Result<Durable, StoreError>> + Send>>;

impl Commits {
    /// Adds changes of the client, perhaps because of an envelope.
    pub(super) fn add_changes(
        &mut self,
        id: CommitId,
        changes: Changes,
        envelope: Option<EnvelopeHash>,
    ) {
        let arrived = changes.received.iter().filter(|received| is_confirmed(&received.content));
        self.waiting.then.arrived.extend(arrived.map(|received| {
            let group = if let Content::Group(group) = &received.content {
                Some(group.group)
            } else {
                None
            };
            let (author, timestamp) = (received.from.account, received.timestamp);
            (MessageRef { author, timestamp }, group)
        }));
        self.waiting.commit.add_from(changes, envelope);
        self.waiting.then.last = Some(id);
    }

    /// Adds changes after which a request of the server can be answered.
    pub(super) fn add_acknowledged(
        &mut self,
        changes: Changes,
        envelope: EnvelopeHash,
        origin: RequestOrigin,
    ) {
        self.waiting.commit.add_from(changes, Some(envelope));
        self.waiting.then.acknowledged.push(origin);
    }

    /// Adds a change of the message history.
    pub(super) fn add_history(&mut self, change: HistoryChange) {
        self.waiting.commit.history.push(change);
    }

    /// Adds a contact. It replaces the one with the same account.
    pub(super) fn add_contact(&mut self, contact: Contact) {
        self.waiting.commit.add_contact(contact);
    }

    /// Adds a note about a received message. It replaces the previous one.
    pub(super) fn add_note(&mut self, id: ReceivedId, note: Zeroizing<Vec<u8>>) {
        self.waiting.commit.notes.insert(id, note);
    }

    /// Adds a setting of the application; `None` removes it.
    pub(super) fn add_setting(&mut self, name: String, value: Option<Zeroizing<Vec<u8>>>) {
        self.waiting.commit.settings.push((name, value));
    }

    /// Adds our own profile.
    pub(super) fn add_own_profile(&mut self, profile: &OwnProfile) {
        self.waiting.commit.put_own_profile(profile);
    }

    /// Adds the pinned key of the service.
    pub(super) fn add_root(&mut self, root: &PublicKey) {
        self.waiting.commit.put_root(root);
    }

    /// Adds our certificate.
    pub(super) fn add_certificate(&mut self, certificate: &SenderCertificate) {
        self.waiting.commit.put_certificate(certificate);
    }

    /// Adds an account that we write to.
    pub(super) fn add_written_to(&mut self, account: AccountId) {
        self.waiting.commit.written_to.insert(account);
    }

    /// Changes about people that write to the user.
    pub(super) const fn people(&mut self) -> &mut PeopleChanges {
        &mut self.waiting.commit.people
    }

    /// Adds a message that the application has taken.
    pub(super) fn add_taken(&mut self, id: ReceivedId) {
        self.waiting.commit.taken.push(id);
    }

    /// Adds a message that cannot be sent, and that the application has taken.
    pub(super) fn add_forgotten(&mut self, message: Timestamp) {
        self.waiting.commit.forgotten.push(message);
    }

    /// Answers when everything that was added so far is durable.
    pub(super) fn reply(&mut self, reply: oneshot::Sender<()>) {
        self.waiting.then.replies.push(reply);
    }

    /// How many bytes wait. It measures how far the store is behind.
    pub(super) const fn bytes(&self) -> usize {
        self.waiting.commit.bytes()
    }

    /// How many messages are not durable yet.
    pub(super) const fn messages(&self) -> usize {
        self.waiting.commit.messages().saturating_add(self.running_messages)
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
        let Batch { commit, then } = std::mem::take(&mut self.waiting);
        self.running_messages = commit.messages();
        let store = store.clone();
        self.running = Some(Box::pin(async move {
            let written = store.run(move |store| {
                let received = store.commit(&commit)?;
                let requests = store.take_new_requests();
                Ok::<_, StoreError>((!received.is_empty(), requests, Counts::new(store)))
            });
            let (has_messages, requests, counts) = written.await?;
            Ok(Durable { then, has_messages, requests, counts })
        }));
    }

    /// Waits until the running transaction is durable; indefinitely if no transaction is running.
    pub(super) async fn next(&mut self) -> Result<Durable, StoreError> {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        let result = running.await;
        (self.running, self.running_messages) = (None, 0);
        result
    }
}

/// Whether the author of a content learns that it has arrived.
fn is_confirmed(content: &Content) -> bool {
    match content {
        Content::Data(data) => data.is_visible(),
        Content::Edit(_) => true,
        Content::Group(group) => group.inner.as_deref().is_some_and(is_confirmed),
        Content::Call(_)
        | Content::DecryptionError(_)
        | Content::Direct(_)
        | Content::Null
        | Content::Receipt(_)
        | Content::SenderKeyDistribution(_)
        | Content::Sync(_)
        | Content::Typing(_)
        | Content::Unknown => false,
    }
}

impl Batch {
    /// A client that has committed something gets its answer, even if there is nothing to write.
    fn is_empty(&self) -> bool {
        let Then { last, acknowledged, arrived: _, replies } = &self.then;
        let has_waiting = last.is_some() || !acknowledged.is_empty() || !replies.is_empty();
        !has_waiting && self.commit.is_empty()
    }
}

impl Counts {
    pub(in crate::chat) fn new(store: &crate::chat::store::Store) -> Self {
        Self {
            unread: store.readable_count(),
            unread_bytes: store.received_bytes(),
            failed: store.failed_count(),
            history_due: store.history_due(),
        }
    }
}

#[cfg(test)]
mod tests {
    use wormhole_chat::StoreKey;
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn only_the_newest_value_of_a_row_waits() {
        let mut commits = Commits::default();
        for number in 0..1000_u32 {
            let value = Zeroizing::new(number.to_be_bytes().repeat(1000));
            let rows = vec![(StoreKey::SignedPreKey(number % 2), Some(value))];
            commits.waiting.commit.add(Changes { rows, ..Changes::default() });
        }
        assert_eq!(commits.bytes(), 8000);
        let rows = vec![(StoreKey::SignedPreKey(0), None)];
        commits.waiting.commit.add(Changes { rows, ..Changes::default() });
        assert_eq!(commits.bytes(), 4000);
    }
}
