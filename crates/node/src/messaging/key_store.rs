//! The keys of a messenger: key pairs and symmetric keys, each with a random id.
//!
//! They exist in memory only. After a restart, clients must add them again.

use std::collections::BTreeMap;
use std::fmt;

use data_encoding::HEXLOWER;
use rand_core::{CryptoRngCore, OsRng};
use wormhole_kit::Secret;
use wormhole_whisper::{
    devp2p::key::PrivateKey,
    shh::{SymmetricKey, seal::ZeroKey},
};

/// The id of a key. It is random.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyId([u8; 32]);

impl KeyId {
    /// Parses what [`Display`](fmt::Display) writes.
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

/// 32 bytes of a symmetric key. A key of zeros can be stored, but not used.
#[derive(Clone, Debug)]
pub struct RawSymmetricKey(Secret<32>);

impl RawSymmetricKey {
    /// From 32 bytes.
    pub const fn new(secret: Secret<32>) -> Self {
        Self(secret)
    }

    /// Creates a random key.
    pub fn random() -> Self {
        Self(SymmetricKey::random(&mut OsRng).secret().clone())
    }

    /// The bytes.
    pub const fn secret(&self) -> &Secret<32> {
        &self.0
    }

    /// The key for encryption.
    ///
    /// # Errors
    /// All bytes are zero.
    pub fn to_symmetric_key(&self) -> Result<SymmetricKey, ZeroKey> {
        SymmetricKey::new(self.0.clone())
    }
}

/// Keys of one kind by their ids.
#[derive(Debug)]
pub(super) struct Keys<K>(BTreeMap<KeyId, K>);

impl<K: Clone> Keys<K> {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Adds a key. The same key can be added again, under another id.
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

/// The key pairs and the symmetric keys.
#[derive(Debug)]
pub(super) struct KeyStore {
    pub(super) key_pairs: Keys<PrivateKey>,
    pub(super) symmetric: Keys<RawSymmetricKey>,
}

impl KeyStore {
    pub(super) const fn new() -> Self {
        Self { key_pairs: Keys::new(), symmetric: Keys::new() }
    }
}

/// The limit of keys of this kind is reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("too many keys: the limit is {MAX_KEYS}")]
pub struct TooManyKeys;

/// Why the key of a password was not added.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PasswordError {
    /// The runtime is shutting down.
    #[error("key of the password was not computed: the node is stopping")]
    NoThread,
    /// The limit is reached; remove keys first.
    #[error(transparent)]
    TooMany(#[from] TooManyKeys),
}

/// Maximum number of keys of one kind: some megabytes.
pub const MAX_KEYS: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_parses_only_as_it_is_written() {
        let id = KeyId::random(&mut OsRng);
        assert_eq!(KeyId::parse(&id.to_string()), Some(id));
        assert_eq!(KeyId::parse(&id.to_string()[..62]), None);
        assert_eq!(KeyId::parse(&"AB".repeat(32)), None);
    }

    #[test]
    fn a_key_of_zeros_can_be_stored_but_not_used() {
        let mut keys = Keys::new();
        let id = keys.add(RawSymmetricKey::new(Secret::new([0; 32]))).unwrap();
        assert!(keys.find(&id).unwrap().to_symmetric_key().is_err());
        assert!(keys.remove(&id) && !keys.remove(&id));
    }

    #[test]
    fn the_number_of_keys_is_limited() {
        let mut keys = Keys::new();
        for _ in 0..MAX_KEYS {
            keys.add(()).unwrap();
        }
        assert_eq!(keys.add(()), Err(TooManyKeys));
    }

    #[test]
    fn keys_are_not_printed() {
        let store = KeyStore::new();
        let mut keys = Keys::new();
        keys.add(RawSymmetricKey::new(Secret::new([0x41; 32]))).unwrap();
        assert!(!format!("{store:?} {keys:?}").contains("41, 41"));
    }
}
