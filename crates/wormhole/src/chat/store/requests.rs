//! Messages of people that the user does not know, until the user decides about them; and what the user has decided.
//!
//! Anybody can invent senders, so all of this has limits.
//!
//! | table | key | value |
//! |---|---|---|
//! | `Request` | id (8) | a message, as in the table of received messages |
//! | `Evidence` | account | what proves up to five messages: id (16), time (8), hash (32), token (32) of each |
//! | `Blocked` | account | empty |
//! | `Decision` | account | what the server does not know yet: 1 accepted, 2 blocked, 3 deleted, 4 reported, with evidence |

use std::collections::{BTreeMap, BTreeSet};

use wormhole_chat::{AccountId, Received, Timestamp};
use wormhole_kit::Reader;
use zeroize::Zeroizing;

use super::database::Transaction;
use super::records::end;
use super::sealing::Table;
use super::{ReceivedId, Store, StoreError, StoredMessage, items};

/// Proof for the server that it has delivered a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Evidence {
    /// The id that the server has given the message.
    pub(crate) guid: [u8; 16],
    /// When the server has accepted it.
    pub(crate) accepted: Timestamp,
    /// SHA-256 of what was encrypted.
    pub(crate) content: [u8; 32],
    pub(crate) token: [u8; 32],
}

/// A decision about an account that the server must still learn.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Decision {
    Accept,
    Block,
    Delete,
    /// Block it, and report these messages, at least one.
    Report(Vec<Evidence>),
}

/// Changes about people who write to the user.
#[derive(Debug, Default)]
pub(crate) struct PeopleChanges {
    /// Decisions that the server must learn; `None` if it knows it now.
    pub(in crate::chat) decisions: BTreeMap<AccountId, Option<Decision>>,
    /// Whether an account is blocked.
    pub(in crate::chat) blocked: BTreeMap<AccountId, bool>,
    /// Accounts whose requests are deleted.
    pub(in crate::chat) deleted: BTreeSet<AccountId>,
    /// Proofs for messages that have arrived.
    pub(in crate::chat) evidence: Vec<(AccountId, Evidence)>,
}

/// The messages that wait for a decision.
#[derive(Debug, Default)]
pub(super) struct RequestIndex {
    accounts: BTreeMap<AccountId, Vec<(ReceivedId, usize)>>,
    bytes: usize,
}

impl PeopleChanges {
    pub(super) fn is_empty(&self) -> bool {
        let Self { decisions, blocked, deleted, evidence } = self;
        decisions.is_empty() && blocked.is_empty() && deleted.is_empty() && evidence.is_empty()
    }
}

impl RequestIndex {
    pub(super) fn insert(&mut self, from: AccountId, id: ReceivedId, bytes: usize) {
        self.bytes += bytes;
        let messages = self.accounts.entry(from).or_default();
        messages.push((id, bytes));
        messages.sort_unstable();
    }

    /// Whether another message of an account is stored.
    pub(super) fn has_capacity(&self, from: AccountId, bytes: usize) -> bool {
        let messages = self.accounts.get(&from).map(Vec::as_slice).unwrap_or_default();
        let used: usize = messages.iter().map(|(_, bytes)| bytes).sum();
        messages.len() < MAX_MESSAGES && used.saturating_add(bytes) <= MAX_BYTES_OF_ONE
    }

    /// The account that has been silent for longest, if there are too many requests. The given one is kept.
    pub(super) fn surplus(&self, kept: AccountId) -> Option<AccountId> {
        let is_full = self.accounts.len() > MAX_REQUESTS || self.bytes > MAX_BYTES;
        let others = self.accounts.iter().filter(|(account, _)| **account != kept);
        let silent = others.min_by_key(|(_, messages)| messages.last().map(|(id, _)| *id));
        silent.map(|(account, _)| *account).filter(|_| is_full)
    }

    /// Removes the messages of an account, and returns their ids.
    pub(super) fn remove(&mut self, account: AccountId) -> Vec<ReceivedId> {
        let messages = self.accounts.remove(&account).unwrap_or_default();
        self.bytes -= messages.iter().map(|(_, bytes)| bytes).sum::<usize>();
        messages.into_iter().map(|(id, _)| id).collect()
    }

    fn accounts(&self) -> Vec<AccountId> {
        self.accounts.keys().copied().collect()
    }
}

/// The messages of one account that wait for a decision, in the order of their arrival.
type WaitingMessages = Vec<(ReceivedId, Received)>;

impl Store {
    /// From now on, messages of people that the user does not know wait for a decision. Otherwise they are like others.
    pub(crate) const fn set_holds_requests(&mut self, holds_requests: bool) {
        self.holds_requests = holds_requests;
    }

    /// The messages that wait for a decision, of each account in the order of their arrival. A damaged one is left out.
    ///
    /// # Errors
    /// The database cannot be read.
    pub(crate) fn requests(&self) -> Result<Vec<(AccountId, WaitingMessages)>, StoreError> {
        let read = |id: &ReceivedId| {
            let value = self.database.get(&self.keys, Table::Request, &id.0.to_be_bytes());
            let message =
                super::readable(value.and_then(|value| {
                    value.map(|value| items::decode_received(&value)).transpose()
                }))?;
            Ok(match message {
                Some(StoredMessage::Read(received)) => Some((*id, received)),
                Some(StoredMessage::Unreadable { .. }) | None => None,
            })
        };
        let requests = self.requests.accounts.iter().map(|(account, messages)| {
            let messages = messages.iter().filter_map(|(id, _)| read(id).transpose());
            Ok((*account, messages.collect::<Result<_, StoreError>>()?))
        });
        requests.collect()
    }

    /// How many people wait for a decision.
    pub fn request_count(&self) -> usize {
        self.requests.accounts.len()
    }

    /// Whether the user wants the messages of an account: has written to it, named it, or verified it, or it is the own one.
    pub(crate) fn is_accepted(&self, account: AccountId) -> bool {
        self.accepted.contains(&account)
    }

    /// All accounts whose messages the user wants.
    pub(crate) const fn accepted(&self) -> &BTreeSet<AccountId> {
        &self.accepted
    }

    /// The blocked accounts.
    pub(crate) const fn blocked(&self) -> &BTreeSet<AccountId> {
        &self.blocked
    }

    /// Returns the proofs for messages of an account.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) fn evidence(&self, account: AccountId) -> Result<Vec<Evidence>, StoreError> {
        let value = self.database.get(&self.keys, Table::Evidence, account.as_bytes());
        let value = super::readable(value)?;
        Ok(value.map(|value| decode_evidence(&value)).unwrap_or_default())
    }

    /// Returns the decisions that the server must still learn.
    ///
    /// # Errors
    /// The store is damaged or cannot be read.
    pub(crate) fn decisions(&self) -> Result<Vec<(AccountId, Decision)>, StoreError> {
        let rows = self.database.rows(&self.keys, Table::Decision)?;
        let decode = |(key, value): &(Zeroizing<Vec<u8>>, Zeroizing<Vec<u8>>)| {
            Ok((decode_account(key)?, Decision::decode(value)?))
        };
        rows.iter().map(decode).collect()
    }
}

/// The rows of people in an open transaction.
pub(super) struct People<'a, 'b> {
    pub(super) rows: &'a mut Transaction<'b>,
    pub(super) requests: &'a mut RequestIndex,
    pub(super) blocked: &'a mut BTreeSet<AccountId>,
    pub(super) accepted: &'a BTreeSet<AccountId>,
}

impl People<'_, '_> {
    /// Writes changes. Returns the messages of those who are accepted now: they have to be stored like others.
    pub(super) fn write(
        &mut self,
        changes: &PeopleChanges,
    ) -> Result<Vec<Zeroizing<Vec<u8>>>, StoreError> {
        for (account, decision) in &changes.decisions {
            let value = decision.as_ref().map(Decision::encode);
            self.rows.set(Table::Decision, account.as_bytes(), value.as_deref())?;
        }
        for (account, is_blocked) in &changes.blocked {
            let value = is_blocked.then_some(&[][..]);
            self.rows.set(Table::Blocked, account.as_bytes(), value)?;
            if *is_blocked {
                self.blocked.insert(*account);
            } else {
                self.blocked.remove(account);
            }
        }
        for account in &changes.deleted {
            self.delete(*account)?;
        }
        for (account, evidence) in &changes.evidence {
            self.add_evidence(*account, evidence)?;
        }
        self.accept()
    }

    fn add_evidence(&mut self, account: AccountId, evidence: &Evidence) -> Result<(), StoreError> {
        if self.accepted.contains(&account) {
            return Ok(());
        }
        let known = super::readable(self.rows.get(Table::Evidence, account.as_bytes()))?;
        let mut all = known.map(|value| decode_evidence(&value)).unwrap_or_default();
        all.push(*evidence);
        let newest = all.len().saturating_sub(MAX_EVIDENCE);
        let value: Vec<u8> = all.iter().skip(newest).flat_map(Evidence::encode).collect();
        self.rows.put(Table::Evidence, account.as_bytes(), &value)
    }

    /// Takes the requests of those who are accepted now.
    fn accept(&mut self) -> Result<Vec<Zeroizing<Vec<u8>>>, StoreError> {
        let mut messages = Vec::new();
        let accounts = self.requests.accounts();
        for account in accounts.into_iter().filter(|account| self.accepted.contains(account)) {
            for id in self.requests.remove(account) {
                let key = id.0.to_be_bytes();
                messages.extend(super::readable(self.rows.get(Table::Request, &key))?);
                self.rows.set(Table::Request, &key, None)?;
            }
            self.rows.set(Table::Evidence, account.as_bytes(), None)?;
        }
        Ok(messages)
    }

    /// Adds a message that waits for a decision. False if there is no room for it.
    pub(super) fn add(
        &mut self,
        from: AccountId,
        id: ReceivedId,
        value: &[u8],
    ) -> Result<bool, StoreError> {
        if !self.requests.has_capacity(from, value.len()) {
            return Ok(false);
        }
        self.rows.put(Table::Request, &id.0.to_be_bytes(), value)?;
        self.requests.insert(from, id, value.len());
        while let Some(silent) = self.requests.surplus(from) {
            self.delete(silent)?;
        }
        Ok(true)
    }

    /// Deletes what is stored about the request of an account.
    fn delete(&mut self, account: AccountId) -> Result<(), StoreError> {
        for id in self.requests.remove(account) {
            self.rows.set(Table::Request, &id.0.to_be_bytes(), None)?;
        }
        self.rows.set(Table::Evidence, account.as_bytes(), None)
    }
}

impl Evidence {
    fn encode(&self) -> Vec<u8> {
        let Self { guid, accepted, content, token } = self;
        [&guid[..], &accepted.0.to_be_bytes(), content, token].concat()
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, StoreError> {
        let (guid, accepted) = (reader.array()?, u64::from_be_bytes(reader.array()?));
        let (content, token) = (reader.array()?, reader.array()?);
        Ok(Self { guid, accepted: Timestamp(accepted), content, token })
    }
}

/// Returns the items of a list that can be read.
fn decode_evidence(value: &[u8]) -> Vec<Evidence> {
    let mut reader = Reader::new(value);
    std::iter::from_fn(|| Evidence::read(&mut reader).ok()).take(MAX_EVIDENCE).collect()
}

impl Decision {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Accept => vec![1],
            Self::Block => vec![2],
            Self::Delete => vec![3],
            Self::Report(evidence) => {
                [4].into_iter().chain(evidence.iter().flat_map(Evidence::encode)).collect()
            }
        }
    }

    fn decode(value: &[u8]) -> Result<Self, StoreError> {
        let mut reader = Reader::new(value);
        match reader.u8()? {
            1 => end(&reader, Self::Accept),
            2 => end(&reader, Self::Block),
            3 => end(&reader, Self::Delete),
            4 => Ok(Self::Report(decode_evidence(reader.rest()))),
            _ => Err(StoreError::UnknownFormat),
        }
    }
}

/// Decodes a key that is an account.
pub(super) fn decode_account(key: &[u8]) -> Result<AccountId, StoreError> {
    let mut reader = Reader::new(key);
    let account = AccountId::from_bytes(reader.array()?);
    end(&reader, account)
}

/// Maximum number of people that wait for a decision. The one that has been silent for longest is removed first.
const MAX_REQUESTS: usize = 1000;

/// Maximum number of bytes in the messages of all of them.
const MAX_BYTES: usize = 16 << 20;

/// Maximum number of messages of one of them. A server delivers fewer.
const MAX_MESSAGES: usize = 20;

/// Maximum number of bytes in those.
const MAX_BYTES_OF_ONE: usize = 1 << 20;

/// Maximum number of messages of one account that can be proved.
const MAX_EVIDENCE: usize = 5;
