//! Keys in the keyring of the desktop, such as GNOME Keyring.
//!
//! A key is an item of the user's default keyring. Before an item is made, an empty file next to the database takes its
//! name. So an interrupted change leaves no unknown item behind: when the store is opened again, items that it
//! does not need are removed, and then their files.

#[cfg(all(feature = "keyring", target_os = "linux"))]
mod agreement;
#[cfg(all(feature = "keyring", target_os = "linux"))]
#[path = "keyring/secret_service.rs"]
mod service;
#[cfg(not(all(feature = "keyring", target_os = "linux")))]
#[path = "keyring/unsupported.rs"]
mod service;

use std::fs;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use rand_core::CryptoRngCore;
use wormhole_disk::private;
use wormhole_kit::Secret;

use super::super::StoreError;
use super::random_secret;

/// The name of an item. Each new item has another one, so a new item never replaces one that is still needed.
pub(in super::super) type KeyringId = [u8; 8];

/// The keyring of the desktop.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Keyring {
    /// The D-Bus address of its session bus. `None`: that of the user.
    bus: Option<String>,
}

/// A key in the keyring.
#[derive(Debug)]
pub(in super::super) struct KeyringKey {
    pub(super) id: KeyringId,
    pub(super) key: Secret<32>,
}

impl Keyring {
    /// The keyring on another session bus.
    #[cfg(all(test, feature = "keyring", target_os = "linux"))]
    pub(in super::super) fn at(bus: &str) -> Self {
        Self { bus: Some(bus.to_owned()) }
    }

    /// Makes a new item for the store in a directory.
    ///
    /// # Errors
    /// The keyring cannot be used, or is not unlocked. Perhaps the item exists.
    pub(in super::super) fn create(
        &self,
        directory: &Path,
        rng: &mut impl CryptoRngCore,
    ) -> Result<KeyringKey, StoreError> {
        let mut id = [0; 8];
        rng.fill_bytes(&mut id);
        let item = KeyringKey { id, key: random_secret(rng) };
        let name = path(directory, &id);
        service::create(self.bus.as_deref(), &item, || Ok(private::write_new(&name, &[])?))?;
        Ok(item)
    }

    /// Reads an item. The desktop may ask the user to unlock the keyring.
    ///
    /// # Errors
    /// `KeyringKeyMissing` if there is no such item. The keyring cannot be used, or is not unlocked.
    pub(in super::super) fn read(&self, id: KeyringId) -> Result<KeyringKey, StoreError> {
        Ok(KeyringKey { id, key: service::read(self.bus.as_deref(), id)? })
    }

    /// Removes all items of the store in a directory except for this one. Those that cannot be removed now, because the keyring
    /// is locked or cannot be reached, are removed another time.
    ///
    /// # Errors
    /// The directory cannot be read or written.
    pub(in super::super) fn remove_others(
        &self,
        directory: &Path,
        kept: Option<KeyringId>,
    ) -> Result<(), StoreError> {
        for entry in fs::read_dir(directory)? {
            let file = entry?.path();
            let Some(id) = named_by(&file).filter(|id| Some(*id) != kept) else { continue };
            if service::remove(self.bus.as_deref(), id).is_ok() {
                fs::remove_file(file)?;
            }
        }
        Ok(())
    }
}

/// The item that a file names.
fn named_by(file: &Path) -> Option<KeyringId> {
    let name = file.file_stem().and_then(|name| name.to_str())?;
    let id = HEXLOWER.decode(name.as_bytes()).ok()?.try_into().ok()?;
    let is_ours = file.extension()? == EXTENSION && file.metadata().ok()?.len() == 0;
    is_ours.then_some(id)
}

fn path(directory: &Path, id: &KeyringId) -> PathBuf {
    directory.join(format!("{}.{EXTENSION}", HEXLOWER.encode(id)))
}

/// The end of the names of the files.
const EXTENSION: &str = "keyring";
