//! Decides which keys a device may publish.

use wormhole_chat::DeviceId;

use crate::messaging::store::{Account, Device, KeySet, Rows, WorkError};

/// Why keys are not published.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::messaging) enum KeysRefusal {
    /// The account has got another identity key since the keys were checked.
    IdentityChanged,
    /// Only the primary device may choose the identity key of the account.
    OtherIdentity,
}

/// Publishes keys of a device, which are signed with this identity key.
///
/// # Errors
/// Nothing is published.
pub(in crate::messaging) fn publish(
    rows: &mut dyn Rows,
    account: Account,
    device: &Device,
    identity: &[u8],
    keys: &KeySet,
) -> Result<(), WorkError<KeysRefusal>> {
    if account.identity.as_deref() != Some(identity) {
        // All devices of an account have the same identity key, which the first one chooses.
        if device.columns.number != DeviceId::PRIMARY {
            return Err(WorkError::Refused(KeysRefusal::OtherIdentity));
        }
        // Keys that were signed with the previous identity key are useless, on all devices.
        if account.identity.is_some() {
            for device in rows.devices(account.key)? {
                rows.delete_keys(device.key)?;
            }
        }
        // A list that another key has signed says nothing about these devices.
        let device_list = account.device_list.filter(|_| account.identity.is_none());
        let identity = Some(identity.to_vec());
        rows.update_account(&Account { identity, device_list, ..account })?;
    }
    Ok(rows.put_keys(device.key, keys)?)
}

/// Publishes keys of a device that were checked against this identity key of its account.
///
/// # Errors
/// Nothing is published.
pub(in crate::messaging) fn publish_checked(
    rows: &mut dyn Rows,
    account: &Account,
    device: &Device,
    checked_against: Option<&[u8]>,
    keys: &KeySet,
) -> Result<(), WorkError<KeysRefusal>> {
    if account.identity.as_deref() != checked_against {
        return Err(WorkError::Refused(KeysRefusal::IdentityChanged));
    }
    Ok(rows.put_keys(device.key, keys)?)
}
