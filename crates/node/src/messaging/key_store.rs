//! The keys that the owner of a messenger has: pairs, and shared ones, each under a random name.
//!
//! They are in memory only and leave it nowhere; whoever wants them back after a restart adds them
//! again.

use std::collections::BTreeMap;
use std::fmt;

use data_encoding::HEXLOWER;
use rand_core::{CryptoRngCore, OsRng};
use wormhole_kit::Secret;
use wormhole_whisper::{
    devp2p::key::PrivateKey,
    shh::{SymmetricKey, seal::ZeroKey},
};

/// The name of a key: random, says nothing about it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyId([u8; 32]);

impl KeyId {
    /// Reads what [`Display`](fmt::Display) writes.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = HEXLOWER.decode(text.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }

    fn random(rng: &mut impl CryptoRngCore) -> Self {
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        Self(bytes)
    }
}

/// 64 lower-case hexadecimal digits.
impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// 32 bytes that several people share. All zero, it is kept but cannot be used.
#[derive(Clone, Debug)]
pub struct RawSymmetricKey(Secret<32>);

impl RawSymmetricKey {
    /// Takes 32 bytes as a key.
    pub const fn new(secret: Secret<32>) -> Self {
        Self(secret)
    }

    /// Draws a key.
    pub fn random() -> Self {
        Self(SymmetricKey::random(&mut OsRng).secret().clone())
    }

    /// The bytes.
    pub const fn secret(&self) -> &Secret<32> {
        &self.0
    }

    /// The key, ready for use.
    ///
    /// # Errors
    /// It is all zero.
    pub fn to_symmetric_key(&self) -> Result<SymmetricKey, ZeroKey> {
        SymmetricKey::new(self.0.clone())
    }
}

/// Keys of one kind by their names.
#[derive(Debug)]
pub(super) struct Keys<K>(BTreeMap<KeyId, K>);

impl<K: Clone> Keys<K> {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Takes a key in. The same key may come twice, under two names.
    pub(super) fn add(&mut self, key: K) -> Result<KeyId, TooManyKeys> {
        if self.0.len() >= MAX_KEYS {
            return Err(TooManyKeys);
        }
        let id = KeyId::random(&mut OsRng);
        self.0.insert(id, key);
        Ok(id)
    }

    pub(super) fn find(&self, id: &KeyId) -> Option<K> {
        self.0.get(id).cloned()
    }

    pub(super) fn remove(&mut self, id: &KeyId) -> bool {
        self.0.remove(id).is_some()
    }
}

/// The pairs and the shared keys.
#[derive(Debug)]
pub(super) struct KeyStore {
    pub(super) pairs: Keys<PrivateKey>,
    pub(super) shared: Keys<RawSymmetricKey>,
}

impl KeyStore {
    pub(super) const fn new() -> Self {
        Self { pairs: Keys::new(), shared: Keys::new() }
    }
}

/// There are as many keys of this kind as there may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("too many keys: the limit is {MAX_KEYS}")]
pub struct TooManyKeys;

/// Why there is no key of a password.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordError {
    /// The runtime is ending.
    #[error("no thread to make the key on")]
    NoThread,
    /// There are too many keys; remove some.
    #[error(transparent)]
    TooMany(#[from] TooManyKeys),
}

/// Most keys of one kind: some megabytes.
pub const MAX_KEYS: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_and_only_as_it_is_written() {
        let id = KeyId::random(&mut OsRng);
        assert_eq!(KeyId::parse(&id.to_string()), Some(id));
        assert_eq!(KeyId::parse(&id.to_string()[..62]), None);
        assert_eq!(KeyId::parse(&"AB".repeat(32)), None);
    }

    #[test]
    fn a_key_of_zeros_is_kept_but_cannot_be_used() {
        let mut keys = Keys::new();
        let id = keys.add(RawSymmetricKey::new(Secret::new([0; 32]))).unwrap();
        assert!(keys.find(&id).unwrap().to_symmetric_key().is_err());
        assert!(keys.remove(&id) && !keys.remove(&id));
    }

    #[test]
    fn there_is_a_limit_to_keys() {
        let mut keys = Keys::new();
        for _ in 0..MAX_KEYS {
            keys.add(()).unwrap();
        }
        assert_eq!(keys.add(()), Err(TooManyKeys));
    }

    #[test]
    fn no_key_prints() {
        let ring = KeyStore::new();
        let mut keys = Keys::new();
        keys.add(RawSymmetricKey::new(Secret::new([0x41; 32]))).unwrap();
        assert!(!format!("{ring:?} {keys:?}").contains("41, 41"));
    }
}
