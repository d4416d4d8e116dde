//! ML-KEM-768 (FIPS 203) in two steps: the first part of a ciphertext needs only the header of the encapsulation key, the
//! second part also needs the rest of the key.
//!
//! Only seeds are stored. Keys and the state of an encapsulation are derived from them again when they are needed: the
//! library may change the form of the latter.

use libcrux_ml_kem::mlkem768::incremental::{
    COMPRESSED_KEYPAIR_LEN, Ciphertext1, Ciphertext2, decapsulate_compressed_key, encaps_state_len,
    encapsulate1, encapsulate2, generate_key_pair_compressed, validate_pk_bytes,
};
use rand_core::CryptoRngCore;
use wormhole_kit::Secret;
use zeroize::Zeroizing;

/// The seed of a key pair.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum KeySeed {
    /// The seeds `d` and `z`.
    Random(Secret<64>),
    /// A recorded private key, whose seed is not known.
    #[cfg(test)]
    Recorded(Box<[u8; COMPRESSED_KEYPAIR_LEN]>),
}

impl KeySeed {
    /// Chooses a key pair.
    pub(super) fn random(rng: &mut impl CryptoRngCore) -> Self {
        let mut seed = Zeroizing::new([0; 64]);
        rng.fill_bytes(&mut *seed);
        Self::Random(Secret::new(*seed))
    }

    /// The header of the encapsulation key: the seed of its matrix, and the hash of the whole key.
    pub(super) fn header(&self) -> [u8; HEADER] {
        part(&*self.private(), 2 * KEY)
    }

    /// The rest of the encapsulation key.
    pub(super) fn key(&self) -> [u8; KEY] {
        part(&*self.private(), KEY)
    }

    /// Decapsulates the secret. A ciphertext that was not made for this key gives another secret.
    pub(super) fn decapsulate(
        &self,
        first: &[u8; CIPHERTEXT_1],
        second: &[u8; CIPHERTEXT_2],
    ) -> Secret<32> {
        let (first, second) = (Ciphertext1 { value: *first }, Ciphertext2 { value: *second });
        let secret = decapsulate_compressed_key(&self.private(), &first, &second);
        Secret::new(*Zeroizing::new(secret))
    }

    /// The private key: secret vector, encapsulation key, seed of the matrix, hash, secret for invalid ciphertexts.
    fn private(&self) -> Zeroizing<[u8; COMPRESSED_KEYPAIR_LEN]> {
        let mut pair = Zeroizing::new([0; COMPRESSED_KEYPAIR_LEN]);
        match self {
            Self::Random(seed) => {
                let seed = Zeroizing::new(*seed.expose());
                generate_key_pair_compressed(*seed, &mut pair);
            }
            #[cfg(test)]
            Self::Recorded(private) => *pair = **private,
        }
        pair
    }
}

/// An encapsulation for the key with a header.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Encapsulation {
    pub(super) header: [u8; HEADER],
    /// The random input, from which everything is derived.
    pub(super) random: Secret<32>,
}

/// The first step of an encapsulation.
struct FirstStep {
    ciphertext: [u8; CIPHERTEXT_1],
    secret: Secret<32>,
    state: Zeroizing<[u8; encaps_state_len()]>,
}

impl Encapsulation {
    /// Chooses a secret for the holder of the key.
    pub(super) fn random(header: [u8; HEADER], rng: &mut impl CryptoRngCore) -> Self {
        let mut random = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *random);
        Self { header, random: Secret::new(*random) }
    }

    /// The first part of the ciphertext, and the secret.
    pub(super) fn first(&self) -> ([u8; CIPHERTEXT_1], Secret<32>) {
        let step = self.step();
        (step.ciphertext, step.secret)
    }

    /// Both parts of the ciphertext. `None`: `key` does not belong to the header, or is not canonical.
    pub(super) fn both(&self, key: &[u8; KEY]) -> Option<([u8; CIPHERTEXT_1], [u8; CIPHERTEXT_2])> {
        validate_pk_bytes(&self.header, key).ok()?;
        let step = self.step();
        let second = encapsulate2(&step.state, key);
        Some((step.ciphertext, second.value))
    }

    fn step(&self) -> FirstStep {
        let (mut state, mut secret) =
            (Zeroizing::new([0; encaps_state_len()]), Zeroizing::new([0; 32]));
        let random = Zeroizing::new(*self.random.expose());
        let first = encapsulate1(&self.header, *random, &mut *state, &mut *secret);
        debug_assert!(first.is_ok(), "all lengths are correct");
        let ciphertext = first.map_or([0; CIPHERTEXT_1], |first| first.value);
        FirstStep { ciphertext, secret: Secret::new(*secret), state }
    }
}

/// `N` bytes of a private key from `start`.
fn part<const N: usize>(private: &[u8], start: usize) -> [u8; N] {
    let bytes = private.get(start..).and_then(<[u8]>::first_chunk);
    debug_assert!(bytes.is_some(), "the part is in the key");
    bytes.copied().unwrap_or([0; N])
}

/// Length of the header.
pub(super) const HEADER: usize = 64;

/// Length of the rest of the encapsulation key.
pub(super) const KEY: usize = 1152;

/// Length of the first part of the ciphertext.
pub(super) const CIPHERTEXT_1: usize = 960;

/// Length of the second part of the ciphertext.
pub(super) const CIPHERTEXT_2: usize = 128;

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    #[test]
    fn both_sides_get_the_same_secret() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let seed = KeySeed::random(&mut rng);
        let encapsulation = Encapsulation::random(seed.header(), &mut rng);
        let (first, secret) = encapsulation.first();
        let (again, second) = encapsulation.both(&seed.key()).unwrap();
        assert_eq!(first, again);
        assert_eq!(seed.decapsulate(&first, &second), secret);
        assert_ne!(KeySeed::random(&mut rng).decapsulate(&first, &second), secret);
    }

    #[test]
    fn a_key_that_does_not_belong_to_the_header_is_refused() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let seed = KeySeed::random(&mut rng);
        let encapsulation = Encapsulation::random(seed.header(), &mut rng);
        let mut key = seed.key();
        key[0] ^= 1;
        assert_eq!(encapsulation.both(&key), None);
        assert_eq!(encapsulation.both(&KeySeed::random(&mut rng).key()), None);
    }
}
