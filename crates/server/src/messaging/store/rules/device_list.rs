//! The signed list of an account's devices. Only the devices of the account can say whether a list is right, so the newest one is
//! stored as it is; two devices that change it at once do not overwrite each other's list.

use wormhole_chat::AccountId;

use crate::messaging::store::{Account, Rows, StoredDeviceList, WorkError};

/// Why a list is not stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) enum ListRefusal {
    /// The account has this list, not the one that the device has read.
    Conflict(Option<StoredDeviceList>),
    /// It names another account.
    OtherAccount,
}

/// Replaces the list with the revision `previous` by one that names the account `of`; `None` stands for no list. The same list again
/// changes nothing.
///
/// # Errors
/// The account has another list, or the new one is that of another account.
pub(in crate::messaging) fn replace(
    rows: &mut dyn Rows,
    account: Account,
    previous: Option<i64>,
    (of, new): (AccountId, StoredDeviceList),
) -> Result<(), WorkError<ListRefusal>> {
    if of != account.id {
        return Err(WorkError::Refused(ListRefusal::OtherAccount));
    }
    if account.device_list.as_ref() == Some(&new) {
        return Ok(());
    }
    if account.device_list.as_ref().map(|list| list.revision) != previous {
        return Err(WorkError::Refused(ListRefusal::Conflict(account.device_list)));
    }
    Ok(rows.update_account(&Account { device_list: Some(new), ..account })?)
}
