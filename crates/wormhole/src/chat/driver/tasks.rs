//! What handles of the client ask the task for.

use tokio::sync::oneshot;
use wormhole_chat::service::Destination;
use wormhole_chat::{AccountId, Client as Core, ClientInput, Content, PublicKey};

use super::contacts::Contacts;
use super::{Driver, Sending};
use crate::chat::Progress;
use crate::chat::error::SendError;
use crate::chat::service::Resolved;
use crate::chat::store::{Contact, ReceivedId};

impl Driver {
    /// The client's state.
    pub(in crate::chat) const fn core(&self) -> &Core {
        &self.core
    }

    pub(in crate::chat) const fn contacts(&self) -> &Contacts {
        &self.contacts
    }

    /// Puts a message into the outbox, and answers when it is durable.
    pub(in crate::chat) fn send(
        &mut self,
        to: AccountId,
        content: Content,
        reply: oneshot::Sender<Sending>,
    ) -> Result<(), SendError> {
        if self.core.outbox_len() >= MAX_OUTBOX {
            return Err(SendError::OutboxFull);
        }
        self.accepting.push_back(reply);
        self.input(ClientInput::Send(to, content));
        Ok(())
    }

    /// Accepts a new identity key, and answers when that is durable. False if the account has another key.
    pub(in crate::chat) fn accept(
        &mut self,
        account: AccountId,
        key: PublicKey,
        reply: oneshot::Sender<()>,
    ) -> bool {
        let known = self.core.identity_of(account);
        let is_new = known.is_some_and(|identity| identity.changed == Some(key));
        let is_accepted = known.is_some_and(|it| it.accepted == key && it.changed.is_none());
        if is_new {
            self.input(ClientInput::AcceptIdentity(account, key));
            self.set_progress(account, &Progress::Waiting);
            self.process_outputs();
        }
        self.commits.reply(reply);
        is_new || is_accepted
    }

    /// Stores a contact, and answers when it is durable.
    pub(in crate::chat) fn save(&mut self, contact: Contact, reply: oneshot::Sender<()>) {
        self.put(contact);
        self.commits.reply(reply);
    }

    /// Removes a received message, and answers when that is durable.
    pub(in crate::chat) fn take(&mut self, id: ReceivedId, reply: oneshot::Sender<()>) {
        self.commits.add_taken(id);
        self.commits.reply(reply);
    }

    /// Ends the client when everything that handles have asked for is done.
    pub(in crate::chat) fn close(&mut self) {
        self.tasks.close();
    }

    /// Remembers which account a destination means, and its keys.
    ///
    /// # Errors
    /// The answer is about something else, or a known number has another account now.
    pub(in crate::chat) fn resolved(
        &mut self,
        to: &Destination,
        answer: Resolved,
    ) -> Result<Contact, SendError> {
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
        self.contacts.insert(contact.clone());
        self.commits.add_contact(contact);
    }
}

/// Most messages in the outbox.
const MAX_OUTBOX: usize = 10_000;
