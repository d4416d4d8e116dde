//! Accounts and devices that were used recently, because every message needs those of its sender and its recipient.
//!
//! It knows no database: a back end adds what it has read, and forgets what may have changed.

use std::collections::{HashMap, HashSet};

use wormhole_chat::service::{AppName, Destination, PhoneNumber, Username};
use wormhole_chat::{AccountId, Timestamp};

use super::tables::{Owner, RecipientDevice};
use super::{Account, AccountKey, Consent, ConsentState, DeviceKey, Pair};

/// Accounts with their devices, and how to find them.
#[derive(Debug, Default)]
pub(super) struct AccountCache {
    accounts: HashMap<AccountKey, CachedAccount>,
    by_id: HashMap<AccountId, AccountKey>,
    /// Accounts that are the default of their number.
    by_number: HashMap<PhoneNumber, AccountKey>,
    by_app: HashMap<(PhoneNumber, AppName), AccountKey>,
    by_device: HashMap<DeviceKey, AccountKey>,
    by_username: HashMap<Username, AccountKey>,
    /// Senders that a recipient has accepted.
    accepted: HashSet<Pair>,
}

#[derive(Debug)]
struct CachedAccount {
    account: Account,
    /// In the order of their numbers.
    devices: Vec<RecipientDevice>,
}

impl AccountCache {
    /// The account that a destination means.
    pub(super) fn resolve(&self, destination: &Destination) -> Option<&Account> {
        let key = match destination {
            Destination::Account(id) => self.by_id.get(id),
            Destination::Number(number) => self.by_number.get(number),
            Destination::NumberInApp(number, app) => {
                self.by_app.get(&(number.clone(), app.clone()))
            }
            Destination::Username(name) => self.by_username.get(name),
        };
        self.accounts.get(key?).map(|cached| &cached.account)
    }

    /// The devices of an account.
    pub(super) fn devices(&self, account: AccountKey) -> Option<&[RecipientDevice]> {
        self.accounts.get(&account).map(|cached| &*cached.devices)
    }

    /// The account and the number of a device.
    pub(super) fn owner(&self, device: DeviceKey) -> Option<Owner> {
        let CachedAccount { account, devices } = self.accounts.get(self.by_device.get(&device)?)?;
        let device = devices.iter().find(|it| it.key == device)?.number;
        Some(Owner { account: account.clone(), device })
    }

    /// Adds an account with all its devices, in the order of their numbers.
    pub(super) fn add(&mut self, account: Account, devices: Vec<RecipientDevice>) {
        let key = account.key;
        self.by_id.insert(account.id, key);
        if account.is_default {
            self.by_number.insert(account.number.clone(), key);
        }
        self.by_app.insert((account.number.clone(), account.app_name.clone()), key);
        self.by_device.extend(devices.iter().map(|device| (device.key, key)));
        self.accounts.insert(key, CachedAccount { account, devices });
    }

    /// That a recipient has accepted a sender, if it is known here. The time is not.
    pub(super) fn accepted(&self, pair: Pair) -> Option<Consent> {
        let (state, since) = (ConsentState::Accepted, Timestamp(0));
        self.accepted.contains(&pair).then_some(Consent { state, since, messages: 0 })
    }

    /// Remembers that a recipient has accepted a sender.
    pub(super) fn add_accepted(&mut self, pair: Pair, consent: Option<Consent>) {
        if consent.is_some_and(|consent| consent.state == ConsentState::Accepted) {
            if self.accepted.len() >= MAX_PAIRS {
                self.accepted.clear();
            }
            self.accepted.insert(pair);
        }
    }

    /// Forgets whether a recipient has accepted a sender. Call it when the recipient decides.
    pub(super) fn forget_accepted(&mut self, pair: Pair) {
        self.accepted.remove(&pair);
    }

    /// Adds the name of an account. All names are forgotten when one changes.
    pub(super) fn add_username(&mut self, name: Username, account: AccountKey) {
        if self.by_username.len() >= MAX_ACCOUNTS {
            self.by_username.clear();
        }
        self.by_username.insert(name, account);
    }

    /// Whether so many accounts are known that something should be forgotten.
    pub(super) fn is_full(&self) -> bool {
        self.accounts.len() >= MAX_ACCOUNTS
    }

    /// Forgets an account. Call it when one of its devices is added.
    pub(super) fn forget_account(&mut self, account: AccountKey) {
        if let Some(CachedAccount { account, devices }) = self.accounts.remove(&account) {
            self.by_id.remove(&account.id);
            self.by_number.remove(&account.number);
            self.by_app.remove(&(account.number, account.app_name));
            for device in devices {
                self.by_device.remove(&device.key);
            }
        }
    }

    /// Forgets the account of a device. Call it when the device or its keys change.
    pub(super) fn forget_device(&mut self, device: DeviceKey) {
        if let Some(account) = self.by_device.get(&device) {
            self.forget_account(*account);
        }
    }

    /// Forgets everything. Call it when an account changes, because another one may become the default of its number.
    pub(super) fn clear(&mut self) {
        self.accounts.clear();
        self.by_id.clear();
        self.by_number.clear();
        self.by_app.clear();
        self.by_device.clear();
        self.by_username.clear();
        self.accepted.clear();
    }
}

/// Maximum number of pairs of a recipient and a sender, about 8 MiB.
const MAX_PAIRS: usize = 1 << 18;

/// Maximum number of accounts, about 64 MiB.
pub(super) const MAX_ACCOUNTS: usize = 1 << 16;
