//! The sessions with the devices of other accounts: starting them, storing them, and how much one account can make us keep.

use std::collections::{BTreeMap, BTreeSet};

use rand_core::CryptoRngCore;

use super::store::{Changes, StoreKey};
use super::{Client, SendFailure};
use crate::address::{AccountId, Address, DeviceId};
use crate::prekey::{PreKeyBundle, VerifiedBundle};
use crate::record::{ArchivedRow, InitiateError, SessionRecord};
use crate::session::DecryptError;
use crate::time::Timestamp;

/// The stored rows of the archived sessions of each device, oldest first.
pub(super) type ArchivedRows = BTreeMap<Address, Vec<ArchivedRow>>;

impl Client {
    /// The devices of an account to which we send, except our own device. With others there may be archived sessions.
    pub(super) fn devices(&self, account: AccountId) -> Vec<DeviceId> {
        let ours = |address: &Address| *address == self.us;
        let first = Address { account, device: DeviceId::PRIMARY };
        let of_account = self.sessions.range(first..);
        let of_account = of_account.take_while(|(address, _)| address.account == account);
        let is_current = |record: &SessionRecord| record.their_identity().is_some();
        let others = of_account.filter(|(address, record)| {
            let is_listed = self.is_device_listed(account, address.device);
            !ours(address) && is_current(record) && is_listed
        });
        others.map(|(address, _)| address.device).collect()
    }

    /// Whether we can send to a device. If its account ever had post-quantum prekeys, a session without them is for
    /// reading only: the server could have removed ours, so that the other side started a weaker session.
    pub(super) fn can_encrypt(&self, now: Timestamp, address: Address) -> bool {
        let peer = self.peers.get(&address.account);
        let needs_post_quantum = peer.is_some_and(|peer| peer.had_post_quantum);
        let list = self.lists.of(address.account);
        self.sessions.get(&address).is_some_and(|record| {
            let id = record.their_registration_id().unwrap_or_default();
            record.can_encrypt(now)
                && list.is_none_or(|list| list.has(address.device, id))
                && record.their_identity() == peer.map(|peer| &peer.identity)
                && (record.uses_post_quantum() || !needs_post_quantum)
                && !self.repairs.is_broken(address, record.our_ratchet_key())
        })
    }

    /// Starts sessions with those devices to which we cannot send yet. What has changed is committed also after an error.
    pub(super) fn begin(
        &mut self,
        now: Timestamp,
        account: AccountId,
        bundles: Vec<PreKeyBundle>,
        list: Option<&[u8]>,
        rng: &mut impl CryptoRngCore,
    ) -> Result<(), SendFailure> {
        let bundles = self.verify_bundles(account, bundles)?;
        let identity = bundles.first().ok_or(SendFailure::NoDevice)?.bundle().identity;
        if self.is_refused(account, &identity) {
            return Err(SendFailure::RefusedIdentity);
        }
        let mut changes = Changes::default();
        self.not_a_stranger(account, &mut changes);
        if !self.is_trusted(&mut changes, account, identity) {
            self.commit(changes, Vec::new());
            self.give_up_syncs(account);
            return Ok(());
        }
        let started = self.start_signed(now, account, (bundles, list), &mut changes, rng);
        self.commit(changes, Vec::new());
        started?;
        if self.devices(account).is_empty() { Err(SendFailure::NoDevice) } else { Ok(()) }
    }

    /// Starts all missing sessions with the devices that are in the list of the account, or none.
    fn start_signed(
        &mut self,
        now: Timestamp,
        account: AccountId,
        (bundles, list): (Vec<VerifiedBundle>, Option<&[u8]>),
        changes: &mut Changes,
        rng: &mut impl CryptoRngCore,
    ) -> Result<(), SendFailure> {
        let identity = bundles.first().ok_or(SendFailure::NoDevice)?.bundle().identity;
        self.check_list(account, &identity, list, changes)?;
        let signed = self.signed_only(account, bundles, changes);
        self.start_sessions(now, account, &signed, changes, rng)?;
        let is_own = account == self.us.account;
        if signed.is_empty() && !is_own { Err(SendFailure::UnsignedDevice) } else { Ok(()) }
    }

    /// Verifies the bundles of all devices of an account, before anything depends on one of them. All devices share the
    /// account's identity key, and each has its own signed prekey; otherwise the server invented one.
    fn verify_bundles(
        &self,
        account: AccountId,
        bundles: Vec<PreKeyBundle>,
    ) -> Result<Vec<VerifiedBundle>, SendFailure> {
        let identity = bundles.first().ok_or(SendFailure::NoDevice)?.identity;
        let claims_ours = account != self.us.account && identity == *self.identity.pair.public();
        let signed: BTreeSet<_> = bundles.iter().map(|bundle| bundle.signed.1).collect();
        let devices: BTreeSet<_> = bundles.iter().map(|bundle| bundle.device).collect();
        let is_unique = signed.len() == bundles.len() && devices.len() == bundles.len();
        let is_shared = bundles.iter().all(|bundle| bundle.identity == identity);
        if claims_ours || !is_unique || !is_shared || bundles.len() > MAX_DEVICES {
            return Err(SendFailure::NotAuthentic);
        }
        let verified = bundles.into_iter().map(PreKeyBundle::verify).collect::<Result<_, _>>();
        verified.map_err(|_| SendFailure::NotAuthentic)
    }

    /// Starts all missing sessions, or none.
    fn start_sessions(
        &mut self,
        now: Timestamp,
        account: AccountId,
        bundles: &[VerifiedBundle],
        changes: &mut Changes,
        rng: &mut impl CryptoRngCore,
    ) -> Result<(), SendFailure> {
        let lacks_kem = |bundle: &VerifiedBundle| bundle.bundle().kem.is_none();
        let had_kem = self.peers.get(&account).is_some_and(|peer| peer.had_post_quantum);
        let has_kem = had_kem || !bundles.iter().all(lacks_kem);
        if has_kem && bundles.iter().any(lacks_kem) {
            return Err(SendFailure::NoPostQuantum);
        }
        let mut started = Vec::new();
        for bundle in bundles {
            let address = Address { account, device: bundle.bundle().device };
            let mut record = self.sessions.get(&address).cloned().unwrap_or_default();
            let is_strong = record.uses_post_quantum() || !has_kem;
            if address == self.us || is_strong && self.can_encrypt(now, address) {
                continue;
            }
            let initiated = record.initiate(&self.identity, bundle, now, rng);
            initiated.map_err(|error| match error {
                InitiateError::BadKey(_) => SendFailure::NotAuthentic,
                InitiateError::Downgrade => SendFailure::NoPostQuantum,
            })?;
            started.push((address, record));
        }
        let current: Vec<_> = bundles.iter().map(|bundle| bundle.bundle().device).collect();
        for device in self.devices(account) {
            if !current.contains(&device) {
                // It was removed, or has no keys yet. What it has sent can still be read.
                self.archive_sessions(Address { account, device }, changes);
            }
        }
        for (address, record) in started {
            self.sessions.insert(address, record);
            self.store_session(address, changes);
            self.record_post_quantum(address, changes);
        }
        Ok(())
    }

    /// Makes room for a session that a device starts. Returns the device whose sessions must be deleted for that, if any: one that has
    /// only sessions with other identity keys than the accepted one, because a dishonest server can invent such devices.
    ///
    /// # Errors
    /// The account has too many devices.
    pub(super) fn room_for(&self, address: Address) -> Result<Option<Address>, DecryptError> {
        let account = address.account;
        let devices = self.devices(account);
        let limits = self.limits(account);
        if devices.contains(&address.device) || devices.len() < limits.devices {
            return Ok(None);
        }
        let accepted = self.peers.get(&account).map(|peer| peer.identity);
        let addresses = devices.into_iter().map(|device| Address { account, device });
        let is_foreign = |address: &Address| {
            let record = self.sessions.get(address);
            record.is_some_and(|record| !accepted.is_some_and(|key| record.has_identity(&key)))
        };
        let mut foreign = addresses.filter(is_foreign);
        foreign.next().map(Some).ok_or(DecryptError::TooManySessions)
    }

    /// Deletes the sessions with a device. What it has pinned (post-quantum keys, ratchet) stays.
    pub(super) fn forget_device(&mut self, address: Address, changes: &mut Changes) {
        self.delete_sessions(address, changes);
        if self.sessions.get(&address).is_some_and(SessionRecord::is_blank) {
            self.sessions.remove(&address);
            self.archived_rows.remove(&address);
            changes.delete(StoreKey::Session(address));
            self.forget_newest(address, changes);
        }
    }

    /// How much is kept for an account.
    fn limits(&self, account: AccountId) -> &'static Limits {
        if account == self.us.account {
            &OF_OURS
        } else if self.is_stranger(account) {
            &OF_STRANGER
        } else {
            &OF_KNOWN
        }
    }

    /// Archives the session with a device: nothing more is sent to it.
    fn archive_sessions(&mut self, address: Address, changes: &mut Changes) {
        if let Some(record) = self.sessions.get_mut(&address) {
            record.archive();
            self.store_session(address, changes);
        }
    }

    pub(super) fn delete_sessions(&mut self, address: Address, changes: &mut Changes) {
        if let Some(record) = self.sessions.get_mut(&address) {
            record.delete_sessions();
            changes.put_session(address, record, &mut self.archived_rows);
        }
    }

    /// Applies the limits of an account to its sessions, and stores what has changed: those with this device, and those
    /// that became smaller.
    pub(super) fn store_session(&mut self, address: Address, changes: &mut Changes) {
        let mut changed = self.limit_account(address.account);
        changed.insert(address);
        for address in changed {
            if let Some(record) = self.sessions.get(&address) {
                changes.put_session(address, record, &mut self.archived_rows);
            }
        }
    }

    /// Deletes what an account exceeds its limits by, from the devices with the most. Otherwise an account with many devices
    /// could make us keep much. Returns the devices whose records have changed.
    fn limit_account(&mut self, account: AccountId) -> BTreeSet<Address> {
        let limits = self.limits(account);
        let accepted = self.peers.get(&account).map(|peer| peer.identity);
        let first = Address { account, device: DeviceId::PRIMARY };
        let of_account = self.sessions.range_mut(first..);
        let mut records: Vec<_> =
            of_account.take_while(|(address, _)| address.account == account).collect();
        let mut changed = BTreeSet::new();
        loop {
            let total = records.iter().map(|(_, record)| record.archived_len()).sum::<usize>();
            let most = records.iter_mut().max_by_key(|(_, record)| record.archived_len());
            let Some((address, record)) = most.filter(|_| total > limits.archived) else { break };
            record.drop_archived(accepted.as_ref());
            changed.insert(**address);
        }
        // Seeds of sessions with other keys go first: a dishonest server can start such sessions.
        loop {
            let total = records.iter().map(|(_, record)| record.skipped_len()).sum::<usize>();
            let foreign = |record: &SessionRecord| record.foreign_skipped_len(accepted.as_ref());
            let most = records.iter_mut().max_by_key(|(_, record)| foreign(record));
            let most = most.filter(|(_, record)| total > limits.skipped && foreign(record) > 0);
            let Some((address, record)) = most else { break };
            let removed = foreign(record).min(total - limits.skipped);
            record.limit_skipped(record.skipped_len() - removed, accepted.as_ref());
            changed.insert(**address);
        }
        let share = limits.skipped / records.len().max(1);
        loop {
            let total = records.iter().map(|(_, record)| record.skipped_len()).sum::<usize>();
            let most = records.iter_mut().max_by_key(|(_, record)| record.skipped_len());
            let Some((address, record)) = most.filter(|_| total > limits.skipped) else { break };
            let excess = total - limits.skipped;
            // The most that a device has is above the share, because the total is too much.
            let kept = record.skipped_len().saturating_sub(excess).max(share);
            record.limit_skipped(kept, accepted.as_ref());
            changed.insert(**address);
        }
        changed
    }
}

/// How much is kept for one account.
struct Limits {
    /// Devices with sessions.
    devices: usize,
    /// Archived sessions with all devices. One device has at most 40 or 41.
    archived: usize,
    /// Seeds of skipped messages of all devices.
    skipped: usize,
}

/// The limits of an account that the user knows. Seeds: the same as for one device.
const OF_KNOWN: Limits = Limits { devices: MAX_DEVICES, archived: 80, skipped: 2000 };

/// The limits of our own account: our devices write to each other most, and nobody else can start sessions as one of them.
const OF_OURS: Limits = Limits { devices: MAX_DEVICES, archived: 240, skipped: 4000 };

/// The limits of an account that the user does not know: as many devices as the service permits. Anyone can invent 10,000 of them.
const OF_STRANGER: Limits = Limits { devices: 6, archived: 6, skipped: 100 };

/// Maximum number of devices of an account. Each one costs an encryption and a row for every message.
const MAX_DEVICES: usize = 16;
