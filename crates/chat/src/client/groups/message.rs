//! A message to a group in the outbox, and its recipients.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::waiting::Waiting;
use crate::address::{AccountId, Address, DeviceId};
use crate::group::GroupId;

/// A message to a group that the server has not accepted yet.
#[derive(Debug)]
pub(super) struct GroupMessage {
    pub(super) group: GroupId,
    /// The encoded content. Empty: the message only says which change is the last one.
    pub(super) content: Zeroizing<Vec<u8>>,
    /// The encrypted message, which may have been sent. It is sent again unchanged until the server requires a change.
    pub(super) encrypted: Option<Arc<[u8]>>,
    /// If it was written while we were alone: the people whom we had invited. Nobody else gets it.
    pub(super) audience: Option<BTreeSet<AccountId>>,
    /// Number of times the server reported different devices.
    pub(super) attempts: u32,
    /// The members who have not got it yet, after others have. `None` if no member has got it, as far as we know.
    pub(super) waiting: Option<Waiting>,
    /// The devices for which it was sealed last, and their registration ids.
    pub(super) sealed_for: BTreeMap<Address, u32>,
    /// The members who must get our sender key before it can be sent to them. Known when it was sealed for the others.
    pub(super) keyless: BTreeSet<AccountId>,
    /// Whether our sender key was replaced since the message was encrypted. Members without the earlier key never get it.
    pub(super) has_old_key: bool,
}

impl GroupMessage {
    pub(super) const fn new(group: GroupId, content: Zeroizing<Vec<u8>>) -> Self {
        Self {
            group,
            content,
            encrypted: None,
            audience: None,
            attempts: 0,
            waiting: None,
            sealed_for: BTreeMap::new(),
            keyless: BTreeSet::new(),
            has_old_key: false,
        }
    }

    /// Whether a member may get it.
    pub(super) fn is_for(&self, account: AccountId) -> bool {
        self.audience.as_ref().is_none_or(|audience| audience.contains(&account))
    }

    /// Whether the user has written it.
    pub(super) fn is_written(&self) -> bool {
        !self.content.is_empty()
    }
}

/// The devices of a member to which we can encrypt.
pub(super) struct Recipient {
    pub(super) account: AccountId,
    /// With their registration ids.
    pub(super) devices: BTreeMap<DeviceId, u32>,
}

impl Recipient {
    /// Its devices, with their registration ids.
    pub(super) fn devices(&self) -> impl Iterator<Item = (Address, u32)> {
        let account = self.account;
        let address = move |device| Address { account, device };
        self.devices.iter().map(move |(device, id)| (address(*device), *id))
    }
}
