//! Sealed messages of version 2: the content is encrypted once, and its key for each recipient.
//!
//! Everything is derived from 32 random bytes: a key pair, and the key of the content. Each recipient gets these bytes, masked
//! with a shared secret of that key pair and its own identity key, and a tag that only the two identity keys can compute.

use aes_gcm_siv::aead::Aead;
use aes_gcm_siv::{Aes256GcmSiv, KeyInit, Nonce};
use rand_core::CryptoRngCore;
use subtle::ConstantTimeEq;
use wormhole_kit::{Reader, Secret, TooShort};
use zeroize::Zeroizing;

use super::UnsealError;
use crate::kdf::hkdf;
use crate::key::{KeyError, KeyPair, PrivateKey, PublicKey};

/// A content that is encrypted, for any number of recipients.
pub(super) struct Sealing {
    random: Secret<32>,
    ephemeral: KeyPair,
    pub(super) ciphertext: Vec<u8>,
}

/// The bytes for each recipient, in addition to the ciphertext.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct ForRecipient {
    /// The random bytes, masked.
    pub(super) masked: [u8; 32],
    /// Shows who has sealed the message.
    pub(super) tag: [u8; TAG],
}

impl Sealing {
    pub(super) fn new(content: &[u8], rng: &mut impl CryptoRngCore) -> Self {
        let mut random = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *random);
        let random = Secret::new(*random);
        let sealed = cipher(&random).encrypt(&Nonce::default(), content);
        debug_assert!(sealed.is_ok(), "a content is far shorter than 64 GiB");
        Self { ephemeral: ephemeral(&random), ciphertext: sealed.unwrap_or_default(), random }
    }

    /// The public key of the message.
    pub(super) fn ephemeral(&self) -> &PublicKey {
        self.ephemeral.public()
    }

    pub(super) fn recipient(&self, us: &KeyPair, to: &PublicKey) -> Result<ForRecipient, KeyError> {
        let shared = self.ephemeral.agree(to)?;
        let masked = mask(&self.random, &shared, self.ephemeral(), to);
        let masked = *masked.expose();
        let tag = tag(&us.agree(to)?, self.ephemeral(), &masked, us.public(), to);
        Ok(ForRecipient { masked, tag })
    }
}

/// An opened message, before it is known who has sealed it.
pub(super) struct Opened {
    pub(super) content: Zeroizing<Vec<u8>>,
    ephemeral: PublicKey,
    recipient: ForRecipient,
}

/// Opens a message without its version, as one recipient gets it.
pub(super) fn open(bytes: &[u8], us: &KeyPair) -> Result<Opened, UnsealError> {
    let mut reader = Reader::new(bytes);
    let recipient = ForRecipient { masked: reader.array()?, tag: reader.array()? };
    let claimed = PublicKey::from_u(reader.array()?)?;
    let shared = us.agree(&claimed)?;
    let random = mask(&Secret::new(recipient.masked), &shared, &claimed, us.public());
    if *ephemeral(&random).public() != claimed {
        return Err(UnsealError::NotAuthentic);
    }
    let content = cipher(&random).decrypt(&Nonce::default(), reader.rest());
    let content = Zeroizing::new(content.map_err(|_| UnsealError::NotAuthentic)?);
    Ok(Opened { content, ephemeral: claimed, recipient })
}

impl Opened {
    /// Whether the holder of this identity key has sealed it for us, in constant time.
    pub(super) fn is_by(&self, sender: &PublicKey, us: &KeyPair) -> Result<bool, KeyError> {
        let ForRecipient { masked, tag: received } = &self.recipient;
        let expected = tag(&us.agree(sender)?, &self.ephemeral, masked, sender, us.public());
        Ok(bool::from(expected.ct_eq(received)))
    }
}

impl From<TooShort> for UnsealError {
    fn from(_: TooShort) -> Self {
        Self::Malformed
    }
}

fn ephemeral(random: &Secret<32>) -> KeyPair {
    let key = hkdf(&[], random.expose(), PRIVATE_KEY);
    PrivateKey::from_secret(&Secret::new(*key)).into()
}

fn cipher(random: &Secret<32>) -> Aes256GcmSiv {
    let key = hkdf::<32>(&[], random.expose(), CONTENT_KEY);
    Aes256GcmSiv::new((&*key).into())
}

/// Masks the random bytes, or removes the mask.
fn mask(
    bytes: &Secret<32>,
    shared: &Secret<32>,
    ephemeral: &PublicKey,
    recipient: &PublicKey,
) -> Secret<32> {
    let keys = [ephemeral.encode(), recipient.encode()].concat();
    let input = Zeroizing::new([&shared.expose()[..], &keys].concat());
    let mut mask = hkdf::<32>(&[], &input, MASK);
    mask.iter_mut().zip(bytes.expose()).for_each(|(mask, byte)| *mask ^= byte);
    Secret::new(*mask)
}

/// The tag of the sender for a recipient.
fn tag(
    shared: &Secret<32>,
    ephemeral: &PublicKey,
    masked: &[u8; 32],
    sender: &PublicKey,
    recipient: &PublicKey,
) -> [u8; TAG] {
    let parts =
        [&shared.expose()[..], &ephemeral.encode(), masked, &sender.encode(), &recipient.encode()];
    let input = Zeroizing::new(parts.concat());
    *hkdf(&[], &input, SENDER_TAG)
}

/// Length of a tag.
pub(super) const TAG: usize = 16;

const PRIVATE_KEY: &[u8] = b"Sealed Sender v2: r (2023-08)";
const CONTENT_KEY: &[u8] = b"Sealed Sender v2: K";
const MASK: &[u8] = b"Sealed Sender v2: DH";
const SENDER_TAG: &[u8] = b"Sealed Sender v2: DH-sender";
