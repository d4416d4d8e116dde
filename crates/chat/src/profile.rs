//! Profiles: names and pictures that only holders of the profile key can read
//! (docs/chat-protocol.md "Profiles").

use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use rand_core::CryptoRngCore;
use wormhole_kit::Secret;
use zeroize::Zeroizing;

use crate::address::AccountId;
use crate::kdf::{hkdf, tag};

/// Decrypts an account's profile. Its owner shares it with their contacts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProfileKey(Secret<32>);

impl ProfileKey {
    /// Generates a key.
    pub fn random(rng: &mut impl CryptoRngCore) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *bytes);
        Self(Secret::new(*bytes))
    }

    /// Creates a key from 32 bytes.
    pub const fn from_secret(secret: Secret<32>) -> Self {
        Self(secret)
    }

    /// The 32 bytes.
    pub const fn as_secret(&self) -> &Secret<32> {
        &self.0
    }

    /// Encrypts one field, padded with zeros to the smallest permitted length.
    ///
    /// # Errors
    /// The value is too long for the field.
    pub fn seal(
        &self,
        field: ProfileField,
        value: &[u8],
        rng: &mut impl CryptoRngCore,
    ) -> Result<Vec<u8>, ProfileError> {
        let fits = field.lengths().iter().find(|length| value.len() <= **length);
        let mut padded = Zeroizing::new(value.to_vec());
        padded.resize(*fits.ok_or(ProfileError::TooLong(value.len()))?, 0);
        self.seal_picture(&padded, rng)
    }

    /// Decrypts one field. Zeros at the end are padding.
    ///
    /// # Errors
    /// The field was encrypted with a different key, or modified.
    pub fn open(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, ProfileError> {
        let mut value = self.open_picture(sealed)?;
        let end = value.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        value.truncate(end);
        Ok(value)
    }

    /// Encrypts a picture, whose length is not hidden.
    ///
    /// # Errors
    /// It is too long for the cipher.
    pub fn seal_picture(
        &self,
        picture: &[u8],
        rng: &mut impl CryptoRngCore,
    ) -> Result<Vec<u8>, ProfileError> {
        let mut nonce = [0; 12];
        rng.fill_bytes(&mut nonce);
        let sealed = self.cipher().encrypt(Nonce::from_slice(&nonce), picture);
        let sealed = sealed.map_err(|_| ProfileError::TooLong(picture.len()))?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// Decrypts a picture.
    ///
    /// # Errors
    /// It was encrypted with a different key, or modified.
    pub fn open_picture(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, ProfileError> {
        let (nonce, sealed) = sealed.split_first_chunk::<12>().ok_or(ProfileError::NotAuthentic)?;
        let opened = self.cipher().decrypt(Nonce::from_slice(nonce), sealed);
        opened.map(Zeroizing::new).map_err(|_| ProfileError::NotAuthentic)
    }

    /// The key with which others can send to this account without revealing who they are.
    pub fn access_key(&self) -> AccessKey {
        let sealed = self.cipher().encrypt(&Nonce::default(), [0; 16].as_slice());
        let bytes = Zeroizing::new(sealed.unwrap_or_default());
        let key = Zeroizing::new(bytes.first_chunk().copied().unwrap_or_default());
        AccessKey(Secret::new(*key))
    }

    /// Identifies the version of the profile on the server: 64 hexadecimal digits.
    pub fn version(&self, account: &AccountId) -> String {
        let info = [VERSION_INFO, account.as_bytes()].concat();
        let bytes = hkdf::<32>(&[0; 32], self.0.expose(), &info);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(Key::<Aes256Gcm>::from_slice(self.0.expose()))
    }
}

/// Permits sending to an account without revealing the sender.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccessKey(Secret<16>);

impl AccessKey {
    /// Creates a key from its 16 bytes.
    pub const fn from_secret(secret: Secret<16>) -> Self {
        Self(secret)
    }

    /// The 16 bytes, for the server.
    pub const fn expose(&self) -> &[u8; 16] {
        self.0.expose()
    }

    /// Shows others that the server has the right key.
    pub fn checksum(&self) -> [u8; 32] {
        tag(self.0.expose(), &[&[0; 32]])
    }
}

/// A field of a profile. Its padded length is one of a few, so it reveals little.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ProfileField {
    /// Text about the owner.
    About,
    /// One emoji.
    Emoji,
    /// Given name, zero byte, family name.
    Name,
}

impl ProfileField {
    const fn lengths(self) -> &'static [usize] {
        match self {
            Self::About => &[128, 254, 512],
            Self::Emoji => &[32],
            Self::Name => &[53, 257],
        }
    }
}

/// Why a field could not be encrypted or decrypted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ProfileError {
    /// It was encrypted with a different key, or modified.
    #[error("the profile cannot be decrypted")]
    NotAuthentic,
    /// The value is too long for the field.
    #[error("a value of {0} bytes is too long for this field")]
    TooLong(usize),
}

/// Our own derivation: Signal's needs its zero-knowledge library.
const VERSION_INFO: &[u8] = b"wormhole profile version";

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    #[test]
    fn a_field_has_one_of_few_lengths_and_opens_only_with_its_key() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (key, other) = (ProfileKey::random(&mut rng), ProfileKey::random(&mut rng));
        for (value, length) in [(&b""[..], 81), (b"Alice\0Smith", 81), (&[b'a'; 54], 285)] {
            let mut sealed = key.seal(ProfileField::Name, value, &mut rng).unwrap();
            assert_eq!(sealed.len(), length);
            assert_eq!(*key.open(&sealed).unwrap(), value);
            assert_eq!(other.open(&sealed), Err(ProfileError::NotAuthentic));
            sealed[20] ^= 1;
            assert_eq!(key.open(&sealed), Err(ProfileError::NotAuthentic));
        }
        let long = key.seal(ProfileField::Name, &[1; 258], &mut rng);
        assert_eq!(long, Err(ProfileError::TooLong(258)));
        assert_eq!(key.open(&[]), Err(ProfileError::NotAuthentic));
    }

    #[test]
    fn a_picture_keeps_its_length_and_opens_only_with_its_key() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (key, other) = (ProfileKey::random(&mut rng), ProfileKey::random(&mut rng));
        let mut sealed = key.seal_picture(&[1, 2, 0, 0], &mut rng).unwrap();
        assert_eq!(
            (sealed.len(), &key.open_picture(&sealed).unwrap()[..]),
            (32, &[1, 2, 0, 0][..])
        );
        assert_eq!(other.open_picture(&sealed), Err(ProfileError::NotAuthentic));
        sealed[13] ^= 1;
        assert_eq!(key.open_picture(&sealed), Err(ProfileError::NotAuthentic));
        assert_eq!(key.open_picture(&[]), Err(ProfileError::NotAuthentic));
    }

    #[test]
    fn a_version_differs_by_account() {
        let key = ProfileKey::random(&mut ChaCha20Rng::seed_from_u64(1));
        let [a, b] = [1, 2].map(|byte| key.version(&AccountId::from_bytes([byte; 16])));
        assert_ne!(a, b);
        assert_eq!(a.len(), 64);
    }
}
