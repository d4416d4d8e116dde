//! The names that the user gives to people. All devices of our account share them, and the latest name of each person counts.

use std::collections::BTreeMap;

use tokio::sync::oneshot;
use wormhole_chat::{AccountId, ClientInput, MAX_NAME, NameSync, SyncMessage, Timestamp};
use wormhole_kit::Reader;
use zeroize::Zeroizing;

use super::Driver;
use super::shared::{MAX_TIME, after};
use crate::chat::account::now;

/// When each person got the present name.
#[derive(Debug, Default)]
pub(in crate::chat) struct NameTimes(BTreeMap<AccountId, Timestamp>);

impl NameTimes {
    /// Decodes the setting [`NAMES`].
    pub(in crate::chat) fn decode(setting: Option<&[u8]>) -> Self {
        let entries = setting.unwrap_or_default().chunks_exact(ENTRY).filter_map(|entry| {
            let mut entry = Reader::new(entry);
            let account = AccountId::from_bytes(entry.array().ok()?);
            Some((account, Timestamp(u64::from_be_bytes(entry.array().ok()?))))
        });
        Self(entries.collect())
    }

    fn encode(&self) -> Vec<u8> {
        let entry = |(account, time): (&AccountId, &Timestamp)| {
            account.as_bytes().iter().copied().chain(time.0.to_be_bytes()).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(entry).collect()
    }

    fn get(&self, account: AccountId) -> Timestamp {
        self.0.get(&account).copied().unwrap_or(Timestamp(0))
    }

    fn put(&mut self, account: AccountId, time: Timestamp) {
        self.0.insert(account, time);
        if self.0.len() > MAX_NAMES {
            let oldest = self.0.iter().min_by_key(|(_, time)| **time).map(|(it, _)| *it);
            oldest.map(|oldest| self.0.remove(&oldest));
        }
    }
}

impl Driver {
    /// The user gives a name to a person, or removes it. Answers when it is stored. Our other devices learn it.
    pub(in crate::chat) fn name_contact(
        &mut self,
        account: AccountId,
        name: Option<String>,
        reply: oneshot::Sender<()>,
    ) {
        let known = self.contacts.get(account).cloned();
        let mut contact = known.unwrap_or_else(|| crate::chat::contact(account));
        contact.name.clone_from(&name);
        let decided = after(now(), self.names.get(account));
        self.names.put(account, decided);
        self.store_names();
        self.put(contact);
        if name.as_ref().is_none_or(|name| name.len() <= MAX_NAME) {
            let sync = SyncMessage::Names(vec![NameSync { account, name, decided }]);
            self.input(ClientInput::Synchronise(sync));
            self.process_outputs();
        }
        self.commits.reply(reply);
    }

    /// Learns names from another device of our account.
    pub(super) fn learn_names(&mut self, names: Vec<NameSync>) {
        let mut is_changed = false;
        for NameSync { account, name, decided } in names {
            let known = self.contacts.get(account).cloned();
            let mut contact = known.unwrap_or_else(|| crate::chat::contact(account));
            // Of two names of the same moment, the greater one counts on all devices.
            let is_newer = (decided, &name) > (self.names.get(account), &contact.name);
            if account == self.own || !is_newer || decided.0 > MAX_TIME {
                continue;
            }
            self.names.put(account, decided);
            is_changed = true;
            if contact.name != name {
                contact.name = name;
                self.put(contact);
            }
        }
        if is_changed {
            self.store_names();
        }
    }

    /// All names, in messages for a new device of our account.
    pub(super) fn names_for_new_device(&self) -> Vec<SyncMessage> {
        let named = self.contacts.all().filter(|contact| contact.name.is_some());
        let name = |contact: &crate::chat::store::Contact| {
            let (account, name) = (contact.account, contact.name.clone());
            NameSync { account, name, decided: self.names.get(account) }
        };
        let names: Vec<_> = named.map(name).take(MAX_NAMES).collect();
        names.chunks(MAX_NAMES_AT_ONCE).map(|names| SyncMessage::Names(names.to_vec())).collect()
    }

    fn store_names(&mut self) {
        let value = Zeroizing::new(self.names.encode());
        self.commits.add_setting(NAMES.to_owned(), Some(value));
    }
}

/// The setting that says when names were given: account (16) and time (8) of each.
pub(in crate::chat) const NAMES: &str = "wormhole.named";

/// Bytes of an entry of the setting.
const ENTRY: usize = 24;

/// Maximum number of people whose times are remembered; the oldest is dropped first.
const MAX_NAMES: usize = 6000;

/// Maximum number of names in one message.
const MAX_NAMES_AT_ONCE: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_names_are_read_as_they_were_written_and_limited() {
        let account = |number: usize| {
            let mut id = [0xaa; 16];
            id[..8].copy_from_slice(&number.to_be_bytes());
            AccountId::from_bytes(id)
        };
        let mut names = NameTimes::default();
        for number in 0..=MAX_NAMES {
            names.put(account(number), Timestamp(u64::try_from(number).unwrap() + 1));
        }
        let read = NameTimes::decode(Some(&names.encode()));
        assert_eq!(read.0.len(), MAX_NAMES);
        assert_eq!([0, 1].map(|number| read.get(account(number)).0), [0, 2]);
        assert_eq!(NameTimes::decode(None).0.len(), 0);
    }
}
