//! The progress of the messages in the outbox, and why they wait.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::{oneshot, watch};
use wormhole_chat::{AccountId, Client as Core, PublicKey, Timestamp};

use crate::chat::error::DeliveryError;
use crate::chat::message::{CancelOutcome, OutboxMessage, Progress};
use crate::chat::{Conversation, RequestError};

/// The messages in the outbox.
#[derive(Debug, Default)]
pub(in crate::chat) struct Outbox {
    messages: BTreeMap<Timestamp, Entry>,
    /// The messages of each conversation.
    conversations: BTreeMap<Conversation, BTreeSet<Timestamp>>,
    /// Accounts with an identity key that the user must accept.
    blocked: BTreeMap<AccountId, PublicKey>,
    /// Why the last request for messages to an account has failed.
    delays: BTreeMap<AccountId, RequestError>,
    /// Why the server does not accept us.
    refusal: Option<RequestError>,
}

/// A message in the outbox.
#[derive(Debug)]
struct Entry {
    to: Conversation,
    progress: watch::Sender<Progress>,
    /// Whether the server may have it, although it has not confirmed that.
    may_have_arrived: bool,
    /// Those who want to cancel it.
    cancelling: Vec<oneshot::Sender<CancelOutcome>>,
}

impl Outbox {
    /// Creates the outbox with the messages of an earlier run.
    pub(super) fn new(core: &Core) -> Self {
        let changes = core.identity_changes();
        let changed = |(account, keys): (_, wormhole_chat::KnownIdentity)| {
            keys.changed.map(|key| (account, key))
        };
        let mut outbox = Self { blocked: changes.filter_map(changed).collect(), ..Self::default() };
        let to_people = core.outbox().map(|(it, to)| (it, Conversation::Account(to)));
        let to_groups = core.group_outbox().map(|(it, to)| (it, Conversation::Group(to)));
        for (timestamp, to) in to_people.chain(to_groups) {
            outbox.add(timestamp, to);
            if core.is_encrypted(timestamp) {
                outbox.may_have_arrived(timestamp);
            }
        }
        outbox
    }

    /// Adds a message. Returns what has become of it.
    pub(super) fn add(
        &mut self,
        timestamp: Timestamp,
        to: Conversation,
    ) -> watch::Receiver<Progress> {
        let (progress, receiver) = watch::channel(self.progress(to));
        let entry = Entry { to, progress, may_have_arrived: false, cancelling: Vec::new() };
        self.messages.insert(timestamp, entry);
        self.conversations.entry(to).or_default().insert(timestamp);
        receiver
    }

    /// Removes a message. Returns its recipient.
    pub(super) fn remove(
        &mut self,
        timestamp: Timestamp,
        progress: &Progress,
    ) -> Option<Conversation> {
        let Entry { to, progress: sender, may_have_arrived, cancelling } =
            self.messages.remove(&timestamp)?;
        if let Some(messages) = self.conversations.get_mut(&to) {
            messages.remove(&timestamp);
            if messages.is_empty() {
                self.conversations.remove(&to);
                if let Conversation::Account(account) = to {
                    self.delays.remove(&account);
                }
            }
        }
        sender.send_replace(progress.clone());
        for reply in cancelling {
            // The one who asked may be gone.
            let _gone = reply.send(CancelOutcome::from_progress(progress, may_have_arrived));
        }
        Some(to)
    }

    /// Records that the server may have a message, although it has not confirmed that.
    pub(super) fn may_have_arrived(&mut self, message: Timestamp) {
        if let Some(entry) = self.messages.get_mut(&message) {
            entry.may_have_arrived = true;
        }
    }

    /// Answers when a message has left the outbox. False if it is not there.
    pub(super) fn cancel(
        &mut self,
        message: Timestamp,
        reply: oneshot::Sender<CancelOutcome>,
    ) -> bool {
        if let Some(entry) = self.messages.get_mut(&message) {
            entry.cancelling.push(reply);
            return true;
        }
        // The one who asked may be gone.
        let _gone = reply.send(CancelOutcome::NotWaiting);
        false
    }

    /// Whether somebody wants to cancel a message.
    pub(super) fn is_cancelling(&self, message: Timestamp) -> bool {
        self.messages.get(&message).is_some_and(|entry| !entry.cancelling.is_empty())
    }

    /// Sets the changed identity key of an account; `None` when the user has accepted or refused it.
    pub(super) fn set_blocked(&mut self, account: AccountId, key: Option<PublicKey>) {
        match key {
            Some(key) => self.blocked.insert(account, key),
            None => self.blocked.remove(&account),
        };
        self.update(Conversation::Account(account));
    }

    /// The key that the user must accept before something is sent to an account.
    pub(super) fn blocked(&self, account: AccountId) -> Option<PublicKey> {
        self.blocked.get(&account).copied()
    }

    /// Records the result of a request about an account or about our own keys; `None` if it has succeeded.
    pub(super) fn record_result(
        &mut self,
        account: Option<AccountId>,
        error: Option<RequestError>,
    ) {
        match &error {
            None => self.set_refusal(None),
            Some(error) if error.is_refusal() => self.set_refusal(Some(error.clone())),
            // A bad answer about one account says nothing about the others.
            Some(_) => {}
        }
        if let Some(account) = account {
            self.set_delay(account, error);
        }
    }

    /// Records the result of a request about an account; `None` if it has succeeded.
    fn set_delay(&mut self, account: AccountId, why: Option<RequestError>) {
        let with = Conversation::Account(account);
        match why.filter(|_| self.conversations.contains_key(&with)) {
            Some(why) => self.delays.insert(account, why),
            None => self.delays.remove(&account),
        };
        self.update(Conversation::Account(account));
    }

    /// Sets why the server does not accept us; `None` if it does.
    pub(super) fn set_refusal(&mut self, refusal: Option<RequestError>) {
        if self.refusal == refusal {
            return;
        }
        self.refusal = refusal;
        let conversations: Vec<_> = self.conversations.keys().copied().collect();
        conversations.into_iter().for_each(|conversation| self.update(conversation));
    }

    /// The messages, oldest first.
    pub(in crate::chat) fn list(&self) -> Vec<OutboxMessage> {
        let messages = self.messages.iter();
        let described = messages.map(|(timestamp, entry)| {
            let progress = entry.progress.borrow().clone();
            OutboxMessage { timestamp: *timestamp, to: entry.to, progress }
        });
        described.collect()
    }

    /// Returns why messages in a conversation wait at the moment. In a group, those with a changed identity key are left out.
    fn progress(&self, to: Conversation) -> Progress {
        let account = match to {
            Conversation::Account(account) => Some(account),
            Conversation::Group(_) => None,
        };
        if let Some(key) = account.and_then(|account| self.blocked.get(&account)) {
            return Progress::NotSent(DeliveryError::IdentityChanged(*key));
        }
        let delay = account.and_then(|account| self.delays.get(&account));
        let delay = self.refusal.as_ref().or(delay);
        delay
            .map_or(Progress::Waiting, |why| Progress::NotSent(DeliveryError::Delayed(why.clone())))
    }

    /// Notifies those who watch messages of a conversation.
    fn update(&self, to: Conversation) {
        let progress = self.progress(to);
        let messages = self.conversations.get(&to).into_iter().flatten();
        for entry in messages.filter_map(|timestamp| self.messages.get(timestamp)) {
            entry.progress.send_if_modified(|known| {
                let is_new = *known != progress;
                known.clone_from(&progress);
                is_new
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_core::OsRng;
    use wormhole_chat::KeyPair;

    use super::*;
    use crate::chat::ServerFault;

    const BOB: AccountId = AccountId::from_bytes([1; 16]);
    const CAROL: AccountId = AccountId::from_bytes([2; 16]);

    fn delayed(why: RequestError) -> Progress {
        Progress::NotSent(DeliveryError::Delayed(why))
    }

    #[test]
    fn a_message_after_a_refusal_is_refused_at_once_and_waits_again_when_the_server_accepts_us() {
        let mut outbox = Outbox::default();
        let first = outbox.add(Timestamp(1), Conversation::Account(BOB));
        let refused = delayed(RequestError::AppRefused);
        outbox.set_refusal(Some(RequestError::AppRefused));
        let second = outbox.add(Timestamp(2), Conversation::Account(CAROL));
        assert_eq!((&*first.borrow(), &*second.borrow()), (&refused, &refused));
        outbox.set_refusal(None);
        assert_eq!(
            outbox.list().iter().map(|it| &it.progress).collect::<Vec<_>>(),
            [&Progress::Waiting; 2]
        );
    }

    #[test]
    fn a_bad_answer_about_one_account_delays_only_its_messages() {
        let mut outbox = Outbox::default();
        let to_bob = outbox.add(Timestamp(1), Conversation::Account(BOB));
        let to_carol = outbox.add(Timestamp(2), Conversation::Account(CAROL));
        outbox.record_result(Some(BOB), Some(RequestError::InvalidAnswer(ServerFault::Format)));
        assert_eq!(*to_bob.borrow(), delayed(RequestError::InvalidAnswer(ServerFault::Format)));
        assert_eq!(*to_carol.borrow(), Progress::Waiting);
        outbox.record_result(Some(BOB), Some(RequestError::CredentialsRefused));
        assert_eq!(*to_carol.borrow(), delayed(RequestError::CredentialsRefused));
        outbox.record_result(Some(CAROL), None);
        assert_eq!(*to_carol.borrow(), Progress::Waiting);
    }

    #[test]
    fn each_message_says_why_it_waits() {
        let mut outbox = Outbox::default();
        let to_bob = outbox.add(Timestamp(1), Conversation::Account(BOB));
        let to_carol = outbox.add(Timestamp(2), Conversation::Account(CAROL));
        let full = RequestError::Unavailable(503);
        outbox.set_delay(BOB, Some(full.clone()));
        assert_eq!(*to_bob.borrow(), delayed(full));
        assert_eq!(*to_carol.borrow(), Progress::Waiting);
        let key = *KeyPair::random(&mut OsRng).public();
        outbox.set_blocked(BOB, Some(key));
        let blocked = Progress::NotSent(DeliveryError::IdentityChanged(key));
        assert_eq!(*to_bob.borrow(), blocked);
        outbox.set_blocked(BOB, None);
        outbox.set_delay(BOB, None);
        assert_eq!(*to_bob.borrow(), Progress::Waiting);
        assert_eq!(
            outbox.remove(Timestamp(1), &Progress::OnServer),
            Some(Conversation::Account(BOB))
        );
        assert_eq!(*to_bob.borrow(), Progress::OnServer);
        assert_eq!(outbox.list().len(), 1);
    }
}
