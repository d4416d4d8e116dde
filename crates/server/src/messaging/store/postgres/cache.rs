//! Accounts and devices that were used recently, because every message needs those of its sender and its recipient.
//!
//! Other nodes change the database, too: each change of an account or a device increments a version in the database, and
//! everything is forgotten when the version is another one.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio_postgres::Row;
use wormhole_chat::AccountId;
use wormhole_chat::service::{AppName, Destination, PhoneNumber};

use super::columns::{Columns, Read};
use crate::messaging::store::tables::{Owner, Reader, RecipientDevice};
use crate::messaging::store::{Account, AccountKey, DeviceKey};

/// Accounts with their devices, and how to find them.
#[derive(Debug)]
pub(super) struct Cache {
    version: i64,
    /// When everything was forgotten last.
    cleared: Instant,
    accounts: HashMap<AccountKey, CachedAccount>,
    by_id: HashMap<AccountId, AccountKey>,
    /// Accounts that are the default of their number.
    by_number: HashMap<PhoneNumber, AccountKey>,
    by_app: HashMap<(PhoneNumber, AppName), AccountKey>,
    by_device: HashMap<DeviceKey, AccountKey>,
    readers: HashMap<DeviceKey, Reader>,
}

#[derive(Debug)]
struct CachedAccount {
    account: Account,
    devices: Vec<RecipientDevice>,
}

impl Cache {
    pub(super) fn new() -> Self {
        Self {
            version: 0,
            cleared: Instant::now(),
            accounts: HashMap::new(),
            by_id: HashMap::new(),
            by_number: HashMap::new(),
            by_app: HashMap::new(),
            by_device: HashMap::new(),
            readers: HashMap::new(),
        }
    }

    /// Prepares for a transaction in which the database has this version.
    pub(super) fn begin(&mut self, version: i64) {
        let is_old = self.cleared.elapsed() >= MAX_AGE;
        let is_full = self.accounts.len().max(self.readers.len()) >= MAX_ACCOUNTS;
        if self.version != version || is_old || is_full {
            self.clear();
            self.version = version;
        }
    }

    /// The transaction has changed accounts or devices, and has been committed.
    pub(super) const fn changed(&mut self) {
        self.version += 1;
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.cleared = Instant::now();
        self.accounts.clear();
        self.by_id.clear();
        self.by_number.clear();
        self.by_app.clear();
        self.by_device.clear();
        self.readers.clear();
    }

    /// The account that a destination means, if it is known here.
    pub(super) fn resolve(&self, destination: &Destination) -> Option<&Account> {
        let key = match destination {
            Destination::Account(id) => self.by_id.get(id),
            Destination::Number(number) => self.by_number.get(number),
            Destination::NumberInApp(number, app) => {
                self.by_app.get(&(number.clone(), app.clone()))
            }
        };
        self.accounts.get(key?).map(|cached| &cached.account)
    }

    /// The devices of an account, if they are known here.
    pub(super) fn devices(&self, account: AccountKey) -> Option<&[RecipientDevice]> {
        self.accounts.get(&account).map(|cached| &*cached.devices)
    }

    /// The account and the number of a device, if they are known here.
    pub(super) fn owner(&self, device: DeviceKey) -> Option<Owner> {
        let CachedAccount { account, devices } = self.accounts.get(self.by_device.get(&device)?)?;
        let device = devices.iter().find(|it| it.key == device)?.number;
        Some(Owner { account: account.clone(), device })
    }

    /// What must be known of a device to deliver messages to it, if it is known here.
    pub(super) fn reader(&self, device: DeviceKey) -> Option<&Reader> {
        self.readers.get(&device)
    }

    pub(super) fn add_readers(&mut self, readers: Vec<(DeviceKey, Reader)>) {
        self.readers.extend(readers);
    }

    /// Adds the accounts and devices that a statement has read.
    pub(super) fn add(&mut self, rows: &[Row]) -> Read<()> {
        for row in rows {
            let mut columns = Columns::of(row);
            let account = columns.account()?;
            let cached = self.accounts.entry(account.key);
            let cached = cached
                .or_insert_with(|| CachedAccount { account: account.clone(), devices: Vec::new() });
            if let Some(device) = read_device(&mut columns)?
                && !cached.devices.iter().any(|known| known.key == device.key)
            {
                cached.devices.push(device);
                cached.devices.sort_unstable_by_key(|device| device.number);
                self.by_device.insert(device.key, account.key);
            }
            self.by_id.insert(account.id, account.key);
            if account.is_default {
                self.by_number.insert(account.number.clone(), account.key);
            }
            self.by_app.insert((account.number, account.app_name), account.key);
        }
        Ok(())
    }
}

/// Reads a device, unless the account has none.
fn read_device(columns: &mut Columns<'_>) -> Read<Option<RecipientDevice>> {
    let key: Option<i64> = columns.value()?;
    let Some(key) = key else { return Ok(None) };
    Ok(Some(RecipientDevice {
        key: DeviceKey(key),
        number: columns.device_id()?,
        registration_id: columns.number()?,
        has_keys: columns.value()?,
        is_reachable: columns.value()?,
        last_seen: columns.time()?,
    }))
}

/// Age at which everything is forgotten: the day on which a device was seen is not part of the version.
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Most accounts, about 64 MiB.
const MAX_ACCOUNTS: usize = 1 << 16;
