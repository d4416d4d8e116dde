//! How another device is linked to an account: its owner gets a code from the primary device, and gives it to the other one in
//! a message to an address where that device waits.

use std::fmt;
use std::time::Duration;

use wormhole_chat::{DeviceId, Timestamp};
use zeroize::Zeroizing;

use super::apps::ClaimedApp;
use super::codes::CODE_LIFE;
use super::{before, day};
use crate::messaging::store::{
    Account, App, Device, DeviceColumns, LinkCode, LoginName, ProvisioningAddress, ReadRows, Rows,
    StoreError, TokenHash, WorkError,
};

/// A request to link a device with a code. `Debug` does not show the password.
pub(in crate::messaging) struct Link {
    /// The hash of the code. Codes of 128 random bits cannot be guessed.
    pub(in crate::messaging) code: TokenHash,
    /// The account.
    pub(in crate::messaging) name: LoginName,
    pub(in crate::messaging) app: ClaimedApp,
    /// The password of the new device.
    pub(in crate::messaging) password: Zeroizing<String>,
    /// Its number and its times are missing.
    pub(in crate::messaging) device: DeviceColumns,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, name, app, device: _, password: _ } = self;
        let mut shown = f.debug_struct("Link");
        shown.field("code", code).field("name", name).field("app", app).finish_non_exhaustive()
    }
}

/// Proof that a client may link a device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::messaging) enum Evidence {
    /// The code that the account has got.
    Code,
    /// No valid code, but the password of a device that was linked before. A client may have chosen one that can be guessed.
    Password,
}

/// A device that was linked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct LinkedDevice {
    pub(in crate::messaging) account: Account,
    pub(in crate::messaging) number: DeviceId,
}

/// Why a device is not linked or removed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::messaging) enum LinkRefusal {
    /// The account has no such device.
    NoSuchDevice,
    /// The account has as many devices as it may have.
    TooManyDevices,
    /// There is no such app, or the token is not the app's.
    WrongApp,
    /// The code is wrong, too old or used, or there is no such account.
    WrongCode,
}

type Linked<T> = Result<T, WorkError<LinkRefusal>>;

/// Replaces the code with which another device can be linked to an account. `code` is its hash.
///
/// # Errors
/// The account cannot have another device.
pub(in crate::messaging) fn put_code(
    rows: &mut dyn Rows,
    account: &Account,
    code: TokenHash,
    now: Timestamp,
) -> Linked<()> {
    check_capacity(&rows.devices(account.key)?)?;
    Ok(rows.put_device_code(account.key, Some(&LinkCode { hash: code, shown: now }))?)
}

impl Link {
    /// Uses up the code and creates the device. If the answer to the same request was lost before, the device exists already.
    ///
    /// # Errors
    /// There is no new device. If the account has too many, the code stays valid.
    pub(in crate::messaging) fn link(
        &self,
        rows: &mut dyn Rows,
        now: Timestamp,
    ) -> Linked<LinkedDevice> {
        let (account, evidence) = self.find(rows, now)?;
        let devices = rows.devices(account.key)?;
        // With a new code, it is another device, even if its client uses the same password for all.
        if evidence == Evidence::Password
            && let Some(number) = self.linked_before(&devices)
        {
            return Ok(LinkedDevice { account, number });
        }
        check_capacity(&devices)?;
        rows.put_device_code(account.key, None)?;
        let number =
            free_number(&devices).ok_or(WorkError::Refused(LinkRefusal::TooManyDevices))?;
        let device =
            DeviceColumns { number, created: now, last_seen: day(now), ..self.device.clone() };
        rows.insert_device(account.key, &device)?;
        Ok(LinkedDevice { account, number })
    }

    /// The account, if the code is right, or if it has linked this device before.
    ///
    /// # Errors
    /// The code is wrong, or the client may not use the app.
    pub(in crate::messaging) fn find(
        &self,
        rows: &mut dyn ReadRows,
        now: Timestamp,
    ) -> Linked<(Account, Evidence)> {
        let app = self.app.find(rows)?.ok_or(WorkError::Refused(LinkRefusal::WrongApp))?;
        let account = self.account(rows, &app)?;
        let account = account.ok_or(WorkError::Refused(LinkRefusal::WrongCode))?;
        if self.has_code(rows, &account, now)? {
            Ok((account, Evidence::Code))
        } else if self.linked_before(&rows.devices(account.key)?).is_some() {
            Ok((account, Evidence::Password))
        } else {
            Err(WorkError::Refused(LinkRefusal::WrongCode))
        }
    }

    /// Whether the code is the one that the account has got, and is still valid.
    fn has_code(
        &self,
        rows: &mut dyn ReadRows,
        account: &Account,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let code = rows.device_code(account.key)?;
        Ok(code.is_some_and(|code| {
            u128::from(now.since(code.shown)) < CODE_LIFE.as_millis()
                && code.hash.matches(&self.code)
        }))
    }

    /// The device that has this password, because it was linked with it.
    fn linked_before(&self, devices: &[Device]) -> Option<DeviceId> {
        let is_same = |device: &&Device| {
            let DeviceColumns { salt, password, number, .. } = &device.columns;
            let own = TokenHash::of(salt, self.password.as_bytes());
            *number != DeviceId::PRIMARY && password.matches(&own)
        };
        devices.iter().find(is_same).map(|device| device.columns.number)
    }

    /// The account in this app.
    fn account(&self, rows: &mut dyn ReadRows, app: &App) -> Result<Option<Account>, StoreError> {
        let accounts = match &self.name {
            LoginName::Account(id) => rows.account(*id)?.into_iter().collect(),
            LoginName::Number(number) => rows.accounts_of(number)?,
        };
        Ok(accounts.into_iter().find(|account| account.app == app.key))
    }
}

/// Removes a device of an account.
pub(in crate::messaging) fn remove_device(
    rows: &mut dyn Rows,
    account: &Account,
    number: DeviceId,
) -> Linked<()> {
    let devices = rows.devices(account.key)?;
    let device = devices.iter().find(|it| it.columns.number == number);
    let device = device.ok_or(WorkError::Refused(LinkRefusal::NoSuchDevice))?;
    Ok(rows.delete_device(device.key)?)
}

/// Stores the message for the device that waits at an address. False if none waits.
pub(in crate::messaging) fn send_provisioning(
    rows: &mut dyn Rows,
    address: ProvisioningAddress,
    message: &[u8],
    now: Timestamp,
) -> Result<bool, StoreError> {
    rows.put_provisioning_message(address, before(now, PROVISIONING_LIFE), message)
}

fn check_capacity(devices: &[Device]) -> Linked<()> {
    if devices.len() < MAX_DEVICES {
        Ok(())
    } else {
        Err(WorkError::Refused(LinkRefusal::TooManyDevices))
    }
}

/// The lowest number that no device has. Sessions with an earlier device of this number end, because the new one has
/// another registration id.
fn free_number(devices: &[Device]) -> Option<DeviceId> {
    let is_free = |number: &DeviceId| devices.iter().all(|it| it.columns.number != *number);
    (DeviceId::PRIMARY.number()..=u8::MAX).map_while(|it| DeviceId::new(it.into())).find(is_free)
}

/// How long a device waits at an address.
pub(in crate::messaging) const PROVISIONING_LIFE: Duration = Duration::from_secs(10 * 60);

/// Maximum number of devices of an account.
const MAX_DEVICES: usize = 6;

#[cfg(test)]
mod tests;
