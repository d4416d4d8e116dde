//! The secret of a group, the keys that are derived from it, and the key of administrators.

use std::fmt;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use rand_core::CryptoRngCore;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use wormhole_kit::{Reader, Secret};
use zeroize::Zeroizing;

use super::{GroupId, LinkPassword};
use crate::kdf::{halves, hkdf};

/// The secret that members share during one epoch: all other keys of members are derived from it. A new epoch begins with each removal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GroupSecret(Secret<32>);

impl GroupSecret {
    /// Draws a secret.
    pub fn random(rng: &mut impl CryptoRngCore) -> Self {
        Self(random(rng))
    }

    /// Creates a secret from its 32 bytes.
    pub const fn from_secret(secret: Secret<32>) -> Self {
        Self(secret)
    }

    /// The 32 bytes.
    pub const fn as_secret(&self) -> &Secret<32> {
        &self.0
    }

    /// The key with which members read the log of the group, and append to it.
    pub fn access(&self, group: GroupId) -> GroupAccess {
        GroupAccess(Secret::new(*hkdf(group.as_bytes(), self.0.expose(), ACCESS_INFO)))
    }

    /// The key that encrypts entries. A person with this key alone is not a member.
    pub fn reading_key(&self) -> ReadingKey {
        ReadingKey(Secret::new(*hkdf(&[], self.0.expose(), READING_INFO)))
    }
}

/// Encrypts the entries of one epoch. Members derive it from the secret; people with a link have only this key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReadingKey(Secret<32>);

impl ReadingKey {
    /// Creates a key from its 32 bytes.
    pub const fn from_secret(secret: Secret<32>) -> Self {
        Self(secret)
    }

    /// The 32 bytes.
    pub const fn as_secret(&self) -> &Secret<32> {
        &self.0
    }

    /// The key with which a person with the link reads the log, and appends one entry.
    pub fn link_access(&self, group: GroupId, password: &LinkPassword) -> GroupAccess {
        let secret = Zeroizing::new([&self.0.expose()[..], password.expose()].concat());
        GroupAccess(Secret::new(*hkdf(group.as_bytes(), &secret, LINK_INFO)))
    }

    /// Encrypts the content of an entry with a key of its own: salt (32), commitment (32), ciphertext. The commitment
    /// guarantees that nobody can make an entry that two secrets open.
    pub(super) fn seal(
        &self,
        group: GroupId,
        revision: u64,
        content: &[u8],
        rng: &mut impl CryptoRngCore,
    ) -> Vec<u8> {
        let mut salt = [0; SALT];
        rng.fill_bytes(&mut salt);
        let (key, commitment) = self.entry_keys(&salt);
        let aad = associated(group, revision);
        let payload = Payload { msg: content, aad: &aad };
        // This fails only for more than 64 GiB.
        let sealed = cipher(&key).encrypt(&Nonce::default(), payload).unwrap_or_default();
        [&salt[..], commitment.expose(), &sealed].concat()
    }

    /// Decrypts the content of an entry. `None`: it was not encrypted with this secret for this place.
    pub(super) fn open(
        &self,
        group: GroupId,
        revision: u64,
        sealed: &[u8],
    ) -> Option<Zeroizing<Vec<u8>>> {
        let mut reader = Reader::new(sealed);
        let salt: [u8; SALT] = reader.array().ok()?;
        let claimed: [u8; 32] = reader.array().ok()?;
        let (key, commitment) = self.entry_keys(&salt);
        if !bool::from(commitment.expose().ct_eq(&claimed)) {
            return None;
        }
        let aad = associated(group, revision);
        let payload = Payload { msg: reader.rest(), aad: &aad };
        cipher(&key).decrypt(&Nonce::default(), payload).ok().map(Zeroizing::new)
    }

    fn entry_keys(&self, salt: &[u8; SALT]) -> (Secret<32>, Secret<32>) {
        halves(&hkdf::<64>(salt, self.0.expose(), ENTRY_INFO))
    }
}

/// Allows administrators to replace the keys that the server requires. Only they know it, and each epoch has another one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AdminKey(Secret<32>);

impl AdminKey {
    /// Draws a key.
    pub fn random(rng: &mut impl CryptoRngCore) -> Self {
        Self(random(rng))
    }

    /// Creates a key from its 32 bytes.
    pub const fn from_secret(secret: Secret<32>) -> Self {
        Self(secret)
    }

    /// The 32 bytes.
    pub const fn as_secret(&self) -> &Secret<32> {
        &self.0
    }

    /// The key that the server must see.
    pub fn access(&self) -> GroupAccess {
        GroupAccess(self.0.clone())
    }
}

/// The keys of a new epoch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EpochKeys {
    /// The secret of all members.
    pub secret: GroupSecret,
    /// The key of administrators. `None` if its owner is not an administrator.
    pub admin: Option<AdminKey>,
}

impl EpochKeys {
    /// Draws the keys of a new epoch.
    pub fn random(rng: &mut impl CryptoRngCore) -> Self {
        Self { secret: GroupSecret::random(rng), admin: Some(AdminKey::random(rng)) }
    }
}

/// The keys that the server requires for reading and changing the log, as SHA-256.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AccessHashes {
    /// Of the key of members.
    pub member: [u8; 32],
    /// Of the key of administrators.
    pub admin: [u8; 32],
    /// Of the key of those who have the link, if it is enabled.
    pub link: Option<[u8; 32]>,
}

/// Proves to the server that somebody may read the log, append to it, or replace keys. It cannot decrypt anything.
#[derive(Clone, Eq, PartialEq)]
pub struct GroupAccess(Secret<32>);

impl GroupAccess {
    /// The 32 bytes, for the header `Group-Access`.
    pub const fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// The SHA-256 of the key, which the server stores.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.expose()).into()
    }
}

impl fmt::Debug for GroupAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GroupAccess(…)")
    }
}

/// The associated data of an entry: the group and the place in the log.
fn associated(group: GroupId, revision: u64) -> Vec<u8> {
    [&group.as_bytes()[..], &revision.to_be_bytes()].concat()
}

fn random(rng: &mut impl CryptoRngCore) -> Secret<32> {
    let mut bytes = Zeroizing::new([0; 32]);
    rng.fill_bytes(&mut *bytes);
    Secret::new(*bytes)
}

fn cipher(key: &Secret<32>) -> Aes256Gcm {
    Aes256Gcm::new(Key::<Aes256Gcm>::from_slice(key.expose()))
}

/// Bytes of an entry besides its content: salt, commitment, and the tag of AES-GCM.
pub(super) const OVERHEAD: usize = SALT + 32 + 16;

const SALT: usize = 32;

const ACCESS_INFO: &[u8] = b"wormhole group access";

const READING_INFO: &[u8] = b"wormhole group reading";

const LINK_INFO: &[u8] = b"wormhole group link";

const ENTRY_INFO: &[u8] = b"wormhole group entry";
