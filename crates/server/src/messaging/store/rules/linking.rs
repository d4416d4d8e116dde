//! How another device is linked to an account: its owner gets a code from the first device, and gives it to the other one in
//! a message to an address where that device waits.

use std::time::Duration;

use wormhole_chat::{AccountId, DeviceId, Timestamp};

use super::apps::ClaimedApp;
use super::codes::{Entered, Guesses};
use super::{before, day};
use crate::messaging::store::{
    Account, Device, DeviceColumns, LoginName, PendingCode, ProvisioningAddress, ReadRows, Rows,
    StoreError, VerificationCode, WorkError,
};

/// A request to link a device with a code.
#[derive(Debug)]
pub(in crate::messaging) struct Link {
    /// `None` if the text is not a code.
    pub(in crate::messaging) code: Option<VerificationCode>,
    pub(in crate::messaging) guesses: Guesses,
    /// The account.
    pub(in crate::messaging) name: LoginName,
    pub(in crate::messaging) app: ClaimedApp,
    /// Its number and its times are missing.
    pub(in crate::messaging) device: DeviceColumns,
}

/// A device that was linked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct LinkedDevice {
    pub(in crate::messaging) account: AccountId,
    pub(in crate::messaging) number: DeviceId,
}

/// Why a device is not linked or removed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::messaging) enum LinkRefusal {
    /// There were too many wrong codes. Another may be entered after this time.
    Limited(Duration),
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

/// Replaces the code with which another device can be linked to an account.
///
/// # Errors
/// The account cannot have another device.
pub(in crate::messaging) fn put_code(
    rows: &mut dyn Rows,
    account: &Account,
    code: VerificationCode,
    now: Timestamp,
) -> Linked<()> {
    check_room(&rows.devices(account.key)?)?;
    Ok(rows.put_device_code(account.key, Some(&PendingCode::new(code, now)))?)
}

impl Link {
    /// Uses up the code and creates the device.
    ///
    /// # Errors
    /// There is no new device. If the account has too many, the code stays valid.
    pub(in crate::messaging) fn link(
        &self,
        rows: &mut dyn Rows,
        now: Timestamp,
    ) -> Linked<LinkedDevice> {
        let app = self.app.find(rows)?.ok_or(WorkError::Refused(LinkRefusal::WrongApp))?;
        let account = self.account(rows)?.filter(|account| account.app == app.key);
        let account = account.ok_or(WorkError::Refused(LinkRefusal::WrongCode))?;
        self.check_code(rows, &account, now)?;
        let devices = rows.devices(account.key)?;
        check_room(&devices)?;
        rows.put_device_code(account.key, None)?;
        let number =
            free_number(&devices).ok_or(WorkError::Refused(LinkRefusal::TooManyDevices))?;
        let device =
            DeviceColumns { number, created: now, last_seen: day(now), ..self.device.clone() };
        rows.insert_device(account.key, &device)?;
        Ok(LinkedDevice { account: account.id, number })
    }

    fn account(&self, rows: &mut dyn ReadRows) -> Result<Option<Account>, StoreError> {
        match &self.name {
            LoginName::Account(id) => rows.account(*id),
            LoginName::Number(number) => {
                let app = self.app.find(rows)?;
                let accounts = rows.accounts_of(number)?;
                Ok(accounts
                    .into_iter()
                    .find(|it| app.as_ref().is_some_and(|app| it.app == app.key)))
            }
        }
    }

    /// Checks the code. A wrong one is counted.
    fn check_code(&self, rows: &mut dyn Rows, account: &Account, now: Timestamp) -> Linked<()> {
        let pending = rows.device_code(account.key)?;
        let refusal = match self.guesses.enter(&account.number, pending, self.code, now) {
            Entered::Right => return Ok(()),
            Entered::Limited(pause) => LinkRefusal::Limited(pause),
            Entered::Wrong(left) => {
                if let Some(left) = left {
                    rows.put_device_code(account.key, Some(&left))?;
                }
                LinkRefusal::WrongCode
            }
        };
        Err(WorkError::Refused(refusal))
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

fn check_room(devices: &[Device]) -> Linked<()> {
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

/// Most devices of an account.
const MAX_DEVICES: usize = 6;

#[cfg(test)]
mod tests;
