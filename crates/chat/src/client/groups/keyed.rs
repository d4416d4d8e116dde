//! Decides who gets the keys of a group in a session: only an account with the identity key that the group knows.
//!
//! The server names the identity key of somebody to whom we never wrote. The log of the group names it too, and its entries are
//! signed. If the two differ, secrets and sender keys wait, like everything for somebody with a changed identity key.

use super::super::outbox::Outgoing;
use super::super::store::Changes;
use super::{Client, Group};
use crate::address::AccountId;
use crate::content::{Content, GroupContent};
use crate::group::GroupId;
use crate::key::PublicKey;
use crate::padding::unpad;
use crate::time::Timestamp;

/// Whether a message of the outbox may be encrypted now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in super::super) enum Permission {
    /// It has no keys of a group, or its recipient has the right identity key.
    Now,
    /// Its recipient has another identity key than the group or the user knows.
    Later,
    /// Its recipient is neither a member nor invited any more.
    Never,
}

impl Group {
    /// The identity key that a member or an invited person must have, if it is known. `None`: the account is neither.
    fn identity_of(&self, account: AccountId) -> Option<Option<PublicKey>> {
        let state = self.state()?;
        let member = state.members.get(&account).map(|member| Some(member.identity));
        member.or_else(|| state.invited.get(&account).map(|invitation| invitation.identity))
    }
}

impl Client {
    /// Whether a message of the outbox may be encrypted for its recipient now.
    pub(in super::super) fn permission(&self, outgoing: &Outgoing) -> Permission {
        let to = outgoing.to;
        let content = unpad(&outgoing.plaintext).map(Content::decode_stored);
        let Some(Ok(Content::Group(content))) = content else { return Permission::Now };
        if to == self.us.account || !has_keys(&content) {
            return Permission::Now;
        }
        let group = self.groups.groups.get(&content.group);
        match group.and_then(|group| group.identity_of(to)) {
            None => Permission::Never,
            Some(identity) if self.has_other_identity(to, identity) => Permission::Later,
            Some(_) => Permission::Now,
        }
    }

    /// Whether we know an account with another identity key than the group does, or with one that the user has not accepted yet.
    pub(super) fn is_unsettled(&self, id: GroupId, account: AccountId) -> bool {
        let identity = self.groups.groups.get(&id).and_then(|group| group.identity_of(account));
        self.has_other_identity(account, identity.flatten())
    }

    fn has_other_identity(&self, account: AccountId, identity: Option<PublicKey>) -> bool {
        self.peers.get(&account).is_some_and(|peer| {
            peer.changed.is_some() || identity.is_some_and(|identity| identity != peer.identity)
        })
    }

    /// Removes a message with keys of a group whose recipient must not have them any more.
    pub(in super::super) fn drop_keys_of_group(&mut self, timestamp: Timestamp) {
        let mut changes = Changes::default();
        self.groups.controls.remove(&timestamp);
        if let Some((id, _)) = self.groups.distributions.remove(&timestamp) {
            self.groups.dirty.insert(id);
        }
        self.drop_outgoing(timestamp, &mut changes);
        self.commit(changes, Vec::new());
    }

    /// The group knows an account now, or knows another identity key of it: continues with what waits for that.
    pub(super) fn advance_unsettled(&mut self, account: AccountId) {
        let waiting = self.outbox.unencrypted_for(account);
        self.groups.unsent.extend(waiting);
    }
}

/// Whether only members and invited people may know what a message says.
fn has_keys(content: &GroupContent) -> bool {
    let inner = content.inner.as_deref();
    let is_sender_key = matches!(inner, Some(Content::SenderKeyDistribution(_)));
    content.secret.is_some() || content.admin.is_some() || is_sender_key
}
