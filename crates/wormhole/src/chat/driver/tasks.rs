//! What handles of the client ask the task for.

use std::collections::BTreeMap;

use tokio::sync::oneshot;
use wormhole_chat::{AccountId, Client as Core, ClientInput, Content, PublicKey};

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

    pub(in crate::chat) const fn contacts(&self) -> &BTreeMap<AccountId, Contact> {
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
        self.contacts.insert(contact.account, contact.clone());
        self.commits.add_contact(contact);
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

    /// Remembers which account a number belongs to, and its keys.
    pub(in crate::chat) fn resolved(&mut self, resolved: Resolved, contact: Contact) {
        self.requests.keep(resolved);
        self.learn(contact);
    }

    /// An account that cannot receive messages any more. Its number may have another account now: the next message to it asks
    /// the server again.
    pub(super) fn forget_number(&mut self, account: AccountId) {
        if let Some(contact) = self.contacts.get_mut(&account) {
            (contact.number, contact.is_default) = (None, false);
            self.commits.add_contact(contact.clone());
        }
    }

    /// Adds what the server says about an account to the contact.
    pub(super) fn learn(&mut self, news: Contact) {
        let known = self.contacts.get(&news.account);
        let contact = match known {
            None => news,
            Some(known) => Contact {
                is_default: news.is_default
                    || known.is_default && (news.number.is_none() || known.number == news.number),
                number: news.number.or_else(|| known.number.clone()),
                app: news.app.or_else(|| known.app.clone()),
                ..known.clone()
            },
        };
        if known != Some(&contact) {
            self.contacts.insert(contact.account, contact.clone());
            self.commits.add_contact(contact);
        }
    }
}

/// Most messages in the outbox.
const MAX_OUTBOX: usize = 10_000;
