//! Typing in a group: a message that is never stored, and that only connected members get.
//!
//! It is encrypted and sealed like a message, but it waits for nothing: it is sent only if the members already have our sender key.

use rand_core::CryptoRngCore;

use super::super::exchange::Request;
use super::super::pending::Purpose;
use super::super::store::Changes;
use super::{Client, Membership};
use crate::content::{Content, GroupContent};
use crate::group::GroupId;
use crate::padding::pad;
use crate::sealed_sender::{ContentHint, MultiRecipientMessage, SealedRecipient};
use crate::time::Timestamp;

impl Client {
    /// Sends content to those members of a group who are connected. There are no events about it, and it is not repeated. Does nothing
    /// if we are not a member, if the members need other keys first, if the group is large, or if the one before is on its way.
    pub fn send_online_to_group(
        &mut self,
        now: Timestamp,
        id: GroupId,
        content: &Content,
        rng: &mut impl CryptoRngCore,
    ) {
        let is_member = self.group_membership(id) == Some(Membership::Member);
        let purpose = Purpose::GroupOnline(id);
        if !is_member || self.is_group_behind(id) || self.pending.has(purpose) {
            return;
        }
        let recipients = self.ready_recipients(now, id);
        if recipients.is_empty() || recipients.len() > MAX_RECIPIENTS {
            return;
        }
        let Some(certificate) = self.usable_certificate(now) else { return };
        let timestamp = self.next_timestamp(now);
        let revision = self.group_state(id).map_or(0, |state| state.revision);
        let mut inner = content.clone();
        inner.set_timestamp(timestamp);
        let mut content = GroupContent::notice(id, revision);
        content.inner = Some(Box::new(inner));
        let plaintext = pad(&Content::Group(Box::new(content)).encode());
        let Some(own) = self.groups.own.get_mut(&id) else { return };
        let Ok(encrypted) = own.key.encrypt(&plaintext, rng) else { return };
        let mut changes = Changes::default();
        changes.put_last_written(timestamp);
        changes.put_own_key(id, own);
        let content =
            super::send::sealed_content(certificate, id, encrypted, ContentHint::Implicit);
        let sealed = MultiRecipientMessage::seal(&content, &self.identity.pair, &recipients, rng);
        let mut then = Vec::new();
        if let Ok(sealed) = sealed {
            let message = sealed.encode().into();
            let left_out = self.left_out_of(&recipients);
            let request = Request::SendGroup { timestamp, message, left_out, is_online: true };
            then.push(self.request(purpose, request));
        }
        self.commit(changes, then);
    }

    /// The members all of whose devices have our sender key. Empty if the next message needs another key.
    fn ready_recipients(&self, now: Timestamp, id: GroupId) -> Vec<SealedRecipient> {
        let (known, _) = self.known_recipients(now, id);
        let Some((own, group)) = self.groups.own.get(&id).zip(self.groups.groups.get(&id)) else {
            return Vec::new();
        };
        if !own.is_current(now, group, &known) {
            return Vec::new();
        }
        let has_key = |(address, _)| own.holders.contains_key(&address);
        let ready = known.iter().filter(|recipient| recipient.devices().all(has_key));
        self.members_among(id, &ready.flat_map(|recipient| recipient.devices()).collect())
    }
}

/// Maximum number of members who learn it: each costs as much as a message.
const MAX_RECIPIENTS: usize = 100;
