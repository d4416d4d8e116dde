//! The device that takes over contacts and a history from another one of its account.

use std::time::Duration;

use rand_core::OsRng;
use tokio::time::timeout;
use wormhole_chat::{
    AccountId, Client as Core, ClientInput, ClientOutput, IdentityChoice, IdentitySync,
};

use super::Copied;
use super::records::{CopiedContact, Record};
use crate::chat::account::{Account, now};
use crate::chat::history::HistoryMode;
use crate::chat::link::{CopyError, LinkPeerError};
use crate::chat::store::{Commit, Contact, HistoryRow, Store, StoreError};
use crate::transit::Pipe;

/// Stores everything, and confirms it.
pub(super) async fn receive(
    account: &Account,
    mut core: Core,
    pipe: &mut Pipe,
) -> Result<Copied, CopyError> {
    let own = core.address().account;
    let (mut arrived, mut messages) = (Copied::default(), 0);
    loop {
        let Ok(record) = timeout(PATIENCE, pipe.receive_record()).await else {
            return Err(LinkPeerError::Gone.into());
        };
        match Record::decode(&record?) {
            Ok(Record::Contacts(contacts)) => {
                arrived.contacts += u64::try_from(contacts.len()).unwrap_or(u64::MAX);
                let known = account.store.run(|store| store.contacts()).await?;
                let commit = take_over(&mut core, &known, contacts);
                account.store.run(move |store| store.commit(&commit)).await?;
            }
            Ok(Record::Messages(rows)) => {
                arrived.messages += u64::try_from(rows.len()).unwrap_or(u64::MAX);
                messages += account.store.run(move |store| import(store, rows, own)).await?;
            }
            Ok(Record::End { contacts, messages: all }) => {
                if (contacts, all) != (arrived.contacts, arrived.messages) {
                    return Err(LinkPeerError::Unexpected.into());
                }
                pipe.send_record(&Record::Answer { messages }.encode()).await?;
                return Ok(Copied { contacts, messages });
            }
            Ok(Record::Answer { .. }) | Err(_) => return Err(LinkPeerError::Unexpected.into()),
        }
    }
}

/// Stores messages, except those that say something about our account that cannot be.
fn import(store: &mut Store, rows: Vec<HistoryRow>, own: AccountId) -> Result<u64, StoreError> {
    if store.history_mode() == HistoryMode::Off {
        return Ok(0);
    }
    let now = now();
    let rows = rows.into_iter().filter(|row| row.is_ours == (row.author == own));
    // A wrong clock must not keep them for longer.
    let rows = rows.map(|row| HistoryRow { stored: row.stored.min(now), ..row });
    store.import_history(&rows.collect::<Vec<_>>())
}

/// Returns the rows with which these contacts are known here, too. The values of this device stay.
fn take_over(core: &mut Core, known: &[Contact], contacts: Vec<CopiedContact>) -> Commit {
    let own = core.address().account;
    let mut commit = Commit::default();
    for CopiedContact { contact, is_accepted, identity } in contacts {
        if contact.account == own {
            continue;
        }
        if is_accepted {
            commit.written_to.insert(contact.account);
        }
        let before = known.iter().find(|it| it.account == contact.account);
        if let Some((key, decided)) = identity {
            let (account, decision) = (contact.account, IdentityChoice::Accepted);
            let decision = IdentitySync { account, key, decision, decided };
            core.handle(now(), ClientInput::LearnIdentities(vec![decision]), &mut OsRng);
        }
        let accepted = core.identity_of(contact.account).map(|it| it.accepted);
        // The user has compared this key, and no other.
        let verified = contact.verified.filter(|key| accepted == Some(*key));
        let known = before.cloned().unwrap_or_else(|| crate::chat::contact(contact.account));
        commit.add_contact(merged(known, Contact { verified, ..contact }));
    }
    while let Some(output) = core.poll() {
        if let ClientOutput::Commit(id, changes) = output {
            commit.add(changes);
            core.handle(now(), ClientInput::Committed(id), &mut OsRng);
        }
    }
    commit
}

/// A contact with what either of two devices knows.
fn merged(ours: Contact, theirs: Contact) -> Contact {
    let is_bound = ours.is_default || ours.is_in_app;
    let (number, app, is_default, is_in_app) = if is_bound {
        (ours.number, ours.app, ours.is_default, ours.is_in_app)
    } else {
        (theirs.number, theirs.app, theirs.is_default, theirs.is_in_app)
    };
    Contact {
        account: ours.account,
        number,
        app,
        name: ours.name.or(theirs.name),
        is_default,
        is_in_app,
        verified: ours.verified.or(theirs.verified),
        profile: ours.profile.or(theirs.profile),
    }
}

/// How long the other device may take to read its next messages.
const PATIENCE: Duration = Duration::from_secs(60);
