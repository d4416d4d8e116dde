//! Registration: a client that enters the code that was sent to a number gets an account.

use std::net::IpAddr;
use std::time::Duration;

use wormhole_chat::service::PhoneNumber;
use wormhole_chat::{AccountId, Timestamp};

use super::apps::ClaimedApp;
use super::codes::{Entered, Guesses};
use super::day;
use crate::messaging::store::{
    Access, AccessChoice, Account, DeviceColumns, NetworkHash, NewAccount, PendingCode, Rows,
    StoreError, VerificationCode, WorkError,
};

/// A request to confirm a code.
#[derive(Debug)]
pub(in crate::messaging) struct Registration {
    pub(in crate::messaging) code: VerificationCode,
    pub(in crate::messaging) guesses: Guesses,
    pub(in crate::messaging) number: PhoneNumber,
    pub(in crate::messaging) app: ClaimedApp,
    pub(in crate::messaging) rejects_registered: bool,
    /// The id of the account if it is new.
    pub(in crate::messaging) id: AccountId,
    /// The primary device. Its times are missing.
    pub(in crate::messaging) device: DeviceColumns,
    pub(in crate::messaging) directory: DirectoryChoice,
    pub(in crate::messaging) access: AccessChoice,
}

/// The choices of the owner of an account about the directory. A field that is `None` stays as it is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(in crate::messaging) struct DirectoryChoice {
    pub(in crate::messaging) is_discoverable: Option<bool>,
    pub(in crate::messaging) shows_app: Option<bool>,
}

/// Why a number is not registered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::messaging) enum RegistrationRefusal {
    /// There were too many wrong codes. Another may be entered after this time.
    Limited(Duration),
    /// The number has an account in this app, and gets no other one.
    Registered,
    /// There is no such app, or the token is not the app's.
    WrongApp,
    /// The code is wrong, too old or used.
    WrongCode,
}

type Registered<T> = Result<T, WorkError<RegistrationRefusal>>;

/// A code for a number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct ChosenCode {
    pub(in crate::messaging) code: VerificationCode,
    /// False if it was sent before and is still valid.
    pub(in crate::messaging) is_new: bool,
}

/// Chooses the code for a number. While an earlier one is valid, it stays the same: a stranger who asks for a code does
/// not make the owner's useless. The network of the client that asks gets guesses of its own.
pub(in crate::messaging) fn choose_code(
    rows: &mut dyn Rows,
    number: &PhoneNumber,
    asker: IpAddr,
    new: VerificationCode,
    now: Timestamp,
) -> Result<ChosenCode, StoreError> {
    let earlier = rows.pending_code(number)?.filter(|code| code.is_valid(now));
    let is_new = earlier.is_none();
    let new = PendingCode::new(new, now);
    let mut pending = earlier.map_or(new, |earlier| PendingCode { sent: now, ..earlier });
    pending.askers.add(NetworkHash::of(number, asker));
    rows.put_pending_code(number, Some(&pending))?;
    Ok(ChosenCode { code: pending.code, is_new })
}

impl Registration {
    /// Uses up the code and creates the account, or replaces its devices.
    ///
    /// # Errors
    /// The account is as it was.
    pub(in crate::messaging) fn register(
        &self,
        rows: &mut dyn Rows,
        now: Timestamp,
    ) -> Registered<Account> {
        let app = self.app.find(rows)?;
        let app = app.ok_or(WorkError::Refused(RegistrationRefusal::WrongApp))?;
        self.use_code(rows, now)?;
        let accounts = rows.accounts_of(&self.number)?;
        let is_default = becomes_default(&accounts, now);
        let account = match accounts.into_iter().find(|account| account.app == app.key) {
            Some(_) if self.rejects_registered => {
                return Err(WorkError::Refused(RegistrationRefusal::Registered));
            }
            Some(account) => self.renew(rows, account, is_default, now)?,
            None => self.insert(
                rows,
                &NewAccount {
                    id: self.id,
                    app: app.key,
                    number: self.number.clone(),
                    is_default,
                    is_discoverable: self.directory.is_discoverable.unwrap_or(true),
                    shows_app: self.directory.shows_app.unwrap_or(false),
                    created: now,
                },
            )?,
        };
        let device = DeviceColumns { created: now, last_seen: day(now), ..self.device.clone() };
        rows.insert_device(account.key, &device)?;
        Ok(account)
    }

    fn insert(&self, rows: &mut dyn Rows, new: &NewAccount) -> Result<Account, StoreError> {
        let mut account = rows.insert_account(new)?;
        if self.access.apply_to(&mut account.access) {
            rows.update_account(&account)?;
        }
        Ok(account)
    }

    /// Removes the devices of an account whose number was verified again. What its owner has decided about the
    /// directory stays, unless the request says something else.
    fn renew(
        &self,
        rows: &mut dyn Rows,
        mut account: Account,
        is_default: bool,
        now: Timestamp,
    ) -> Result<Account, StoreError> {
        for device in rows.devices(account.key)? {
            rows.delete_device(device.key)?;
        }
        // The previous owner of the number may have asked for it.
        rows.put_device_code(account.key, None)?;
        rows.put_profile(account.key, None)?;
        self.directory.apply_to(&mut account);
        account.identity = None;
        account.device_list = None;
        // Others may have the access key of the previous owner.
        account.access = Access::default();
        self.access.apply_to(&mut account.access);
        account.is_default |= is_default;
        account.verified = now;
        rows.update_account(&account)?;
        Ok(account)
    }

    /// Checks the code. A right one is removed, a wrong one counted.
    fn use_code(&self, rows: &mut dyn Rows, now: Timestamp) -> Registered<()> {
        let pending = rows.pending_code(&self.number)?;
        let refusal = match self.guesses.enter(&self.number, pending, self.code, now) {
            Entered::Right => return Ok(rows.put_pending_code(&self.number, None)?),
            Entered::Limited(pause) => RegistrationRefusal::Limited(pause),
            Entered::Wrong(left) => {
                if let Some(left) = left {
                    rows.put_pending_code(&self.number, Some(&left))?;
                }
                RegistrationRefusal::WrongCode
            }
        };
        Err(WorkError::Refused(refusal))
    }
}

impl DirectoryChoice {
    /// Changes an account; returns whether anything is different.
    pub(in crate::messaging) fn apply_to(self, account: &mut Account) -> bool {
        let before = (account.is_discoverable, account.shows_app);
        account.is_discoverable = self.is_discoverable.unwrap_or(account.is_discoverable);
        account.shows_app = self.shows_app.unwrap_or(account.shows_app);
        before != (account.is_discoverable, account.shows_app)
    }
}

/// Whether a number that is verified now means the account in which it is verified.
fn becomes_default(accounts: &[Account], now: Timestamp) -> bool {
    accounts
        .iter()
        .find(|account| account.is_default)
        .is_none_or(|default| u128::from(now.since(default.verified)) > TRUST_IN_NUMBER.as_millis())
}

/// Removes an account. Another account of the number then receives what is sent to the bare number.
pub(in crate::messaging) fn delete_account(
    rows: &mut dyn Rows,
    account: &Account,
) -> Result<(), StoreError> {
    rows.delete_account(account.key)?;
    let mut others = rows.accounts_of(&account.number)?;
    if let (true, Some(next)) = (account.is_default, others.first_mut()) {
        next.is_default = true;
        rows.update_account(next)?;
    }
    Ok(())
}

/// How long messages to a bare number go to the account that was verified first. A number that is registered in another
/// app later may have another owner by then: operators give numbers to other people after some months.
const TRUST_IN_NUMBER: Duration = Duration::from_secs(30 * 24 * 60 * 60);

#[cfg(test)]
pub(super) mod tests;
