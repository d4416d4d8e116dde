//! The wrapped master key, as it is in the database.
//!
//! | bytes | content |
//! |---|---|
//! | 1 | format, `01` |
//! | 1 | `01`: a key file opens it, `02`: a passphrase, `03`: a key in the keyring |
//! | 8 | of a key file, and of a key in the keyring: its name |
//! | 16, 4, 4, 4 | of a passphrase: salt, memory in KiB, passes, lanes |
//! | 24 | nonce |
//! | 48 | the master key, sealed with XChaCha20-Poly1305. Everything before the nonce is associated data |

use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use rand_core::CryptoRngCore;
use wormhole_kit::{Reader, Secret};
use zeroize::Zeroizing;

use super::super::StoreError;
use super::key_file::{KeyFile, KeyFileId};
use super::keyring::{KeyringId, KeyringKey};
use super::{Cost, MasterKey, Passphrase, ProtectionKind};

/// A wrapped master key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in super::super) struct WrappedKey {
    wrapping: Wrapping,
    nonce: [u8; NONCE],
    sealed: [u8; SEALED],
}

/// The secret that opens a wrapped key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in super::super) enum Wrapping {
    /// The key file with this name.
    KeyFile(KeyFileId),
    /// The key with this name in the keyring.
    Keyring(KeyringId),
    /// A passphrase.
    Passphrase {
        /// Random.
        salt: [u8; SALT],
        /// The cost of an attempt.
        cost: Cost,
    },
}

impl Wrapping {
    /// Encodes everything before the nonce.
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::KeyFile(id) => [&[FORMAT, KEY_FILE], &id[..]].concat(),
            Self::Keyring(id) => [&[FORMAT, KEYRING], &id[..]].concat(),
            Self::Passphrase { salt, cost } => {
                [&[FORMAT, PASSPHRASE], &salt[..], &cost.encode()].concat()
            }
        }
    }
}

impl WrappedKey {
    /// Wraps a master key so that a key file opens it.
    pub(in super::super) fn with_file(
        master: &MasterKey,
        file: &KeyFile,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Self, StoreError> {
        Self::wrap(master, Wrapping::KeyFile(file.id), &file.key, rng)
    }

    /// Wraps a master key so that a key in the keyring opens it.
    pub(in super::super) fn with_keyring(
        master: &MasterKey,
        item: &KeyringKey,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Self, StoreError> {
        Self::wrap(master, Wrapping::Keyring(item.id), &item.key, rng)
    }

    /// Wraps a master key so that a passphrase opens it.
    pub(in super::super) fn with_passphrase(
        master: &MasterKey,
        passphrase: &Passphrase,
        cost: Cost,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Self, StoreError> {
        let mut salt = [0; SALT];
        rng.fill_bytes(&mut salt);
        let key = cost.stretch(passphrase, &salt)?;
        Self::wrap(master, Wrapping::Passphrase { salt, cost }, &key, rng)
    }

    fn wrap(
        master: &MasterKey,
        wrapping: Wrapping,
        key: &Secret<32>,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Self, StoreError> {
        let mut nonce = [0; NONCE];
        rng.fill_bytes(&mut nonce);
        let payload = Payload { msg: master.secret().expose(), aad: &wrapping.encode() };
        let cipher = XChaCha20Poly1305::new(key.expose().into());
        let sealed = cipher.encrypt(XNonce::from_slice(&nonce), payload).ok();
        let sealed = sealed.and_then(|sealed| sealed.try_into().ok());
        Ok(Self { wrapping, nonce, sealed: sealed.ok_or(StoreError::Damaged)? })
    }

    /// Unwraps the master key with a key file.
    ///
    /// # Errors
    /// `KeyFileMissing` if the file belongs to another store.
    pub(in super::super) fn open_with_file(&self, file: &KeyFile) -> Result<MasterKey, StoreError> {
        self.open(&file.key).ok_or(StoreError::KeyFileMissing)
    }

    /// Unwraps the master key with a key in the keyring.
    ///
    /// # Errors
    /// `KeyringKeyMissing` if the key belongs to another store.
    pub(in super::super) fn open_with_keyring(
        &self,
        item: &KeyringKey,
    ) -> Result<MasterKey, StoreError> {
        self.open(&item.key).ok_or(StoreError::KeyringKeyMissing)
    }

    /// Unwraps the master key with a passphrase.
    ///
    /// # Errors
    /// `WrongPassphrase`.
    pub(in super::super) fn open_with_passphrase(
        &self,
        passphrase: &Passphrase,
    ) -> Result<MasterKey, StoreError> {
        let Wrapping::Passphrase { salt, cost } = &self.wrapping else {
            return Err(StoreError::WrongPassphrase);
        };
        self.open(&cost.stretch(passphrase, salt)?).ok_or(StoreError::WrongPassphrase)
    }

    fn open(&self, key: &Secret<32>) -> Option<MasterKey> {
        let payload = Payload { msg: &self.sealed, aad: &self.wrapping.encode() };
        let cipher = XChaCha20Poly1305::new(key.expose().into());
        let master = cipher.decrypt(XNonce::from_slice(&self.nonce), payload).ok()?;
        let master = Zeroizing::new(master);
        let master = Zeroizing::new(<[u8; 32]>::try_from(master.as_slice()).ok()?);
        Some(MasterKey(Secret::new(*master)))
    }

    /// The secret that opens it.
    pub(in super::super) const fn wrapping(&self) -> &Wrapping {
        &self.wrapping
    }

    /// The kind of what opens it.
    pub(in super::super) const fn kind(&self) -> ProtectionKind {
        match self.wrapping {
            Wrapping::KeyFile(_) => ProtectionKind::KeyFile,
            Wrapping::Keyring(_) => ProtectionKind::Keyring,
            Wrapping::Passphrase { .. } => ProtectionKind::Passphrase,
        }
    }

    /// The key file that opens it, if any.
    pub(in super::super) const fn key_file(&self) -> Option<KeyFileId> {
        match self.wrapping {
            Wrapping::KeyFile(id) => Some(id),
            Wrapping::Keyring(_) | Wrapping::Passphrase { .. } => None,
        }
    }

    /// The key in the keyring that opens it, if any.
    pub(in super::super) const fn keyring_key(&self) -> Option<KeyringId> {
        match self.wrapping {
            Wrapping::Keyring(id) => Some(id),
            Wrapping::KeyFile(_) | Wrapping::Passphrase { .. } => None,
        }
    }

    /// Encodes it for the database.
    pub(in super::super) fn encode(&self) -> Vec<u8> {
        [&self.wrapping.encode(), &self.nonce[..], &self.sealed].concat()
    }

    /// Decodes it.
    ///
    /// # Errors
    /// `UnknownFormat` or `Damaged`.
    pub(in super::super) fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != FORMAT {
            return Err(StoreError::UnknownFormat);
        }
        let wrapping = match reader.u8()? {
            KEY_FILE => Wrapping::KeyFile(reader.array()?),
            KEYRING => Wrapping::Keyring(reader.array()?),
            PASSPHRASE => {
                let salt = reader.array()?;
                Wrapping::Passphrase { salt, cost: Cost::decode(&mut reader)? }
            }
            _ => return Err(StoreError::UnknownFormat),
        };
        let wrapped = Self { wrapping, nonce: reader.array()?, sealed: reader.array()? };
        if reader.is_empty() { Ok(wrapped) } else { Err(StoreError::Damaged) }
    }
}

/// First byte of a wrapped key.
const FORMAT: u8 = 1;

/// A key file opens the wrapped key.
const KEY_FILE: u8 = 1;

/// A passphrase opens the wrapped key.
const PASSPHRASE: u8 = 2;

/// A key in the keyring opens the wrapped key.
const KEYRING: u8 = 3;

/// Length of a salt.
const SALT: usize = 16;

/// Length of a nonce.
const NONCE: usize = 24;

/// Length of the sealed master key with its tag.
const SEALED: usize = 48;
