//! The master key of a store, and what opens it: a passphrase, a key file, or a key in the keyring of the desktop.
//!
//! Only the wrapped master key is in the database. A new passphrase wraps the same master key again.

mod key_file;
mod keyring;
mod wrapped;

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use rand_core::CryptoRngCore;
use wormhole_kit::{Reader, Secret};
use zeroize::Zeroizing;

use super::StoreError;

pub(super) use key_file::KeyFile;
pub(super) use keyring::Keyring;
pub(super) use wrapped::{WrappedKey, Wrapping};

/// The secret that opens a store.
#[derive(Debug)]
#[non_exhaustive]
pub enum Protection {
    /// A random key in a file next to the database, which only the user can read. Anyone who can read the user's
    /// files can read the store.
    KeyFile,
    /// A random key in the keyring of the desktop. Anyone who can use the keyring while it is unlocked can read the store.
    /// Only on Linux, and with the feature `keyring`: otherwise it fails with `KeyringUnsupported`.
    Keyring,
    /// A passphrase. Without it, nobody can read the store, not even its owner.
    Passphrase(Passphrase),
}

/// The kind of a [`Protection`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ProtectionKind {
    /// A key file.
    KeyFile,
    /// A key in the keyring of the desktop.
    Keyring,
    /// A passphrase.
    Passphrase,
}

/// A passphrase. It is wiped from memory when it is dropped, and not printed.
pub struct Passphrase(Zeroizing<String>);

impl From<String> for Passphrase {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl From<Zeroizing<String>> for Passphrase {
    fn from(text: Zeroizing<String>) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

/// The random key from which the keys for rows are derived.
#[derive(Debug)]
pub(super) struct MasterKey(Secret<32>);

impl MasterKey {
    pub(super) fn random(rng: &mut impl CryptoRngCore) -> Self {
        Self(random_secret(rng))
    }

    pub(super) const fn secret(&self) -> &Secret<32> {
        &self.0
    }
}

/// How a protection is made: the cost of a passphrase, and which keyring. Tests use others.
#[derive(Clone, Debug)]
pub(super) struct ProtectionSettings {
    pub(super) cost: Cost,
    pub(super) keyring: Keyring,
}

impl Default for ProtectionSettings {
    fn default() -> Self {
        Self { cost: Cost::DEFAULT, keyring: Keyring::default() }
    }
}

/// How much work a passphrase costs (RFC 9106).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Cost {
    /// The second recommended choice of RFC 9106: 64 MiB and 3 passes.
    pub(super) const DEFAULT: Self = Self { memory_kib: 64 << 10, passes: 3, lanes: 4 };

    /// For tests.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) const LEAST: Self = Self { memory_kib: 8, passes: 1, lanes: 1 };

    fn encode(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        let parts = [self.memory_kib, self.passes, self.lanes].map(u32::to_be_bytes);
        bytes.iter_mut().zip(parts.as_flattened()).for_each(|(to, from)| *to = *from);
        bytes
    }

    /// Reads a cost within limits, so that a changed file cannot use all memory.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, StoreError> {
        let (memory_kib, passes, lanes) = (reader.u32_be()?, reader.u32_be()?, reader.u32_be()?);
        let is_allowed = memory_kib <= MAX_MEMORY_KIB
            && (1..=MAX_PASSES).contains(&passes)
            && (1..=MAX_LANES).contains(&lanes)
            && memory_kib >= MEMORY_KIB_PER_LANE.saturating_mul(lanes);
        is_allowed.then_some(Self { memory_kib, passes, lanes }).ok_or(StoreError::Damaged)
    }

    /// Derives a key from a passphrase: slow on purpose.
    fn stretch(self, passphrase: &Passphrase, salt: &[u8]) -> Result<Secret<32>, StoreError> {
        let mut key = Zeroizing::new([0; 32]);
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(key.len()));
        let argon = Argon2::new(
            Algorithm::Argon2id,
            Version::V0x13,
            params.map_err(|_| StoreError::Damaged)?,
        );
        let derived = argon.hash_password_into(passphrase.0.as_bytes(), salt, &mut *key);
        derived.map_err(|_| StoreError::Damaged)?;
        Ok(Secret::new(*key))
    }
}

fn random_secret(rng: &mut impl CryptoRngCore) -> Secret<32> {
    let mut bytes = Zeroizing::new([0; 32]);
    rng.fill_bytes(&mut *bytes);
    Secret::new(*bytes)
}

/// Maximum memory for a passphrase: 1 GiB.
const MAX_MEMORY_KIB: u32 = 1 << 20;

/// Maximum number of passes over the memory.
const MAX_PASSES: u32 = 64;

/// Maximum number of lanes.
const MAX_LANES: u32 = 16;

/// Minimum memory for each lane (RFC 9106, section 3.1).
const MEMORY_KIB_PER_LANE: u32 = 8;
