//! Accounts and devices that were used recently, because every message needs those of its sender and its recipient.
//!
//! This process alone changes the database, so they are forgotten only when a row is written.

use std::collections::HashMap;

use rusqlite::{Connection, Result};
use wormhole_chat::AccountId;
use wormhole_chat::service::{Destination, PhoneNumber};

use super::{accounts, devices};
use crate::messaging::store::tables::{Owner, RecipientDevice};
use crate::messaging::store::{Account, AccountKey, DeviceKey};

/// Accounts with their devices, and how to find them.
#[derive(Debug, Default)]
pub(super) struct Cache {
    accounts: HashMap<AccountKey, CachedAccount>,
    by_id: HashMap<AccountId, AccountKey>,
    /// Accounts that are the default of their number.
    by_number: HashMap<PhoneNumber, AccountKey>,
    by_device: HashMap<DeviceKey, AccountKey>,
}

#[derive(Debug)]
struct CachedAccount {
    account: Account,
    devices: Vec<RecipientDevice>,
}

impl Cache {
    /// The account that a destination means.
    pub(super) fn resolve(
        &mut self,
        database: &Connection,
        destination: &Destination,
    ) -> Result<Option<Account>> {
        let key = match destination {
            Destination::Account(id) => self.by_id.get(id),
            Destination::Number(number) => self.by_number.get(number),
            Destination::NumberInApp(..) => None,
        };
        if let Some(cached) = key.and_then(|key| self.accounts.get(key)) {
            return Ok(Some(cached.account.clone()));
        }
        let account = accounts::resolve(database, destination)?;
        if let Some(account) = &account {
            self.add(database, account)?;
        }
        Ok(account)
    }

    /// The devices of an account.
    pub(super) fn recipients(
        &mut self,
        database: &Connection,
        account: AccountKey,
    ) -> Result<Vec<RecipientDevice>> {
        if let Some(cached) = self.accounts.get(&account) {
            return Ok(cached.devices.clone());
        }
        match accounts::account_at(database, account)? {
            Some(account) => self.add(database, &account),
            None => Ok(Vec::new()),
        }
    }

    /// The account and the number of a device.
    pub(super) fn owner(
        &mut self,
        database: &Connection,
        device: DeviceKey,
    ) -> Result<Option<Owner>> {
        let cached = self.by_device.get(&device).and_then(|key| self.accounts.get(key));
        if let Some(CachedAccount { account, devices }) = cached {
            let device = devices.iter().find(|it| it.key == device);
            let account = account.clone();
            return Ok(device.map(|device| Owner { account, device: device.number }));
        }
        let owner = devices::owner(database, device)?;
        if let Some(owner) = &owner {
            self.add(database, &owner.account)?;
        }
        Ok(owner)
    }

    /// Adds an account; returns its devices.
    fn add(&mut self, database: &Connection, account: &Account) -> Result<Vec<RecipientDevice>> {
        if self.accounts.len() >= MAX_ACCOUNTS {
            self.clear();
        }
        let devices = devices::recipients(database, account.key)?;
        self.by_id.insert(account.id, account.key);
        if account.is_default {
            self.by_number.insert(account.number.clone(), account.key);
        }
        self.by_device.extend(devices.iter().map(|device| (device.key, account.key)));
        let cached = CachedAccount { account: account.clone(), devices: devices.clone() };
        self.accounts.insert(account.key, cached);
        Ok(devices)
    }

    /// Forgets an account. Call it when one of its devices is added.
    pub(super) fn forget_account(&mut self, account: AccountKey) {
        if let Some(CachedAccount { account, devices }) = self.accounts.remove(&account) {
            self.by_id.remove(&account.id);
            self.by_number.remove(&account.number);
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
        self.by_device.clear();
    }
}

/// Most accounts, about 64 MiB.
const MAX_ACCOUNTS: usize = 1 << 16;
