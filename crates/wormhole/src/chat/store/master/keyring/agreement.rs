//! The key agreement of one conversation with the keyring, and the encryption of a secret with it: the algorithm
//! `dh-ietf1024-sha256-aes128-cbc-pkcs7` of the Secret Service API.
//!
//! It keeps the secret out of the buffers of the bus, which nobody wipes. It does not authenticate the keyring: the bus does.

use aes::Aes128;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockDecryptMut as _, BlockEncryptMut as _, KeyIvInit as _};
use crypto_bigint::modular::runtime_mod::{DynResidue, DynResidueParams};
use crypto_bigint::{Encoding as _, U1024};
use hkdf::Hkdf;
use rand_core::CryptoRngCore;
use sha2::Sha256;
use wormhole_kit::Secret;
use zeroize::{Zeroize as _, Zeroizing};

/// Our side of an agreement.
pub(super) struct Agreement {
    /// The exponent.
    private: Zeroizing<U1024>,
}

impl Agreement {
    /// Begins an agreement.
    pub(super) fn random(rng: &mut impl CryptoRngCore) -> Self {
        let mut bytes = Zeroizing::new([0; LENGTH]);
        rng.fill_bytes(&mut *bytes);
        Self { private: Zeroizing::new(U1024::from_be_bytes(*bytes)) }
    }

    /// The number for the other side.
    pub(super) fn public(&self) -> [u8; LENGTH] {
        power(&U1024::from(2_u8), &self.private).to_be_bytes()
    }

    /// The key that both sides share. `None` if the number of the other side is invalid.
    pub(super) fn finish(self, theirs: &[u8]) -> Option<TransportKey> {
        let zeros = LENGTH.checked_sub(theirs.len())?;
        let mut padded = [0; LENGTH];
        padded.iter_mut().skip(zeros).zip(theirs).for_each(|(to, from)| *to = *from);
        let theirs = U1024::from_be_bytes(padded);
        // With 0, 1 or -1, anybody would know the key.
        if theirs <= U1024::ONE || theirs >= PRIME.wrapping_sub(&U1024::ONE) {
            return None;
        }
        let mut shared = power(&theirs, &self.private);
        let secret = Zeroizing::new(shared.to_be_bytes());
        shared.zeroize();
        let mut key = Zeroizing::new([0; 16]);
        Hkdf::<Sha256>::new(None, &*secret).expand(&[], &mut *key).ok()?;
        Some(TransportKey(Secret::new(*key)))
    }
}

/// `base` to the power of `exponent`, modulo the prime of the group, in constant time.
fn power(base: &U1024, exponent: &U1024) -> U1024 {
    let mut residue = DynResidue::new(base, DynResidueParams::new(&PRIME));
    let mut result = residue.pow(exponent);
    let number = result.retrieve();
    residue.zeroize();
    result.zeroize();
    number
}

/// Encrypts the secrets of one conversation.
#[derive(Debug)]
pub(super) struct TransportKey(Secret<16>);

impl TransportKey {
    /// Encrypts a secret. Returns the initialisation vector and the ciphertext.
    pub(super) fn seal(&self, secret: &[u8], rng: &mut impl CryptoRngCore) -> ([u8; 16], Vec<u8>) {
        let mut iv = [0; 16];
        rng.fill_bytes(&mut iv);
        let cipher = cbc::Encryptor::<Aes128>::new(self.0.expose().into(), &iv.into());
        (iv, cipher.encrypt_padded_vec_mut::<Pkcs7>(secret))
    }

    /// Decrypts a secret. `None` if it was encrypted with another key.
    pub(super) fn open(&self, iv: &[u8], ciphertext: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let iv = <[u8; 16]>::try_from(iv).ok()?;
        let cipher = cbc::Decryptor::<Aes128>::new(self.0.expose().into(), &iv.into());
        cipher.decrypt_padded_vec_mut::<Pkcs7>(ciphertext).ok().map(Zeroizing::new)
    }
}

/// Length of a number.
pub(super) const LENGTH: usize = 128;

/// The prime of the second Oakley group (RFC 2409, section 6.2). Its generator is 2.
const PRIME: U1024 = U1024::from_be_hex(concat!(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74",
    "020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437",
    "4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED",
    "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381FFFFFFFFFFFFFFFF",
));

#[cfg(test)]
mod tests {
    use rand_core::OsRng;

    use super::*;

    fn pair() -> (TransportKey, TransportKey) {
        let [ours, theirs] = [Agreement::random(&mut OsRng), Agreement::random(&mut OsRng)];
        let (our_number, their_number) = (ours.public(), theirs.public());
        (ours.finish(&their_number).unwrap(), theirs.finish(&our_number).unwrap())
    }

    #[test]
    fn both_sides_read_what_the_other_encrypts() {
        let (ours, theirs) = pair();
        let (iv, ciphertext) = ours.seal(b"secret", &mut OsRng);
        assert_eq!(
            theirs.open(&iv, &ciphertext).as_deref().map(Vec::as_slice),
            Some(&b"secret"[..])
        );
        let (stranger, _) = pair();
        assert_ne!(
            stranger.open(&iv, &ciphertext).as_deref().map(Vec::as_slice),
            Some(&b"secret"[..])
        );
        assert_eq!(theirs.open(&iv[1..], &ciphertext), None);
        assert_eq!(theirs.open(&iv, &ciphertext[1..]), None);
        assert_eq!(theirs.open(&iv, &[]), None);
    }

    #[test]
    fn a_number_that_gives_everybody_the_key_is_refused() {
        let agreement = || Agreement::random(&mut OsRng);
        let last = PRIME.wrapping_sub(&U1024::ONE);
        for number in [U1024::ZERO, U1024::ONE, last, PRIME, U1024::MAX] {
            assert!(agreement().finish(&number.to_be_bytes()).is_none());
        }
        assert!(agreement().finish(&[]).is_none());
        assert!(agreement().finish(&[1]).is_none());
        assert!(agreement().finish(&[2]).is_some(), "a short number");
        assert!(agreement().finish(&last.wrapping_sub(&U1024::ONE).to_be_bytes()).is_some());
        assert!(agreement().finish(&[1; LENGTH + 1]).is_none());
    }
}
