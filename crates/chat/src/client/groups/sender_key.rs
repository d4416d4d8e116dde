//! Our sender keys: when a new one is drawn, and how members get it.
//!
//! A new key is drawn when a member or a device has left, when a new epoch has started, and when the key is old. Each member gets it
//! in its session, in a message of the ordinary outbox. Messages to the group wait until the server has all of these, except those
//! for members for whom it has no room: the others do not wait for them (see `waiting`).

use std::collections::{BTreeMap, BTreeSet};

use rand_core::CryptoRngCore;

use super::super::outbox::Outgoing;
use super::super::store::Changes;
use super::message::Recipient;
use super::{Client, Group};
use crate::address::{AccountId, Address};
use crate::content::{Content, GroupContent};
use crate::group::GroupId;
use crate::padding::unpad;
use crate::sender_key::{DistributionId, SenderKey, SenderKeyDistributionMessage};
use crate::time::{DAY, Timestamp};

/// The key with which this device writes to a group.
#[derive(Debug)]
pub(super) struct OwnKey {
    pub(super) key: SenderKey,
    /// The epoch of the group in which it was drawn.
    pub(super) epoch: u32,
    pub(super) created: Timestamp,
    /// The devices that have it, and their registration ids.
    pub(super) holders: BTreeMap<Address, u32>,
}

impl OwnKey {
    /// Whether the next message may be encrypted with it, for these recipients.
    pub(super) fn is_current(
        &self,
        now: Timestamp,
        group: &Group,
        recipients: &[Recipient],
    ) -> bool {
        let Some(state) = group.state() else { return false };
        let current: BTreeMap<_, _> = recipients.iter().flat_map(Recipient::devices).collect();
        let age = now.since(self.created).max(self.created.since(now));
        let is_held_by_members = self.holders.iter().all(|(address, registration_id)| {
            let account = address.account;
            let is_member = state.members.contains_key(&account) && !group.is_removing(account);
            // The devices of somebody to whom we cannot write at the moment may be the same.
            let is_skipped = !recipients.iter().any(|to| to.account == account);
            is_member && (is_skipped || current.get(address) == Some(registration_id))
        });
        self.epoch == state.epoch
            && age < MAX_AGE
            && self.key.messages() < MAX_MESSAGES
            && is_held_by_members
    }
}

impl Client {
    /// Draws a new sender key if somebody must not have the next one, or if it is old.
    pub(super) fn renew_own_key(
        &mut self,
        now: Timestamp,
        id: GroupId,
        recipients: &[Recipient],
        changes: &mut Changes,
        rng: &mut impl CryptoRngCore,
    ) {
        let Some(group) = self.groups.groups.get(&id) else { return };
        let Some(state) = group.state() else { return };
        let own = self.groups.own.get(&id);
        if own.is_some_and(|own| own.is_current(now, group, recipients)) {
            return;
        }
        let distribution = own.map(|own| own.key.distribution());
        let distribution = distribution.unwrap_or_else(|| DistributionId::random(rng));
        let key = SenderKey::random(distribution, rng);
        let own = OwnKey { key, epoch: state.epoch, created: now, holders: BTreeMap::new() };
        changes.put_own_key(id, &own);
        self.groups.own.insert(id, own);
        self.cancel_distributions(id, changes);
    }

    /// Messages with an earlier key are useless.
    pub(super) fn cancel_distributions(&mut self, id: GroupId, changes: &mut Changes) {
        let of_group = self.groups.distributions.iter().filter(|(_, (group, _))| *group == id);
        let of_group: Vec<_> = of_group.map(|(timestamp, _)| *timestamp).collect();
        for timestamp in of_group {
            // One that may have been sent already must be sent to the end, or its session has a gap.
            let is_sent = self.is_encrypted(timestamp);
            self.groups.distributions.remove(&timestamp);
            if !is_sent && self.outbox.remove(&timestamp).is_some() {
                self.groups.controls.remove(&timestamp);
                changes.delete_outgoing(timestamp);
            }
        }
        self.encrypt_waiting_again(id, changes);
    }

    /// Gives our sender key to the members who have devices without it.
    pub(super) fn distribute(
        &mut self,
        now: Timestamp,
        id: GroupId,
        recipients: &[Recipient],
        changes: &mut Changes,
    ) {
        let (Some(own), Some(content)) = (self.groups.own.get(&id), self.key_for_members(id))
        else {
            return;
        };
        let waiting = self.distributed(id);
        let lacks = |recipient: &&Recipient| {
            let has = |(address, _): (Address, u32)| own.holders.contains_key(&address);
            !waiting.contains(&recipient.account) && !recipient.devices().all(has)
        };
        let lacking: Vec<_> = recipients.iter().filter(lacks).map(|to| to.account).collect();
        for account in lacking {
            if !self.outbox.has(account) {
                // Nothing would notice that there is room again.
                self.groups.without_room.remove(&account);
            }
            let timestamp = self.put_group_control(now, account, content.clone(), changes);
            self.groups.distributions.insert(timestamp, (id, account));
        }
    }

    /// Our sender key, as a member gets it.
    pub(super) fn key_for_members(&self, id: GroupId) -> Option<GroupContent> {
        let own = self.groups.own.get(&id)?;
        let revision = self.group_state(id).map_or(0, |state| state.revision);
        let mut content = GroupContent::notice(id, revision);
        let key = own.key.distribution_message().encode().to_vec();
        content.inner = Some(Box::new(Content::SenderKeyDistribution(key)));
        Some(content)
    }

    /// The accounts to which our sender key is on its way.
    pub(super) fn distributed(&self, id: GroupId) -> BTreeSet<AccountId> {
        let all = self.groups.distributions.values();
        all.filter(|(group, _)| *group == id).map(|(_, account)| *account).collect()
    }

    /// The accounts to which our sender key is on its way, except those with another identity key than we know.
    pub(super) fn keyless(&self, id: GroupId) -> BTreeSet<AccountId> {
        let mut keyless = self.distributed(id);
        keyless.retain(|account| !self.is_unsettled(id, *account));
        keyless
    }

    /// Whether a member to whom we can write does not have our sender key yet, and may get it soon.
    pub(super) fn is_distributing(&self, id: GroupId) -> bool {
        self.keyless(id).iter().any(|account| !self.groups.without_room.contains(account))
    }

    /// The server has no room for a message of a session. Messages to groups do not wait for its recipient.
    pub(in super::super) fn record_no_room(&mut self, timestamp: Timestamp) {
        let Some(to) = self.outbox.get(&timestamp).map(|outgoing| outgoing.to) else { return };
        if self.groups.without_room.insert(to) {
            self.continue_groups_of(to);
        }
    }

    /// The server does not lack room for an account any more.
    pub(in super::super) fn record_room(&mut self, account: AccountId) {
        if self.groups.without_room.remove(&account) {
            self.continue_groups_of(account);
        }
    }

    /// Continues with the groups whose sender keys are on their way to an account.
    fn continue_groups_of(&mut self, account: AccountId) {
        let all = self.groups.distributions.values();
        let groups = all.filter(|(_, to)| *to == account).map(|(group, _)| *group);
        self.groups.dirty.extend(groups);
    }

    /// A message of a session was sent. If it carries our sender key, its recipients have that now.
    pub(in super::super) fn record_distribution(
        &mut self,
        timestamp: Timestamp,
        sent: &Outgoing,
        changes: &mut Changes,
    ) {
        let Some((id, account)) = self.groups.distributions.remove(&timestamp) else { return };
        self.groups.dirty.insert(id);
        let Some(own) = self.groups.own.get_mut(&id) else { return };
        for message in sent.ciphertexts.iter().flat_map(|ciphertexts| ciphertexts.iter()) {
            let address = Address { account, device: message.device };
            own.holders.insert(address, message.registration_id);
        }
        changes.put_own_key(id, own);
        self.wake_waiting_for(id, account);
    }

    /// A message of a session cannot be sent. A member who does not get our sender key does not get messages to the group.
    pub(in super::super) fn record_failed_distribution(&mut self, timestamp: Timestamp) {
        if let Some((id, account)) = self.groups.distributions.remove(&timestamp) {
            self.groups.absent.insert(account);
            self.groups.dirty.insert(id);
        }
    }

    /// After a restart: finds the messages that carry our sender keys.
    pub(in super::super) fn restore_distributions(&mut self) {
        let found = self.outbox.iter().filter_map(|(timestamp, outgoing)| {
            let content = Content::decode_stored(unpad(&outgoing.plaintext)?).ok()?;
            let Content::Group(content) = content else { return None };
            let Some(Content::SenderKeyDistribution(key)) = content.inner.as_deref() else {
                return None;
            };
            // Those with an earlier key do not count.
            let own = self.groups.own.get(&content.group)?;
            let key = SenderKeyDistributionMessage::decode(key).ok()?;
            let is_current = own.key.distribution_message().is_same_key(&key);
            is_current.then_some((*timestamp, (content.group, outgoing.to)))
        });
        let found: Vec<_> = found.collect();
        self.groups.distributions.extend(found);
    }
}

/// Milliseconds after which a sender key is replaced.
const MAX_AGE: u64 = 14 * DAY;

/// Number of messages after which a sender key is replaced.
const MAX_MESSAGES: u32 = 10_000;
