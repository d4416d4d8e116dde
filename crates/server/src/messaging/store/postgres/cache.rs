//! Accounts and devices that were used recently, because every message needs those of its sender and its recipient.
//!
//! Other nodes change the database, too: each change of an account or a device increments a version in the database, and
//! everything is forgotten when the version is another one.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio_postgres::Row;

use super::columns::{Columns, Read};
use crate::messaging::store::cache::{AccountCache, MAX_ACCOUNTS};
use crate::messaging::store::columns::has_requests;
use crate::messaging::store::tables::{DeviceReader, RecipientDevice};
use crate::messaging::store::{Account, AccountKey, DeviceKey};

/// The rows that this node remembers.
#[derive(Debug)]
pub(super) struct Cache {
    version: i64,
    /// When everything was forgotten last.
    cleared: Instant,
    pub(super) accounts: AccountCache,
    readers: HashMap<DeviceKey, DeviceReader>,
}

impl Cache {
    pub(super) fn new() -> Self {
        Self {
            version: 0,
            cleared: Instant::now(),
            accounts: AccountCache::default(),
            readers: HashMap::new(),
        }
    }

    /// Prepares for a transaction in which the database has this version.
    pub(super) fn begin(&mut self, version: i64) {
        let is_old = self.cleared.elapsed() >= MAX_AGE;
        let is_full = self.accounts.is_full() || self.readers.len() >= MAX_ACCOUNTS;
        if self.version != version || is_old || is_full {
            self.clear();
            self.version = version;
        }
    }

    /// Handles the commit of a transaction that has changed accounts or devices.
    pub(super) const fn changed(&mut self) {
        self.version += 1;
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.cleared = Instant::now();
        self.accounts.clear();
        self.readers.clear();
    }

    /// The facts for delivering messages to a device, if they are known here.
    pub(super) fn reader(&self, device: DeviceKey) -> Option<&DeviceReader> {
        self.readers.get(&device)
    }

    pub(super) fn add_readers(&mut self, readers: Vec<(DeviceKey, DeviceReader)>) {
        self.readers.extend(readers);
    }

    /// Adds the accounts that a statement has read, in one row for each of their devices.
    pub(super) fn add(&mut self, rows: &[Row]) -> Read<()> {
        let mut read: HashMap<AccountKey, (Account, Vec<RecipientDevice>)> = HashMap::new();
        for row in rows {
            let mut columns = Columns::new(row);
            let account = columns.account()?;
            let (_, devices) = read.entry(account.key).or_insert((account, Vec::new()));
            if let Some(device) = read_device(&mut columns)?
                && !devices.iter().any(|known| known.key == device.key)
            {
                devices.push(device);
            }
        }
        for (account, mut devices) in read.into_values() {
            devices.sort_unstable_by_key(|device| device.number);
            self.accounts.add(account, devices);
        }
        Ok(())
    }
}

/// Reads a device. Reads nothing if the account has no devices.
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
        has_requests: has_requests(columns.value()?),
    }))
}

/// Age at which everything is forgotten: the day on which a device was seen is not part of the version.
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);
