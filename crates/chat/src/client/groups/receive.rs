//! Sender keys of other members, and what they write with them.
//!
//! | what arrives | result |
//! |---|---|
//! | a sender key from a member of the group that it names | it is kept for the device that sent it |
//! | a sender key from somebody else | ignored; kept for later if its sender knows more of the log than we do |
//! | a message whose key we have, from a member | it is read |
//! | a message whose key we do not have | kept for later, with a limit, and asked for |

use super::super::repair::Outcome;
use super::super::store::{Changes, StoreKey};
use super::super::{ClientEvent, ClientOutput, ReadError, Received, Unreadable};
use super::{Client, Group, Groups};
use crate::address::{AccountId, Address};
use crate::content::{Content, GroupContent};
use crate::group::{GroupId, GroupState};
use crate::key::PublicKey;
use crate::padding::unpad;
use crate::record::SessionPeer;
use crate::sender_key::{
    DistributionId, SenderKeyDistributionMessage, SenderKeyError, SenderKeyMessage, SenderKeyRecord,
};
use crate::session::DecryptError;
use crate::time::Timestamp;

/// The keys of one device for one group.
#[derive(Debug)]
pub(super) struct TheirKey {
    pub(super) group: GroupId,
    /// Of the session in which the newest key arrived.
    pub(super) registration_id: u32,
    pub(super) record: SenderKeyRecord,
}

/// Something that arrived too early.
#[derive(Debug)]
pub(super) struct Early {
    pub(super) from: Address,
    pub(super) timestamp: Timestamp,
    /// The group; `None` for a message, which does not show it.
    pub(super) group: Option<GroupId>,
    /// Who has encrypted a sender key. `None` for a message.
    pub(super) peer: Option<SessionPeer>,
    /// An encrypted message, or a sender key.
    pub(super) bytes: Vec<u8>,
}

/// A message that is encrypted with a sender key, and who has sent it.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct GroupEnvelope<'a> {
    pub(in super::super) from: Address,
    pub(in super::super) timestamp: Timestamp,
    pub(in super::super) message: &'a SenderKeyMessage,
}

impl Client {
    /// Whether something of an account whom we do not know is about a group of which it is a member, or may be one.
    pub(in super::super) fn is_about_our_group(&self, from: AccountId, content: &Content) -> bool {
        let Content::Group(content) = content else { return false };
        match self.groups.groups.get(&content.group).map(Group::state) {
            Some(Some(state)) => {
                state.members.contains_key(&from) || content.revision > state.revision
            }
            Some(None) => true,
            // An invitation.
            None => content.secret.is_some() && content.head.is_some(),
        }
    }

    /// Handles what `peer` has encrypted in a session and is about a group.
    pub(in super::super) fn read_group_content(
        &mut self,
        now: Timestamp,
        from: Address,
        peer: SessionPeer,
        timestamp: Timestamp,
        content: GroupContent,
        changes: &mut Changes,
    ) -> Option<GroupContent> {
        let identity = Some(peer.identity);
        self.handle_group_notice(Some(now), from.account, identity, &content, changes);
        if let Some(Content::SenderKeyDistribution(key)) = content.inner.as_deref() {
            let (group, revision) = (content.group, content.revision);
            if !self.accept_key(from, peer, group, key, changes) {
                let known = self.group_state(group).map_or(0, |state| state.revision);
                // Its sender may have joined with an entry that we have not read.
                if self.groups.groups.contains_key(&group) && revision > known {
                    let bytes = key.clone();
                    let (group, peer) = (Some(group), Some(peer));
                    self.keep_early(Early { from, timestamp, group, peer, bytes }, changes);
                }
            }
            return None;
        }
        // A member may send a message again to one device.
        let is_member = self.is_member(content.group, from.account, identity);
        Some(content).filter(|content| is_member && is_for_members(content.inner.as_deref()))
    }

    /// Whether the sender key of an account may still arrive: it is in one of our groups, or may be.
    fn may_write_to_us(&self, account: AccountId) -> bool {
        let is_in = |state: &GroupState| {
            state.members.contains_key(&account) || state.invited.contains_key(&account)
        };
        let mut states = self.groups.groups.values().filter_map(Group::state);
        let mut early = self.groups.early.values();
        states.any(is_in) || early.any(|early| early.from.account == account)
    }

    /// Whether an account is a member, with this identity key if we know it.
    fn is_member(&self, id: GroupId, account: AccountId, identity: Option<PublicKey>) -> bool {
        let member = self.group_state(id).and_then(|state| state.members.get(&account));
        member.is_some_and(|member| identity.is_none_or(|identity| member.identity == identity))
    }

    /// Keeps the sender key of a member. Whether the sender is one.
    fn accept_key(
        &mut self,
        from: Address,
        peer: SessionPeer,
        group: GroupId,
        key: &[u8],
        changes: &mut Changes,
    ) -> bool {
        let SessionPeer { identity, registration_id } = peer;
        if !self.is_member(group, from.account, Some(identity)) {
            return false;
        }
        // Malformed messages are not kept for later either.
        let Ok(key) = SenderKeyDistributionMessage::decode(key) else { return true };
        let distribution = key.distribution();
        let keys = &mut self.groups.keys;
        if keys.get(&(from, distribution)).is_some_and(|known| known.group != group) {
            return true;
        }
        if !keys.contains_key(&(from, distribution)) {
            let first = DistributionId::from_bytes([0; 16]);
            let of_device = keys.range((from, first)..).take_while(|((it, _), _)| *it == from);
            let of_group = of_device.filter(|(_, key)| key.group == group);
            let ids: Vec<_> = of_group.map(|((_, distribution), _)| *distribution).collect();
            // A device needs only one id for a group.
            for distribution in ids.into_iter().skip(MAX_IDS - 1) {
                keys.remove(&(from, distribution));
                changes.delete(StoreKey::SenderKey { from, distribution });
            }
        }
        let record = SenderKeyRecord::new(distribution);
        let key_of_device = TheirKey { group, registration_id, record };
        let known = keys.entry((from, distribution)).or_insert(key_of_device);
        known.registration_id = registration_id;
        let _same_id = known.record.accept(&key);
        changes.put_their_key(from, distribution, known);
        self.read_early_messages(from, changes);
        true
    }

    /// Reads a message that is encrypted with a sender key.
    ///
    /// # Errors
    /// It cannot be read. If only its sender key is missing, it is kept: the key may arrive before the message does again.
    pub(in super::super) fn read_group_message(
        &mut self,
        envelope: GroupEnvelope<'_>,
        changes: &mut Changes,
    ) -> Result<Option<Received>, ReadError> {
        let GroupEnvelope { from, timestamp, message } = envelope;
        match self.open_group_message(envelope, changes) {
            Err(OpenError::NoKey) => {
                if self.may_write_to_us(from.account) {
                    let (group, peer, bytes) = (None, None, message.encode());
                    self.keep_early(Early { from, timestamp, group, peer, bytes }, changes);
                }
                Err(DecryptError::NoSession.into())
            }
            Err(OpenError::Read(error)) => Err(error),
            Ok(received) => Ok(received),
        }
    }

    /// The registration id of the device that has announced the sender key of a message.
    pub(in super::super) fn sender_key_installation(
        &self,
        from: Address,
        message: &SenderKeyMessage,
    ) -> Option<u32> {
        self.groups.keys.get(&(from, message.distribution())).map(|key| key.registration_id)
    }

    fn open_group_message(
        &mut self,
        envelope: GroupEnvelope<'_>,
        changes: &mut Changes,
    ) -> Result<Option<Received>, OpenError> {
        let GroupEnvelope { from, timestamp, message } = envelope;
        let distribution = message.distribution();
        let key = self.groups.keys.get_mut(&(from, distribution)).ok_or(OpenError::NoKey)?;
        let group = key.group;
        let plaintext = key.record.decrypt(message)?;
        changes.put_their_key(from, distribution, key);
        // From here on the key has changed, even if the content is refused.
        let content = unpad(&plaintext).map(Content::decode);
        let Some(Ok(Content::Group(content))) = content else {
            return Err(ReadError::Malformed.into());
        };
        let is_allowed = content.group == group
            && content.secret.is_none()
            && content.admin.is_none()
            && is_for_members(content.inner.as_deref());
        if !is_allowed || !self.is_member(group, from.account, None) {
            return Err(ReadError::Unsupported.into());
        }
        self.handle_group_notice(None, from.account, None, &content, changes);
        let content = Content::Group(content);
        if content.timestamp().is_some_and(|inner| inner != timestamp) {
            return Err(ReadError::TimestampMismatch.into());
        }
        let has_inner = matches!(&content, Content::Group(group) if group.inner.is_some());
        let received = Received { from, timestamp, content, identity_changed: false };
        Ok(has_inner.then_some(received))
    }

    /// Reads the messages of a device that waited for its sender key.
    fn read_early_messages(&mut self, from: Address, changes: &mut Changes) {
        let waiting = self.groups.early.iter();
        let waiting = waiting.filter(|(_, early)| early.from == from && early.group.is_none());
        let waiting: Vec<_> = waiting.map(|(number, _)| *number).collect();
        for number in waiting {
            let Some(early) = self.groups.early.get(&number) else { continue };
            let timestamp = early.timestamp;
            let Ok(message) = SenderKeyMessage::decode(&early.bytes) else { continue };
            let envelope = GroupEnvelope { from, timestamp, message: &message };
            match self.open_group_message(envelope, changes) {
                Err(OpenError::NoKey) => continue,
                Err(OpenError::Read(ReadError::Decrypt(DecryptError::Duplicate))) | Ok(None) => {}
                Err(OpenError::Read(why)) => self.unread(from, timestamp, why, changes),
                Ok(Some(received)) => {
                    // It may have been sent again meanwhile.
                    let (outcome, report) = self.settle_read(received, changes);
                    self.groups.events.extend(report);
                    if let Outcome::Received(received) = outcome {
                        changes.received.push(received.clone());
                        let event = ClientEvent::Received(received);
                        self.groups.events.push(ClientOutput::Event(event));
                    }
                }
            }
            self.groups.early.remove(&number);
            changes.delete(StoreKey::EarlyGroupMessage(number));
        }
    }

    /// The log was read: sender keys of people who have joined with it are accepted, and those of others deleted.
    pub(super) fn retry_early(&mut self, id: GroupId, changes: &mut Changes) {
        let waiting = self.groups.early.iter().filter(|(_, early)| early.group == Some(id));
        let waiting: Vec<_> = waiting.map(|(number, _)| *number).collect();
        for number in waiting {
            let Some(early) = self.groups.early.remove(&number) else { continue };
            changes.delete(StoreKey::EarlyGroupMessage(number));
            if let Some(peer) = early.peer {
                self.accept_key(early.from, peer, id, &early.bytes, changes);
            }
        }
    }

    /// Keeps what cannot be read yet. If there is too much, the oldest of the same account, or of all, is given up.
    fn keep_early(&mut self, early: Early, changes: &mut Changes) {
        let is_same = |known: &Early| {
            known.from == early.from
                && known.timestamp == early.timestamp
                && known.bytes == early.bytes
        };
        if self.groups.early.values().any(is_same) {
            return;
        }
        let account = early.from.account;
        let of_account = |other: &&u64, early: &Groups| {
            early.early.get(other).is_some_and(|early| early.from.account == account)
        };
        let same: Vec<u64> = {
            let groups = &self.groups;
            groups.early.keys().filter(|number| of_account(number, groups)).copied().collect()
        };
        let excess = if same.len() >= MAX_EARLY_OF_ACCOUNT {
            same.first().copied()
        } else if self.groups.early.len() >= MAX_EARLY {
            self.groups.early.keys().next().copied()
        } else {
            None
        };
        if let Some(old) = excess.and_then(|number| self.groups.early.remove_entry(&number)) {
            let (number, old) = old;
            changes.delete(StoreKey::EarlyGroupMessage(number));
            if old.group.is_none() {
                self.unread(old.from, old.timestamp, DecryptError::NoSession.into(), changes);
            }
        }
        let number = self.groups.early.last_key_value().map_or(1, |(last, _)| last + 1);
        changes.put_early(number, &early);
        self.groups.early.insert(number, early);
    }

    fn unread(
        &mut self,
        from: Address,
        timestamp: Timestamp,
        why: ReadError,
        changes: &mut Changes,
    ) {
        // A requested message is reported when it does not arrive in time.
        if self.retries.get(&(from, timestamp)).is_some() {
            return;
        }
        changes.unreadable.push(Unreadable { from: Some(from), timestamp, why });
        let event = ClientEvent::NotRead(Some(from), why);
        self.groups.events.push(ClientOutput::Event(event));
    }
}

/// Whether a member may send this to all others. Keys and secrets come only in sessions.
const fn is_for_members(inner: Option<&Content>) -> bool {
    match inner {
        Some(
            Content::SenderKeyDistribution(_)
            | Content::Sync(_)
            | Content::DecryptionError(_)
            | Content::Direct(_)
            | Content::Group(_),
        ) => false,
        None
        | Some(
            Content::Call(_)
            | Content::Data(_)
            | Content::Edit(_)
            | Content::Null
            | Content::Receipt(_)
            | Content::Typing(_)
            | Content::Unknown,
        ) => true,
    }
}

/// Why a message was not read.
#[derive(Debug)]
enum OpenError {
    /// Its sender key has not arrived.
    NoKey,
    Read(ReadError),
}

impl From<SenderKeyError> for OpenError {
    fn from(error: SenderKeyError) -> Self {
        Self::Read(ReadError::Decrypt(match error {
            SenderKeyError::NoKey => return Self::NoKey,
            SenderKeyError::BadSignature => DecryptError::BadMac,
            SenderKeyError::DeletedKey => DecryptError::DeletedKey,
            SenderKeyError::Duplicate => DecryptError::Duplicate,
            SenderKeyError::Malformed | SenderKeyError::OtherDistribution => {
                return Self::Read(ReadError::Malformed);
            }
            SenderKeyError::TooFarAhead(missing) => DecryptError::TooFarAhead(missing),
        }))
    }
}

impl From<ReadError> for OpenError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<DecryptError> for OpenError {
    fn from(error: DecryptError) -> Self {
        Self::Read(error.into())
    }
}

/// Number of distribution ids that one device may use in a group.
const MAX_IDS: usize = 2;

/// Maximum number of things that wait for their sender keys.
const MAX_EARLY: usize = 512;

/// Maximum number of those of one account.
const MAX_EARLY_OF_ACCOUNT: usize = 32;
