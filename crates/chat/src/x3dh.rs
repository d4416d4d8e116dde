//! The initial key agreement: X3DH, or PQXDH if the recipient has a post-quantum prekey (X3DH §3.3,
//! PQXDH §3.3; docs/chat-protocol.md has the constants).
//!
//! Both sides hash the same shared secrets, but each side knows different private keys.

use rand_core::CryptoRngCore;
use wormhole_kit::Secret;
use zeroize::Zeroizing;

use crate::kdf::{hkdf, thirds};
use crate::kem::KemCiphertext;
use crate::key::{KeyError, KeyPair, PublicKey};
use crate::prekey::{KemPreKey, OneTimePreKey, SignedPreKey, VerifiedBundle};
use crate::ratchet::{ChainKey, RootKey};

/// The key agreement with which a session started. It never changes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Version {
    /// Version 3: X3DH.
    X3dh,
    /// Version 4: PQXDH with Kyber-1024.
    Pqxdh,
}

impl Version {
    /// The version number in messages, 3 or 4.
    pub const fn number(self) -> u8 {
        match self {
            Self::X3dh => 3,
            Self::Pqxdh => 4,
        }
    }

    /// The inverse of [`Version::number`].
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            3 => Some(Self::X3dh),
            4 => Some(Self::Pqxdh),
            _ => None,
        }
    }
}

/// The result of the key agreement, which both sides share.
#[derive(Debug)]
pub(crate) struct Agreed {
    pub(crate) version: Version,
    pub(crate) root: RootKey,
    pub(crate) chain: ChainKey,
    /// The first key of the post-quantum ratchet; only in version 4.
    pub(crate) spqr: Option<Secret<32>>,
}

/// The initiator's result, including the data to send to the responder.
#[derive(Debug)]
pub(crate) struct Initiated {
    pub(crate) agreed: Agreed,
    pub(crate) base_key: PublicKey,
    pub(crate) kem: Option<(u32, KemCiphertext)>,
}

/// The responder's private keys that the initiator selected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChosenPreKeys<'a> {
    pub(crate) signed: &'a SignedPreKey,
    pub(crate) one_time: Option<&'a OneTimePreKey>,
    pub(crate) kem: Option<(&'a KemPreKey, &'a KemCiphertext)>,
}

/// Runs the initiator's side.
///
/// # Errors
/// A key of the bundle is of low order.
pub(crate) fn initiate(
    identity: &KeyPair,
    bundle: &VerifiedBundle,
    rng: &mut impl CryptoRngCore,
) -> Result<Initiated, KeyError> {
    let bundle = bundle.bundle();
    let (_, signed, _) = &bundle.signed;
    let base = KeyPair::random(rng);
    let mut secrets = Secrets::new();
    secrets.add(&identity.agree(signed)?);
    secrets.add(&base.agree(&bundle.identity)?);
    secrets.add(&base.agree(signed)?);
    if let Some((_, key)) = &bundle.one_time {
        secrets.add(&base.agree(key)?);
    }
    let kem = bundle.kem.as_ref().map(|(id, key, _)| {
        let (ciphertext, secret) = key.encapsulate(rng);
        secrets.add(&secret);
        (*id, ciphertext)
    });
    let version = if kem.is_some() { Version::Pqxdh } else { Version::X3dh };
    Ok(Initiated { agreed: secrets.agree(version), base_key: *base.public(), kem })
}

/// Runs the responder's side.
///
/// # Errors
/// A key of the initiator is of low order.
pub(crate) fn respond(
    identity: &KeyPair,
    chosen: ChosenPreKeys<'_>,
    their_identity: &PublicKey,
    base_key: &PublicKey,
) -> Result<Agreed, KeyError> {
    let signed = &chosen.signed.pair;
    let mut secrets = Secrets::new();
    secrets.add(&signed.agree(their_identity)?);
    secrets.add(&identity.agree(base_key)?);
    secrets.add(&signed.agree(base_key)?);
    if let Some(one_time) = chosen.one_time {
        secrets.add(&one_time.pair.agree(base_key)?);
    }
    let version = match chosen.kem {
        Some((prekey, ciphertext)) => {
            secrets.add(&prekey.pair.decapsulate(ciphertext));
            Version::Pqxdh
        }
        None => Version::X3dh,
    };
    Ok(secrets.agree(version))
}

/// The concatenated shared secrets.
struct Secrets(Zeroizing<Vec<u8>>);

impl Secrets {
    /// Starts with 32 bytes of `0xff`, which separates the input from that of signatures (X3DH
    /// §2.2, "F").
    fn new() -> Self {
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRETS));
        bytes.extend([0xff; 32]);
        Self(bytes)
    }

    fn add(&mut self, secret: &Secret<32>) {
        self.0.extend(secret.expose());
    }

    fn agree(&self, version: Version) -> Agreed {
        let info = match version {
            Version::X3dh => X3DH_INFO,
            Version::Pqxdh => PQXDH_INFO,
        };
        // The first 64 bytes do not depend on how many follow.
        let (root, chain, spqr) = thirds(&hkdf(&[0; 32], &self.0, info));
        Agreed {
            version,
            root: RootKey(root),
            chain: ChainKey { key: chain, index: 0 },
            spqr: (version == Version::Pqxdh).then_some(spqr),
        }
    }
}

/// Length of the prefix, four agreements and one encapsulation.
const MAX_SECRETS: usize = 6 * 32;

const X3DH_INFO: &[u8] = b"WhisperText";
const PQXDH_INFO: &[u8] = b"WhisperText_X25519_SHA-256_CRYSTALS-KYBER-1024";

#[cfg(test)]
mod tests;
