//! The outbox of an account without a connection: nothing is sent meanwhile.

use rand_core::OsRng;
use wormhole_chat::{Client as Core, ClientInput, ClientOutput, Timestamp};

use super::{Account, now};
use crate::chat::Conversation;
use crate::chat::drafts::{self, Draft};
use crate::chat::error::OpenError;
use crate::chat::message::{CancelOutcome, WaitingMessage, written};
use crate::chat::store::{Commit, Contact, Store, StoreError};

impl Account {
    /// The messages that the server does not have yet, oldest first.
    ///
    /// # Errors
    /// The account is not registered, or the store cannot be read.
    pub async fn outbox(&self) -> Result<Vec<WaitingMessage>, OpenError> {
        self.store.run(|store| Ok(waiting(&restored(store)?))).await
    }

    /// Removes a message from the outbox before a client sends it, like [`Client::cancel`](crate::chat::Client::cancel). What
    /// it says is lost.
    ///
    /// # Errors
    /// The account is not registered, or the store cannot be read or written.
    pub async fn cancel(&self, message: Timestamp) -> Result<CancelOutcome, OpenError> {
        self.store.run(move |store| cancel(store, message)).await
    }

    /// Messages whose files are not with the service or the recipient yet, oldest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn drafts(&self) -> Result<Vec<Draft>, StoreError> {
        self.store.run(|store| drafts::all(store)).await
    }

    /// Removes a draft. Returns false if no draft has this id.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub async fn discard_draft(&self, id: Timestamp) -> Result<bool, StoreError> {
        self.store.run(move |store| drafts::remove(store, id)).await
    }

    /// All accounts that were resolved or named, or have written.
    ///
    /// # Errors
    /// The store is damaged or cannot be read.
    pub async fn contacts(&self) -> Result<Vec<Contact>, StoreError> {
        self.store.run(|store| store.contacts()).await
    }
}

fn restored(store: &Store) -> Result<Core, OpenError> {
    let registration = store.registration()?.ok_or(OpenError::NotRegistered)?;
    if registration.account.is_none() {
        return Err(OpenError::NotRegistered);
    }
    Ok(Core::restore(store.client_rows()?)?)
}

fn waiting(core: &Core) -> Vec<WaitingMessage> {
    let to_people = core.outbox().map(|(timestamp, to)| {
        (timestamp, Conversation::Account(to), core.outbox_content(timestamp))
    });
    let to_groups = core.group_outbox().map(|(timestamp, group)| {
        (timestamp, Conversation::Group(group), core.group_outbox_content(timestamp))
    });
    let described = to_people.chain(to_groups).map(|(timestamp, to, content)| {
        let (text, files) = content.map(written).unwrap_or_default();
        WaitingMessage { timestamp, to, text, files }
    });
    let mut waiting: Vec<_> = described.collect();
    waiting.sort_by_key(|message| message.timestamp);
    waiting
}

fn cancel(store: &mut Store, message: Timestamp) -> Result<CancelOutcome, OpenError> {
    let mut core = restored(store)?;
    let is_in_group = core.group_outbox().any(|(waiting, _)| waiting == message);
    if !is_in_group && !core.outbox().any(|(waiting, _)| waiting == message) {
        return Ok(CancelOutcome::NotWaiting);
    }
    let may_have_arrived = core.is_encrypted(message);
    core.handle(now(), ClientInput::Cancel(message), &mut OsRng);
    let mut commit = Commit::default();
    while let Some(output) = core.poll() {
        if let ClientOutput::Commit(_, changes) = output {
            commit.add(changes);
        }
    }
    store.commit(&commit)?;
    Ok(if may_have_arrived { CancelOutcome::MaybeSent } else { CancelOutcome::Cancelled })
}
