//! The messages that could not be decrypted, and that we have asked their senders to send again.
//!
//! An entry also remembers that the message has arrived since, so that it is shown once however often it is sent.

use std::collections::{BTreeMap, BTreeSet};

use wormhole_kit::Reader;

use super::store::{RestoreError, read_flag, read_key, read_time};
use crate::address::{AccountId, Address, DeviceId};
use crate::key::PublicKey;
use crate::session::DecryptError;
use crate::time::{DAY, Timestamp};

/// The device that sent a message, and the timestamp of the message.
pub(super) type MessageName = (Address, Timestamp);

/// A message that could not be decrypted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Retry {
    /// When it arrived first, by our clock.
    pub(super) since: Timestamp,
    /// The timestamp of the last request for it.
    pub(super) asked: Timestamp,
    pub(super) step: RetryStep,
    /// Whether the user knows that it could not be read.
    pub(super) is_reported: bool,
    /// How many different ciphertexts of it could not be decrypted.
    pub(super) tries: u8,
    /// The hashes of the last ones: the server may deliver the same one again.
    pub(super) ciphertexts: [ContentHash; KEPT_HASHES],
    /// Why it could not be decrypted the first time.
    pub(super) why: DecryptError,
    /// Its ratchet key, when it arrived last. Messages to groups have none.
    pub(super) ratchet_key: Option<PublicKey>,
}

/// The state of such a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum RetryStep {
    /// The request to send it again is not at the server yet.
    Waiting,
    /// The sender has been asked, or cannot be asked.
    Asked,
    /// It has arrived, with content that has this hash.
    Received(ContentHash),
}

/// The beginning of the SHA-256 of a content, or of a ciphertext.
pub(super) type ContentHash = [u8; 16];

/// All such messages.
#[derive(Debug, Default)]
pub(super) struct Retries {
    messages: BTreeMap<MessageName, Retry>,
    /// Those whose step is [`RetryStep::Waiting`].
    waiting: BTreeSet<MessageName>,
}

impl Retries {
    pub(super) fn get(&self, name: &MessageName) -> Option<&Retry> {
        self.messages.get(name)
    }

    /// Adds an entry, or replaces it.
    pub(super) fn put(&mut self, name: MessageName, retry: Retry) {
        match retry.step {
            RetryStep::Waiting => self.waiting.insert(name),
            RetryStep::Asked | RetryStep::Received(_) => self.waiting.remove(&name),
        };
        self.messages.insert(name, retry);
    }

    /// The messages that their senders have not been asked for yet.
    pub(super) fn waiting(&self) -> Vec<MessageName> {
        self.waiting.iter().copied().collect()
    }

    /// Makes room for an entry of an account. Returns the entry that must be removed for that, if any.
    ///
    /// # Errors
    /// There is no room.
    pub(super) fn room_for(
        &self,
        account: AccountId,
        is_stranger: bool,
    ) -> Result<Option<MessageName>, NoRoom> {
        let first = (Address { account, device: DeviceId::PRIMARY }, Timestamp(0));
        let of_account = self.messages.range(first..);
        let of_account = of_account.take_while(|((from, _), _)| from.account == account);
        let open = of_account.filter(|(_, retry)| !retry.is_received()).count();
        let share = if is_stranger { MAX_OF_STRANGER } else { MAX_OF_ACCOUNT };
        if open >= share {
            return Err(NoRoom);
        }
        if self.messages.len() < MAX_MESSAGES {
            return Ok(None);
        }
        let received = self.messages.iter().filter(|(_, retry)| retry.is_received());
        let oldest = received.min_by_key(|(_, retry)| retry.since);
        oldest.map(|(name, _)| Some(*name)).ok_or(NoRoom)
    }

    pub(super) fn remove(&mut self, name: &MessageName) {
        self.messages.remove(name);
        self.waiting.remove(name);
    }

    /// When the next message must be reported to the user. Times far in the future come from a clock that was wrong.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let open = self.messages.values().filter(|retry| retry.is_open());
        open.map(|retry| Timestamp(retry.since.0.saturating_add(WAIT))).min()
    }

    /// The messages that the user should know about now.
    pub(super) fn overdue(&self, now: Timestamp) -> Vec<MessageName> {
        let is_due = |retry: &Retry| retry.is_open() && is_over(retry.since, WAIT, now);
        let due = self.messages.iter().filter(|(_, retry)| is_due(retry));
        due.map(|(name, _)| *name).collect()
    }

    /// The messages that need not be remembered any more.
    pub(super) fn expired(&self, now: Timestamp) -> Vec<MessageName> {
        let expired = self.messages.iter().filter(|(_, retry)| is_over(retry.since, KEPT, now));
        expired.map(|(name, _)| *name).collect()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &MessageName> {
        self.messages.keys()
    }

    /// The messages of an account.
    pub(super) fn messages_of(&self, account: AccountId) -> Vec<MessageName> {
        let of_account = self.messages.keys().filter(|(from, _)| from.account == account);
        of_account.copied().collect()
    }
}

/// No entry can be added.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct NoRoom;

impl Retry {
    /// A message that has arrived for the first time.
    pub(super) fn new(now: Timestamp, why: DecryptError, ratchet_key: Option<PublicKey>) -> Self {
        Self {
            since: now,
            asked: now,
            step: RetryStep::Waiting,
            is_reported: false,
            tries: 0,
            ciphertexts: Default::default(),
            why,
            ratchet_key,
        }
    }

    /// Whether the user must still learn what has become of it.
    const fn is_open(&self) -> bool {
        !self.is_reported && !self.is_received()
    }

    /// Whether this ciphertext of it has arrived before.
    pub(super) fn has_failed(&self, ciphertext: &ContentHash) -> bool {
        self.ciphertexts.iter().take(self.tries.into()).any(|known| known == ciphertext)
    }

    /// Another ciphertext of it could not be decrypted. False if there were too many already.
    pub(super) fn add_failure(&mut self, ciphertext: ContentHash) -> bool {
        let place = self.ciphertexts.get_mut(usize::from(self.tries) % KEPT_HASHES);
        let Some(place) = place.filter(|_| self.tries < MAX_TRIES) else { return false };
        *place = ciphertext;
        self.tries = self.tries.saturating_add(1);
        true
    }

    /// Whether it has arrived.
    pub(super) const fn is_received(&self) -> bool {
        matches!(self.step, RetryStep::Received(_))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let (why, detail) = number(self.why);
        let mut value = self.since.0.to_be_bytes().to_vec();
        value.extend(self.asked.0.to_be_bytes());
        let (step, hash) = match self.step {
            RetryStep::Waiting => (0, ContentHash::default()),
            RetryStep::Asked => (1, ContentHash::default()),
            RetryStep::Received(hash) => (2, hash),
        };
        value.push(step);
        value.extend(hash);
        value.extend([self.is_reported.into(), self.tries, why]);
        value.extend(self.ciphertexts.iter().flatten());
        value.extend(detail.to_be_bytes());
        value.extend(self.ratchet_key.iter().flat_map(|key| *key.as_u()));
        value
    }

    pub(super) fn decode(value: &mut Reader<'_>) -> Result<Self, RestoreError> {
        let (since, asked) = (read_time(value)?, read_time(value)?);
        let (step, hash) = (value.u8()?, value.array()?);
        let step = match step {
            0 => RetryStep::Waiting,
            1 => RetryStep::Asked,
            2 => RetryStep::Received(hash),
            _ => return Err(RestoreError::Damaged),
        };
        let is_reported = read_flag(value)?;
        let tries = value.u8()?;
        let why = value.u8()?;
        let mut ciphertexts = [ContentHash::default(); KEPT_HASHES];
        for ciphertext in &mut ciphertexts {
            *ciphertext = value.array()?;
        }
        let why = from_number(why, value.u32_be()?).ok_or(RestoreError::Damaged)?;
        let ratchet_key = if value.is_empty() { None } else { Some(read_key(value)?) };
        Ok(Self { since, asked, step, is_reported, tries, ciphertexts, why, ratchet_key })
    }
}

/// Whether so many milliseconds have passed. A time more than a day in the future is over, too: the clock was wrong then.
pub(super) const fn is_over(since: Timestamp, time: u64, now: Timestamp) -> bool {
    now.since(since) >= time || since.since(now) > DAY
}

/// Why a message could not be decrypted, for a store: a number, and how many messages it skips. Only errors for which we ask
/// again are stored.
const fn number(error: DecryptError) -> (u8, u32) {
    match error {
        DecryptError::DeletedKey => (1, 0),
        DecryptError::Duplicate => (2, 0),
        DecryptError::MissingPreKey => (3, 0),
        DecryptError::NoSession => (4, 0),
        DecryptError::TooFarAhead(missing) => (5, missing),
        DecryptError::BadMac
        | DecryptError::Malformed(_)
        | DecryptError::WrongParties
        | DecryptError::TooManySessions
        | DecryptError::UntrustedIdentity(_) => (0, 0),
    }
}

const fn from_number(number: u8, detail: u32) -> Option<DecryptError> {
    Some(match number {
        0 => DecryptError::BadMac,
        1 => DecryptError::DeletedKey,
        2 => DecryptError::Duplicate,
        3 => DecryptError::MissingPreKey,
        4 => DecryptError::NoSession,
        5 => DecryptError::TooFarAhead(detail),
        _ => return None,
    })
}

/// Milliseconds after which the user learns that a message could not be read. It may still arrive later.
pub(super) const WAIT: u64 = DAY / 24;

/// Milliseconds for which an entry is kept: longer than the sender keeps the message.
const KEPT: u64 = 2 * DAY;

/// Maximum number of messages of one account that we wait for.
pub(super) const MAX_OF_ACCOUNT: usize = 200;

/// Maximum number of them for an account that the user does not know. Anybody can invent accounts.
pub(super) const MAX_OF_STRANGER: usize = 10;

/// Maximum number of messages of all accounts that the user does not know.
pub(super) const MAX_OF_STRANGERS: usize = 200;

/// Maximum number of messages of all accounts.
const MAX_MESSAGES: usize = 2_000;

/// How often a message may arrive and fail before we stop asking for it: its sender may repeat it several times before our request
/// arrives.
const MAX_TRIES: u8 = 6;

/// How many of its ciphertexts are recognised.
const KEPT_HASHES: usize = 3;
