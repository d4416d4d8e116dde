//! The list of an account's devices, signed by the account's identity key (docs/chat-protocol.md "Device list").
//!
//! Every device of an account has the identity key, so each can sign a list. The server stores the newest one and cannot change
//! it. Each list has a greater revision than the one before.

mod proto;

use std::collections::BTreeSet;

use rand_core::CryptoRngCore;

use crate::address::{AccountId, DeviceId};
use crate::key::{KeyPair, PublicKey};
use crate::time::{DAY, Timestamp};

/// The devices of an account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeviceList {
    /// The account.
    pub account: AccountId,
    /// Greater in each later list, from 1 to [`MAX_REVISION`](Self::MAX_REVISION).
    pub revision: u64,
    /// When it was signed, according to the device that has signed it.
    pub created: Timestamp,
    /// The devices, in the order of their numbers; at most 16.
    pub devices: Vec<ListedDevice>,
    /// Devices that were removed lately, in the order in which they were removed; at most 32. Messages that they had sent before
    /// may still arrive.
    pub former: Vec<FormerDevice>,
}

/// A device that the identity key has signed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ListedDevice {
    /// Its number.
    pub device: DeviceId,
    /// Differs between devices that have the same number one after the other.
    pub registration_id: u32,
    /// When it was signed first.
    pub created: Timestamp,
}

/// A device that was removed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FormerDevice {
    /// Its number, which another device may have now.
    pub device: DeviceId,
    /// Its registration id.
    pub registration_id: u32,
    /// When a device of the account has noticed that it is gone.
    pub removed: Timestamp,
}

/// A device of our account, as the server describes it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OwnDevice {
    /// Its number.
    pub device: DeviceId,
    /// Its registration id.
    pub registration_id: u32,
    /// Whether it has published keys, so that others can write to it.
    pub has_keys: bool,
}

/// Why a list of devices is not believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceListError {
    /// The account's identity key has not signed it.
    #[error("the account's identity key has not signed the list of devices")]
    BadSignature,
    /// It is malformed, too long, or names too many devices.
    #[error("the list of devices is malformed")]
    Malformed,
    /// It is the list of another account.
    #[error("the list of devices is that of another account")]
    OtherAccount,
}

impl DeviceList {
    /// Maximum length of a signed list in bytes.
    pub const MAX_BYTES: usize = 4096;

    /// The greatest revision: JSON of other programs has no greater whole numbers.
    pub const MAX_REVISION: u64 = (1 << 53) - 1;

    /// Whether the list is believed after this one, or as the first one of an account (`None`). A device that was linked once and
    /// has signed the greatest revision must not make later lists impossible.
    pub fn may_follow(&self, previous: Option<&Self>) -> bool {
        let most = previous.map_or(MAX_FIRST, |it| it.revision.saturating_add(MAX_STEP));
        self.revision <= most
    }

    /// Signs the list.
    pub fn sign(&self, identity: &KeyPair, rng: &mut impl CryptoRngCore) -> Vec<u8> {
        let list = self.encode();
        let signature = identity.sign(&signed(&list), rng);
        proto::encode_signed(list, signature)
    }

    /// Decodes a signed list, and checks that the account's identity key has signed it. Whether it is the newest one is not
    /// checked.
    ///
    /// # Errors
    /// It must not be believed.
    pub fn open(
        bytes: &[u8],
        account: AccountId,
        identity: &PublicKey,
    ) -> Result<Self, DeviceListError> {
        let (list, signature) = proto::decode_signed(bytes).ok_or(DeviceListError::Malformed)?;
        if !identity.verify(&signed(&list), &signature) {
            return Err(DeviceListError::BadSignature);
        }
        let list = Self::decode(&list)?;
        if list.account == account { Ok(list) } else { Err(DeviceListError::OtherAccount) }
    }

    /// Decodes a signed list without checking the signature, for a server: it needs to know which revision of which list it stores.
    ///
    /// # Errors
    /// It is malformed.
    pub fn read_unverified(bytes: &[u8]) -> Result<Self, DeviceListError> {
        let (list, _) = proto::decode_signed(bytes).ok_or(DeviceListError::Malformed)?;
        Self::decode(&list)
    }

    /// Encodes the list, without a signature. The same list has always the same bytes.
    pub fn encode(&self) -> Vec<u8> {
        proto::encode(self)
    }

    /// Decodes a list without a signature.
    ///
    /// # Errors
    /// It is malformed.
    pub fn decode(bytes: &[u8]) -> Result<Self, DeviceListError> {
        proto::decode(bytes).ok_or(DeviceListError::Malformed)
    }

    /// Whether the device is in the list, with this registration id. Nothing is sent to others.
    pub fn has(&self, device: DeviceId, registration_id: u32) -> bool {
        self.listed(device).is_some_and(|it| it.registration_id == registration_id)
    }

    /// The device with this number.
    pub fn listed(&self, device: DeviceId) -> Option<&ListedDevice> {
        self.devices.iter().find(|it| it.device == device)
    }

    /// Whether the device was in the list, with this registration id, and is not any more.
    pub fn had(&self, device: DeviceId, registration_id: u32) -> bool {
        self.former.iter().any(|it| (it.device, it.registration_id) == (device, registration_id))
    }

    /// Whether a message of the device is read: the device is in the list, or it was and had `sent` the message before, by the clock of
    /// the sender. `None` stands for any registration id.
    pub fn reads(&self, device: DeviceId, registration_id: Option<u32>, sent: Timestamp) -> bool {
        let is_same = |number, id| {
            device == number && registration_id.is_none_or(|registration_id| registration_id == id)
        };
        let is_before = |removed: Timestamp| sent.since(removed) <= MAX_LATE;
        self.devices.iter().any(|it| is_same(it.device, it.registration_id))
            || self
                .former
                .iter()
                .any(|it| is_same(it.device, it.registration_id) && is_before(it.removed))
    }

    /// The list after this one, or the first one. Devices that do not exist any more are former ones in it. Those in `sign`, with
    /// these registration ids, are added; if there is no list yet, all are, because their owner has not seen a list without them. The revision and the time
    /// are those of a new list, also if the devices are the same: compare with [`has_same_devices`](Self::has_same_devices).
    ///
    /// `None`: there is no greater revision.
    pub fn next(
        previous: Option<&Self>,
        account: AccountId,
        existing: &[OwnDevice],
        sign: &[(DeviceId, u32)],
        now: Timestamp,
    ) -> Option<Self> {
        let revision = previous.map_or(0, |list| list.revision) + 1;
        if revision > Self::MAX_REVISION {
            return None;
        }
        let mut list = Self { account, revision, created: now, devices: vec![], former: vec![] };
        if let Some(previous) = previous {
            list.former = previous.former.clone();
            for listed in &previous.devices {
                let is_same = |it: &&OwnDevice| {
                    (it.device, it.registration_id) == (listed.device, listed.registration_id)
                };
                match existing.iter().find(is_same) {
                    Some(_) => list.devices.push(*listed),
                    None => list.former.push(FormerDevice {
                        device: listed.device,
                        registration_id: listed.registration_id,
                        removed: now,
                    }),
                }
            }
        }
        let is_signed =
            |it: &&OwnDevice| previous.is_none() || sign.contains(&(it.device, it.registration_id));
        for device in existing.iter().filter(is_signed) {
            list.add(device, now);
        }
        list.forget_former(now);
        Some(list)
    }

    /// Whether both name the same devices, whenever they were added or removed.
    pub fn has_same_devices(&self, other: &Self) -> bool {
        let listed = |list: &Self| -> BTreeSet<_> {
            list.devices.iter().map(|it| (it.device, it.registration_id)).collect()
        };
        let former = |list: &Self| -> BTreeSet<_> {
            list.former.iter().map(|it| (it.device, it.registration_id)).collect()
        };
        self.account == other.account
            && listed(self) == listed(other)
            && former(self) == former(other)
    }

    fn add(&mut self, added: &OwnDevice, now: Timestamp) {
        let OwnDevice { device, registration_id, has_keys: _ } = *added;
        if self.listed(device).is_some() || self.devices.len() >= MAX_DEVICES {
            return;
        }
        self.former.retain(|it| (it.device, it.registration_id) != (device, registration_id));
        let place = self.devices.partition_point(|it| it.device < device);
        self.devices.insert(place, ListedDevice { device, registration_id, created: now });
    }

    /// Forgets former devices whose messages the server does not have any more, and the oldest if there are too many.
    fn forget_former(&mut self, now: Timestamp) {
        self.former.retain(|it| now.since(it.removed) < FORMER_TIME);
        let excess = self.former.len().saturating_sub(MAX_FORMER);
        self.former.drain(..excess);
    }
}

/// The beginning of the signed bytes: nothing else that the identity key signs begins like this.
fn signed(list: &[u8]) -> Vec<u8> {
    [LABEL, list].concat()
}

const LABEL: &[u8] = b"wormholeim.org/chat/device-list\0";

/// The greatest revision of a list that is the first one that we see of an account.
const MAX_FIRST: u64 = 1 << 32;

/// By how much a revision may be greater than the one before.
const MAX_STEP: u64 = 1 << 16;

/// Maximum number of devices in a list.
const MAX_DEVICES: usize = 16;

/// Maximum number of former devices in a list.
const MAX_FORMER: usize = 32;

/// Milliseconds by which a message may be later than the removal of its sender: clocks are wrong.
const MAX_LATE: u64 = 7 * DAY;

/// Milliseconds for which a former device stays in the list: the server keeps messages for 30 days.
const FORMER_TIME: u64 = 45 * DAY;

#[cfg(test)]
mod tests;
