//! Replaces the keyring in builds that cannot use one: every call returns `KeyringUnsupported`.

use wormhole_kit::Secret;

use super::{KeyringId, KeyringKey, StoreError};

pub(super) fn create(
    _bus: Option<&str>,
    _item: &KeyringKey,
    _before: impl FnOnce() -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    Err(StoreError::KeyringUnsupported)
}

pub(super) fn read(_bus: Option<&str>, _id: KeyringId) -> Result<Secret<32>, StoreError> {
    Err(StoreError::KeyringUnsupported)
}

pub(super) fn remove(_bus: Option<&str>, _id: KeyringId) -> Result<(), StoreError> {
    Err(StoreError::KeyringUnsupported)
}
