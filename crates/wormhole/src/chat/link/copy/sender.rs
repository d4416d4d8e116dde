//! The device that copies its contacts and its history to another one.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::timeout;
use wormhole_chat::{AccountId, Client as Core, Timestamp};

use super::Copied;
use super::records::{CopiedContact, MAX_ITEMS, Record};
use crate::chat::account::{Account, now};
use crate::chat::history::{HistoryId, HistoryMode, HistoryState};
use crate::chat::link::{CopyError, LinkPeerError};
use crate::chat::store::{Contact, HistoryRow, Store, StoreError};
use crate::transit::Pipe;

/// Sends everything, and waits until the other device has stored it.
pub(super) async fn send(
    account: &Account,
    core: &Core,
    pipe: &mut Pipe,
    history: HistoryMode,
) -> Result<Copied, CopyError> {
    let contacts = account.store.run(|store| store.contacts()).await?;
    let wanted = account.store.run(|store| Ok::<_, StoreError>(wanted(store))).await?;
    for contacts in contacts.chunks(MAX_CONTACTS) {
        let contacts = contacts.iter().map(|contact| copied(core, contact, &wanted)).collect();
        pipe.send_record(&Record::Contacts(contacts).encode()).await?;
    }
    let contacts = u64::try_from(contacts.len()).unwrap_or(u64::MAX);
    let messages = send_messages(account, pipe, history).await?;
    pipe.send_record(&Record::End { contacts, messages }.encode()).await?;
    let Ok(answer) = timeout(PATIENCE, pipe.receive_record()).await else {
        return Err(LinkPeerError::Gone.into());
    };
    match Record::decode(&answer?) {
        Ok(Record::Answer { messages }) => Ok(Copied { contacts, messages }),
        Ok(_) | Err(_) => Err(LinkPeerError::Unexpected.into()),
    }
}

/// The accounts whose messages the user wants.
fn wanted(store: &Store) -> BTreeSet<AccountId> {
    store.accepted().difference(store.blocked()).copied().collect()
}

fn copied(core: &Core, contact: &Contact, wanted: &BTreeSet<AccountId>) -> CopiedContact {
    let identity = core.identity_of(contact.account);
    // While a change of the key waits for the user, the other device must not take a side.
    let accepted = identity.filter(|it| it.changed.is_none()).map(|it| it.accepted);
    let accepted = accepted.map(|key| {
        let decision = core.identity_decision(contact.account, &key);
        (key, decision.map_or(Timestamp(0), |decision| decision.decided))
    });
    let is_accepted = wanted.contains(&contact.account);
    CopiedContact { contact: contact.clone(), is_accepted, identity: accepted }
}

/// Sends the history, the newest messages first. Returns their number.
async fn send_messages(
    account: &Account,
    pipe: &mut Pipe,
    history: HistoryMode,
) -> Result<u64, CopyError> {
    let HistoryMode::On(limits) = history else { return Ok(0) };
    let milliseconds = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    let oldest = limits.max_age.map_or(0, |age| now().0.saturating_sub(milliseconds(age)));
    let mut left = limits.max_messages.unwrap_or(u64::MAX);
    let mut sent = 0;
    let mut before: Option<HistoryId> = None;
    while left > 0 {
        let exported =
            account.store.run(move |store| store.export_history(before, MAX_ITEMS)).await?;
        let (rows, next) = exported;
        let is_wanted = |row: &HistoryRow| row.stored >= Timestamp(oldest) && is_copied(row);
        let rows =
            rows.into_iter().filter(is_wanted).take(usize::try_from(left).unwrap_or(usize::MAX));
        for rows in chunks(rows) {
            let count = u64::try_from(rows.len()).unwrap_or(u64::MAX);
            (sent, left) = (sent + count, left.saturating_sub(count));
            pipe.send_record(&Record::Messages(rows).encode()).await?;
        }
        if next.is_none() {
            break;
        }
        before = next;
    }
    Ok(sent)
}

/// Whether another device gets a message: not those that only this device can still send.
const fn is_copied(row: &HistoryRow) -> bool {
    match row.state {
        HistoryState::Failed | HistoryState::Waiting => false,
        HistoryState::Delivered
        | HistoryState::MaybeSent
        | HistoryState::OnServer
        | HistoryState::Read
        | HistoryState::Unread => true,
    }
}

/// Messages for one record each.
fn chunks(rows: impl Iterator<Item = HistoryRow>) -> Vec<Vec<HistoryRow>> {
    let (mut chunks, mut bytes) = (Vec::<Vec<HistoryRow>>::new(), usize::MAX);
    for row in rows {
        let length = row.encode().len();
        if bytes.saturating_add(length) > MAX_BYTES {
            chunks.push(Vec::new());
            bytes = 0;
        }
        bytes += length;
        if let Some(last) = chunks.last_mut() {
            last.push(row);
        }
    }
    chunks
}

/// Contacts in one record.
const MAX_CONTACTS: usize = 1000;

/// Bytes of messages in one record, unless a single one is longer.
const MAX_BYTES: usize = 1 << 20;

/// How long the other device may take to store the last record.
const PATIENCE: Duration = Duration::from_secs(60);
