//! Kyber-1024, round 3: the key encapsulation of PQXDH in deployed clients.
//!
//! It is not ML-KEM (FIPS 203), which hashes differently: the two cannot decrypt each other's
//! ciphertexts. `libcrux-ml-kem` does the arithmetic; this file adds the type byte (PQXDH §2.1).

use std::fmt;

use libcrux_ml_kem::kyber1024;
use libcrux_ml_kem::mlkem1024::{
    MlKem1024Ciphertext, MlKem1024PrivateKey, MlKem1024PublicKey, validate_public_key,
};
use rand_core::CryptoRngCore;
use wormhole_kit::Secret;
use zeroize::{Zeroize, Zeroizing};

/// A public key whose coefficients are all in range.
#[derive(Clone, Eq, PartialEq)]
pub struct KemPublicKey(Box<[u8; PUBLIC]>);

impl KemPublicKey {
    /// Decodes a public key: type byte `0x08`, then the key.
    ///
    /// # Errors
    /// The length or type is wrong, or a coefficient is out of range.
    pub fn decode(bytes: &[u8]) -> Result<Self, KemError> {
        let key = MlKem1024PublicKey::from(untyped::<PUBLIC>(bytes)?);
        if !validate_public_key(&key) {
            return Err(KemError::NotCanonical);
        }
        Ok(Self(Box::new(key.into())))
    }

    /// Encodes the key for sending and signing: type byte, then the key.
    pub fn encode(&self) -> Vec<u8> {
        typed(&*self.0)
    }

    /// Generates a secret and encapsulates it for the owner of this key.
    pub fn encapsulate(&self, rng: &mut impl CryptoRngCore) -> (KemCiphertext, Secret<32>) {
        let mut random = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *random);
        let key = MlKem1024PublicKey::from(&*self.0);
        let (ciphertext, secret) = kyber1024::encapsulate(&key, *random);
        let secret = Zeroizing::new(secret);
        (KemCiphertext(Box::new(ciphertext.into())), Secret::new(*secret))
    }
}

impl fmt::Debug for KemPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = *self.0;
        write!(f, "KemPublicKey({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

/// A secret, encapsulated for the owner of a [`KemPublicKey`].
#[derive(Clone, Eq, PartialEq)]
pub struct KemCiphertext(Box<[u8; CIPHERTEXT]>);

impl KemCiphertext {
    /// Decodes a ciphertext: type byte `0x08`, then the ciphertext.
    ///
    /// # Errors
    /// The length or type is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, KemError> {
        untyped(bytes).map(|bytes| Self(Box::new(*bytes)))
    }

    /// Encodes the ciphertext: type byte, then the ciphertext.
    pub fn encode(&self) -> Vec<u8> {
        typed(&*self.0)
    }
}

impl fmt::Debug for KemCiphertext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KemCiphertext(…)")
    }
}

/// A private key with its public key.
#[derive(Clone, Eq, PartialEq)]
pub struct KemKeyPair {
    private: Box<Zeroizing<[u8; PRIVATE]>>,
    public: KemPublicKey,
}

impl KemKeyPair {
    /// Generates a pair.
    pub fn random(rng: &mut impl CryptoRngCore) -> Self {
        let mut seed = Zeroizing::new([0; 64]);
        rng.fill_bytes(&mut *seed);
        let (mut private, public) = kyber1024::generate_key_pair(*seed).into_parts();
        let pair = Self {
            private: Box::new(Zeroizing::new(*private.as_slice())),
            public: KemPublicKey(Box::new(public.into())),
        };
        wipe(&mut private);
        pair
    }

    /// The public key.
    pub const fn public(&self) -> &KemPublicKey {
        &self.public
    }

    /// Decapsulates the secret of [`KemPublicKey::encapsulate`]. A ciphertext for a different key
    /// gives a pseudorandom secret, so the first message does not decrypt.
    pub fn decapsulate(&self, ciphertext: &KemCiphertext) -> Secret<32> {
        let mut private = MlKem1024PrivateKey::from(&**self.private);
        let ciphertext = MlKem1024Ciphertext::from(&*ciphertext.0);
        let secret = Zeroizing::new(kyber1024::decapsulate(&private, &ciphertext));
        wipe(&mut private);
        Secret::new(*secret)
    }

    /// The private key, for storage and other uses that need its bytes.
    pub fn private_bytes(&self) -> &[u8; PRIVATE] {
        &self.private
    }

    /// Restores a pair from a stored private key, which includes the public key.
    ///
    /// # Errors
    /// The length is wrong, or the included public key has a coefficient out of range.
    pub fn from_private_bytes(bytes: &[u8]) -> Result<Self, KemError> {
        let bytes: &[u8; PRIVATE] = bytes.try_into().map_err(|_| KemError::BadLength)?;
        let public = bytes.split_at(VECTOR).1.first_chunk().ok_or(KemError::BadLength)?;
        let public = MlKem1024PublicKey::from(public);
        if !validate_public_key(&public) {
            return Err(KemError::NotCanonical);
        }
        let public = KemPublicKey(Box::new(public.into()));
        Ok(Self { private: Box::new(Zeroizing::new(*bytes)), public })
    }
}

impl fmt::Debug for KemKeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KemKeyPair").field("public", &self.public).finish_non_exhaustive()
    }
}

/// Why a key or ciphertext was rejected.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KemError {
    /// The length is wrong.
    #[error("a key or ciphertext has the wrong length")]
    BadLength,
    /// A coefficient is not less than the prime.
    #[error("the public key is not canonical")]
    NotCanonical,
    /// The type byte is not the one of Kyber-1024.
    #[error("unknown key type {0:#04x}")]
    UnknownType(u8),
}

fn untyped<const N: usize>(bytes: &[u8]) -> Result<&[u8; N], KemError> {
    let (kind, rest) = bytes.split_first().ok_or(KemError::BadLength)?;
    if *kind != KYBER_1024 {
        return Err(KemError::UnknownType(*kind));
    }
    rest.try_into().map_err(|_| KemError::BadLength)
}

fn typed(bytes: &[u8]) -> Vec<u8> {
    [&[KYBER_1024], bytes].concat()
}

fn wipe(key: &mut MlKem1024PrivateKey) {
    key[0..].zeroize();
}

/// The type byte of Kyber-1024, round 3.
const KYBER_1024: u8 = 0x08;

/// Length of a public key.
const PUBLIC: usize = 1568;

/// Length of a ciphertext.
const CIPHERTEXT: usize = 1568;

/// Length of a private key: secret vector, public key, its hash, and the secret for invalid
/// ciphertexts.
const PRIVATE: usize = 3168;

/// Length of the secret vector at the start of a private key.
const VECTOR: usize = 1536;

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    #[test]
    fn only_the_holder_of_the_key_gets_the_secret() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (pair, other) = (KemKeyPair::random(&mut rng), KemKeyPair::random(&mut rng));
        let public = KemPublicKey::decode(&pair.public().encode()).unwrap();
        let (ciphertext, secret) = public.encapsulate(&mut rng);
        let ciphertext = KemCiphertext::decode(&ciphertext.encode()).unwrap();
        assert_eq!(pair.decapsulate(&ciphertext), secret);
        assert_ne!(other.decapsulate(&ciphertext), secret);
        let stored = KemKeyPair::from_private_bytes(pair.private_bytes()).unwrap();
        assert_eq!(stored, pair);
    }

    #[test]
    fn wrong_lengths_types_and_coefficients_are_refused() {
        let pair = KemKeyPair::random(&mut ChaCha20Rng::seed_from_u64(1));
        let good = pair.public().encode();
        assert_eq!(KemPublicKey::decode(&[]), Err(KemError::BadLength));
        assert_eq!(KemPublicKey::decode(&good[..1568]), Err(KemError::BadLength));
        let mut other = good.clone();
        other[0] = 0x0a;
        assert_eq!(KemPublicKey::decode(&other), Err(KemError::UnknownType(0x0a)));
        let mut out_of_range = good;
        out_of_range[1..4].fill(0xff);
        assert_eq!(KemPublicKey::decode(&out_of_range), Err(KemError::NotCanonical));
        assert_eq!(KemCiphertext::decode(&[8; 1568]), Err(KemError::BadLength));
    }
}
