//! The requests of handles of the client.

use std::collections::BTreeSet;

use tokio::sync::oneshot;
use wormhole_chat::service::Destination;
use wormhole_chat::{
    AccountId, Client as Core, ClientInput, Content, IdentityChoice, IdentitySync, PublicKey,
    SyncMessage, Timestamp,
};
use zeroize::Zeroizing;

use super::contacts::Contacts;
use super::outbox::Outbox;
use super::{Driver, Sending};
use crate::chat::Conversation;
use crate::chat::account::Account;
use crate::chat::error::QueueError;
use crate::chat::message::CancelOutcome;
use crate::chat::service::Resolved;
use crate::chat::store::{Contact, ReceivedId};

/// The decision of the user about an identity key.
#[derive(Clone, Copy, Debug)]
pub(in crate::chat) enum IdentityDecision {
    Accept,
    Refuse,
}

impl Driver {
    /// The client's state.
    pub(in crate::chat) const fn core(&self) -> &Core {
        &self.core
    }

    pub(in crate::chat) const fn core_mut(&mut self) -> &mut Core {
        &mut self.core
    }

    pub(in crate::chat) const fn contacts(&self) -> &Contacts {
        &self.contacts
    }

    /// The blocked accounts.
    pub(in crate::chat) const fn blocked(&self) -> &BTreeSet<AccountId> {
        &self.blocked
    }

    pub(in crate::chat) const fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Whether the outbox has room for a message in this conversation.
    ///
    /// # Errors
    /// The group has no link, or we are not a member.
    pub(in crate::chat) fn check_capacity(&self, to: Conversation) -> Result<(), QueueError> {
        match to {
            Conversation::Account(account) => self.check_capacity_for_account(account),
            Conversation::Group(group) => self.check_capacity_for_group(group),
        }
    }

    fn check_capacity_for_account(&self, to: AccountId) -> Result<(), QueueError> {
        // Messages for our other devices have a limit of their own, so a device that fetches nothing stops no message.
        let outbox = self.core.outbox_len() - self.core.waiting_syncs();
        if outbox >= MAX_OUTBOX {
            return Err(QueueError::OutboxFull);
        }
        // They stay until the application has taken them.
        if outbox.saturating_add(self.counts.failed) >= MAX_OUTBOX {
            return Err(QueueError::TooManyFailed);
        }
        let waiting = self.core.outbox().filter(|(_, account)| *account == to).count();
        let bytes = self.core.outbox_bytes().map(|(_, bytes)| bytes).sum::<usize>();
        let of_account = self.core.outbox_bytes().filter(|(account, _)| *account == to);
        let bytes_for_one = of_account.map(|(_, bytes)| bytes).sum::<usize>();
        if bytes >= MAX_OUTBOX_BYTES || bytes_for_one >= MAX_BYTES_FOR_ONE {
            return Err(QueueError::OutboxFull);
        }
        match self.outbox.blocked(to) {
            Some(key) if waiting >= MAX_BLOCKED => {
                Err(QueueError::IdentityChanged { account: to, key })
            }
            _ if waiting >= MAX_FOR_ONE => Err(QueueError::OutboxFull),
            _ => Ok(()),
        }
    }

    /// Puts a message into the outbox, and answers when it is durable.
    pub(in crate::chat) fn send(
        &mut self,
        to: Conversation,
        content: Content,
        reply: oneshot::Sender<Sending>,
    ) -> Result<(), QueueError> {
        self.check_capacity(to)?;
        match to {
            Conversation::Account(account) => {
                self.send_to_account(account, content, reply);
                Ok(())
            }
            Conversation::Group(group) => self.send_to_group(group, &content, reply),
        }
    }

    fn send_to_account(
        &mut self,
        to: AccountId,
        mut content: Content,
        reply: oneshot::Sender<Sending>,
    ) {
        if let Content::Data(data) = &mut content {
            // The recipient may read our profile, and answer without showing the server who writes.
            data.profile_key = self.own_profile.as_ref().map(|own| *own.key.as_secret().expose());
        }
        self.add_accepted(to);
        self.accepting.push_back(reply);
        self.input(ClientInput::Send(to, content));
    }

    /// Removes a message from the outbox, and answers when that is durable. If the message is being sent, the answer of the
    /// server decides.
    pub(in crate::chat) fn cancel(
        &mut self,
        message: Timestamp,
        reply: oneshot::Sender<CancelOutcome>,
    ) {
        if self.outbox.cancel(message, reply) {
            self.cancel_unless_sending(message);
        }
    }

    /// Removes a message from the outbox that somebody wants to cancel.
    pub(super) fn cancel_unless_sending(&mut self, message: Timestamp) {
        if self.requests.is_sending(message) {
            return;
        }
        self.requests.forget(message);
        // If it has left the outbox already, its event is on the way.
        self.input(ClientInput::Cancel(message));
    }

    /// Accepts or refuses an identity key, and answers when that is durable. False if there is nothing to decide about it: a new
    /// key can be accepted or refused, and a refused one accepted. The same decision again changes nothing.
    pub(in crate::chat) fn decide(
        &mut self,
        account: AccountId,
        key: PublicKey,
        decision: IdentityDecision,
        reply: oneshot::Sender<()>,
    ) -> bool {
        let known = self.core.identity_of(account);
        let is_new = known.is_some_and(|identity| identity.changed == Some(key));
        let is_accepted = known.is_some_and(|it| it.accepted == key && it.changed.is_none());
        let is_refused = self.core.refused_identities(account).contains(&key);
        let (input, is_open, is_done) = match decision {
            IdentityDecision::Accept => {
                (ClientInput::AcceptIdentity(account, key), is_new || is_refused, is_accepted)
            }
            IdentityDecision::Refuse => {
                (ClientInput::RefuseIdentity(account, key), is_new, is_refused)
            }
        };
        if is_open {
            self.input(input);
            self.outbox.set_blocked(account, None);
            self.share_identity_decision(account, key);
            self.process_outputs();
        }
        self.commits.reply(reply);
        is_open || is_done
    }

    /// Makes an account a contact whose identity key is accepted and verified, and answers when that is durable.
    pub(in crate::chat) fn trust(
        &mut self,
        account: AccountId,
        key: PublicKey,
        number: Option<String>,
        app: Option<String>,
        reply: oneshot::Sender<()>,
    ) {
        let known = self.core.identity_of(account);
        if known.is_none_or(|identity| identity.accepted != key || identity.changed.is_some()) {
            self.input(ClientInput::AcceptIdentity(account, key));
            self.outbox.set_blocked(account, None);
        }
        let known = self.contacts.get(account).cloned();
        let contact = known.unwrap_or_else(|| crate::chat::contact(account));
        // The server's answer about the account counts more than the claim of the person.
        let contact = match contact.number {
            None => Contact { number, app, ..contact },
            Some(_) => contact,
        };
        self.put(Contact { verified: Some(key), ..contact });
        self.share_identity_decision(account, key);
        self.process_outputs();
        self.commits.reply(reply);
    }

    /// Sends the decision of the user about an identity key to our other devices.
    fn share_identity_decision(&mut self, account: AccountId, key: PublicKey) {
        if let Some(decision) = self.core.identity_decision(account, &key) {
            let decisions = vec![self.with_verified(decision)];
            self.input(ClientInput::Synchronise(SyncMessage::Identities(decisions)));
        }
    }

    /// A decision, with whether the user has compared the safety number.
    pub(super) fn with_verified(&self, decision: IdentitySync) -> IdentitySync {
        let verified = self.contacts.get(decision.account).and_then(|contact| contact.verified);
        match decision.decision {
            IdentityChoice::Accepted if verified == Some(decision.key) => {
                IdentitySync { decision: IdentityChoice::Verified, ..decision }
            }
            IdentityChoice::Accepted
            | IdentityChoice::Refused { .. }
            | IdentityChoice::Verified => decision,
        }
    }

    /// Stores a contact, and answers when it is durable. Our other devices learn that it is verified.
    pub(in crate::chat) fn save(&mut self, contact: Contact, reply: oneshot::Sender<()>) {
        let known = self.contacts.get(contact.account).and_then(|contact| contact.verified);
        let account = contact.account;
        let verified = contact.verified.filter(|key| known != Some(*key));
        self.put(contact);
        // The other devices must not use a key about which the user has not decided.
        let known = self.core.identity_of(account).filter(|known| known.changed.is_none());
        let accepted = known.map(|known| known.accepted);
        if let Some(key) = verified.filter(|key| accepted == Some(*key)) {
            // It is accepted from now on, even if another device has seen another key first.
            self.input(ClientInput::AcceptIdentity(account, key));
            self.share_identity_decision(account, key);
            self.process_outputs();
        }
        self.commits.reply(reply);
    }

    /// Removes a received message and the note about it, and answers when that is durable.
    pub(in crate::chat) fn take(&mut self, id: ReceivedId, reply: oneshot::Sender<()>) {
        self.commits.add_taken(id);
        self.commits.reply(reply);
    }

    /// Stores a note about a received message, and answers when that is durable.
    pub(in crate::chat) fn set_note(
        &mut self,
        id: ReceivedId,
        note: Zeroizing<Vec<u8>>,
        reply: oneshot::Sender<()>,
    ) {
        self.commits.add_note(id, note);
        self.commits.reply(reply);
    }

    /// Stores a setting of the application, or removes it, and answers when that is durable.
    pub(in crate::chat) fn set_setting(
        &mut self,
        name: String,
        value: Option<Zeroizing<Vec<u8>>>,
        reply: oneshot::Sender<()>,
    ) {
        self.commits.add_setting(name, value);
        self.commits.reply(reply);
    }

    /// Replaces the drafts. Together with what was asked for just before, it becomes durable or not at all.
    pub(in crate::chat) fn set_drafts(&mut self, drafts: Option<Zeroizing<Vec<u8>>>) {
        self.commits.add_setting(crate::chat::drafts::SETTING.to_owned(), drafts);
    }

    /// Removes a message that cannot be sent, and answers when that is durable.
    pub(in crate::chat) fn forget(&mut self, message: Timestamp, reply: oneshot::Sender<()>) {
        self.commits.add_forgotten(message);
        self.commits.reply(reply);
    }

    /// Ends the client when everything that handles have asked for is done. Then it answers with the account.
    pub(in crate::chat) fn close(&mut self, reply: oneshot::Sender<Account>) {
        self.tasks.close();
        self.closing = Some(reply);
    }

    /// Remembers which account a destination means, and its keys.
    ///
    /// # Errors
    /// The answer is about something else, or a known number has another account now.
    pub(in crate::chat) fn resolved(
        &mut self,
        to: &Destination,
        answer: Resolved,
    ) -> Result<Contact, QueueError> {
        let contact = self.contacts.resolved(to, &answer)?;
        self.requests.keep(answer);
        if self.contacts.get(contact.account) != Some(&contact) {
            self.put(contact.clone());
        }
        Ok(contact)
    }

    /// Binds a number to an account, and answers when that is durable.
    pub(in crate::chat) fn bind(
        &mut self,
        number: &Destination,
        account: AccountId,
        reply: oneshot::Sender<()>,
    ) {
        for contact in self.contacts.rebind(number, account) {
            self.put(contact);
        }
        self.commits.reply(reply);
    }

    /// Changes a contact.
    pub(super) fn put(&mut self, contact: Contact) {
        let known = self.contacts.get(contact.account);
        if contact.is_accepted() && !known.is_some_and(Contact::is_accepted) {
            self.notify_accepted(contact.account);
        }
        if contact.is_accepted() {
            self.accepted.insert(contact.account);
        }
        self.contacts.insert(contact.clone());
        super::parts::describe(&mut self.core, &contact);
        if contact.is_known() && !self.is_blocked(contact.account) {
            self.input(ClientInput::Keep(contact.account));
        }
        self.commits.add_contact(contact);
    }
}

/// Maximum number of messages in the outbox, together with those that have failed.
const MAX_OUTBOX: usize = 10_000;

/// Maximum number of bytes of messages in the outbox, with their ciphertexts for all devices: they are in memory.
const MAX_OUTBOX_BYTES: usize = 64 << 20;

/// Maximum number of bytes of messages in the outbox for one account.
const MAX_BYTES_FOR_ONE: usize = 16 << 20;

/// Maximum number of messages in the outbox for one account, so that it does not stop messages to others.
const MAX_FOR_ONE: usize = 1000;

/// Maximum number of messages for an account whose identity key has changed: they may wait indefinitely.
const MAX_BLOCKED: usize = 16;
