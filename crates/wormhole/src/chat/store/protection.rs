//! Protection of a store: creating and opening it, and changing its protection.
//!
//! A new key has another name than the old one, and the old one is removed last. So at any moment there is a key that opens
//! what is in the database.

use std::path::Path;

use rand_core::OsRng;
use wormhole_disk::private;

use super::database::{self, Database};
use super::lock::Lock;
use super::master::{KeyFile, Keyring, MasterKey, ProtectionSettings, WrappedKey, Wrapping};
use super::sealing::RowKeys;
use super::{LOCK_FILE, Passphrase, Protection, ProtectionKind, Store, StoreError, database_file};

impl Store {
    /// Returns the protection of the store in this directory. `None` if there is no store.
    ///
    /// # Errors
    /// The store cannot be read or is damaged.
    pub fn protection(directory: &Path) -> Result<Option<ProtectionKind>, StoreError> {
        let path = database_file(directory);
        if !path.exists() {
            return Ok(None);
        }
        Ok(database::read_wrapped(&path)?.map(|wrapped| wrapped.kind()))
    }

    /// Creates a store, and the directory if necessary.
    ///
    /// # Errors
    /// `Exists` if there is already one. Otherwise it cannot be written, or the keyring cannot be used.
    pub fn create(directory: &Path, protection: &Protection) -> Result<Self, StoreError> {
        Self::create_with(directory, protection, &ProtectionSettings::default())
    }

    pub(super) fn create_with(
        directory: &Path,
        protection: &Protection,
        settings: &ProtectionSettings,
    ) -> Result<Self, StoreError> {
        private::create_directory(directory)?;
        let lock = Lock::take(&directory.join(LOCK_FILE))?;
        if Self::protection(directory)?.is_some() {
            return Err(StoreError::Exists);
        }
        let master = MasterKey::random(&mut OsRng);
        let wrapped = wrap(directory, &master, protection, settings)?;
        let keys = RowKeys::derive(&master);
        Database::create(&database_file(directory), &wrapped, &keys)?;
        Self::open_with(directory, lock, master, &wrapped, &settings.keyring)
    }

    /// Opens a store. The passphrase is ignored if something else protects the store. If the keyring of the desktop does and is
    /// locked, the desktop may ask the user to unlock it.
    ///
    /// # Errors
    /// `NotFound`, `InUse` by another process, `PassphraseNeeded`, `WrongPassphrase`, `KeyFileMissing`, one of those about
    /// the keyring, or the store is damaged or cannot be read. Nothing has changed.
    pub fn open(directory: &Path, passphrase: Option<&Passphrase>) -> Result<Self, StoreError> {
        Self::open_from(directory, passphrase, &Keyring::default())
    }

    pub(super) fn open_from(
        directory: &Path,
        passphrase: Option<&Passphrase>,
        keyring: &Keyring,
    ) -> Result<Self, StoreError> {
        let path = database_file(directory);
        if !path.exists() {
            return Err(StoreError::NotFound);
        }
        let lock = Lock::take(&directory.join(LOCK_FILE))?;
        let wrapped = database::read_wrapped(&path)?.ok_or(StoreError::NotFound)?;
        let master = match wrapped.wrapping() {
            Wrapping::KeyFile(id) => wrapped.open_with_file(&KeyFile::read(directory, *id)?)?,
            Wrapping::Keyring(id) => wrapped.open_with_keyring(&keyring.read(*id)?)?,
            Wrapping::Passphrase { .. } => {
                wrapped.open_with_passphrase(passphrase.ok_or(StoreError::PassphraseNeeded)?)?
            }
        };
        Self::open_with(directory, lock, master, &wrapped, keyring)
    }

    /// Changes what opens the store. The rows stay as they are, so someone who knows the old passphrase and has an
    /// old copy of the file can read a newer copy, too.
    ///
    /// # Errors
    /// The store cannot be written, or the keyring cannot be used. Either the old protection or the new one opens it.
    pub fn set_protection(&self, protection: &Protection) -> Result<(), StoreError> {
        self.set_protection_with(protection, &ProtectionSettings::default())
    }

    pub(super) fn set_protection_with(
        &self,
        protection: &Protection,
        settings: &ProtectionSettings,
    ) -> Result<(), StoreError> {
        let wrapped = wrap(&self.directory, &self.master, protection, settings)?;
        self.database.replace_wrapped(&wrapped)?;
        remove_other_keys(&self.directory, &wrapped, &settings.keyring)
    }
}

/// Wraps the master key. If a key file or the keyring protects it, makes a new key there.
pub(super) fn wrap(
    directory: &Path,
    master: &MasterKey,
    protection: &Protection,
    settings: &ProtectionSettings,
) -> Result<WrappedKey, StoreError> {
    match protection {
        Protection::KeyFile => {
            let file = KeyFile::create(directory, &mut OsRng)?;
            WrappedKey::with_file(master, &file, &mut OsRng)
        }
        Protection::Keyring => {
            let item = settings.keyring.create(directory, &mut OsRng)?;
            WrappedKey::with_keyring(master, &item, &mut OsRng)
        }
        Protection::Passphrase(passphrase) => {
            WrappedKey::with_passphrase(master, passphrase, settings.cost, &mut OsRng)
        }
    }
}

/// Removes all keys of the store except for the one that opens the wrapped key.
pub(super) fn remove_other_keys(
    directory: &Path,
    wrapped: &WrappedKey,
    keyring: &Keyring,
) -> Result<(), StoreError> {
    KeyFile::remove_others(directory, wrapped.key_file())?;
    keyring.remove_others(directory, wrapped.keyring_key())
}
