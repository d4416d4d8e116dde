//! Reads accounts and devices, unless they were used recently. This process alone changes the database, so they are
//! forgotten only when a row is written.

use rusqlite::{Connection, Result};
use wormhole_chat::service::Destination;

use super::{accounts, devices};
use crate::messaging::store::cache::AccountCache;
use crate::messaging::store::tables::{Owner, RecipientDevice};
use crate::messaging::store::{Account, AccountKey, DeviceKey};

/// The account that a destination means.
pub(super) fn resolve(
    cache: &mut AccountCache,
    database: &Connection,
    destination: &Destination,
) -> Result<Option<Account>> {
    if let Some(account) = cache.resolve(destination) {
        return Ok(Some(account.clone()));
    }
    let account = accounts::resolve(database, destination)?;
    if let Some(account) = &account {
        add(cache, database, account)?;
        if let Destination::Username(name) = destination {
            cache.add_username(name.clone(), account.key);
        }
    }
    Ok(account)
}

/// The devices of an account.
pub(super) fn recipients(
    cache: &mut AccountCache,
    database: &Connection,
    account: AccountKey,
) -> Result<Vec<RecipientDevice>> {
    if let Some(devices) = cache.devices(account) {
        return Ok(devices.to_vec());
    }
    match accounts::account_at(database, account)? {
        Some(account) => add(cache, database, &account),
        None => Ok(Vec::new()),
    }
}

/// The account and the number of a device.
pub(super) fn owner(
    cache: &mut AccountCache,
    database: &Connection,
    device: DeviceKey,
) -> Result<Option<Owner>> {
    if let Some(owner) = cache.owner(device) {
        return Ok(Some(owner));
    }
    let owner = devices::owner(database, device)?;
    if let Some(owner) = &owner {
        add(cache, database, &owner.account)?;
    }
    Ok(owner)
}

/// Adds an account; returns its devices.
fn add(
    cache: &mut AccountCache,
    database: &Connection,
    account: &Account,
) -> Result<Vec<RecipientDevice>> {
    if cache.is_full() {
        cache.clear();
    }
    let devices = devices::recipients(database, account.key)?;
    cache.add(account.clone(), devices.clone());
    Ok(devices)
}
