//! Encrypted names of devices: the server stores them and cannot read them (docs/chat-protocol.md "Names of devices").
//!
//! Every device of the account can read them, because all have the account's identity key.

use aes::Aes256;
use aes::cipher::{BlockEncrypt as _, KeyInit as _};
use prost::Message;
use rand_core::CryptoRngCore;
use wormhole_kit::Secret;
use zeroize::Zeroizing;

use crate::kdf::{tag, tag_matches};
use crate::key::{KeyPair, PublicKey};

/// Encrypts the name of a device for the account with this identity key. Returns the bytes of a `DeviceName`.
/// `None` if the key is of low order.
pub fn seal_device_name(
    name: &str,
    identity: &PublicKey,
    rng: &mut impl CryptoRngCore,
) -> Option<Vec<u8>> {
    let ours = KeyPair::random(rng);
    let keys = Keys::agree(&ours, identity)?;
    let synthetic_iv = keys.synthetic_iv(name.as_bytes());
    let ciphertext = keys.apply(&synthetic_iv, name.as_bytes());
    let proto = DeviceNameProto {
        ephemeral: Some(ours.public().encode().to_vec()),
        synthetic_iv: Some(synthetic_iv.to_vec()),
        ciphertext: Some(ciphertext.to_vec()),
    };
    Some(proto.encode_to_vec())
}

/// Decrypts the name of a device of our account. `None` if it is not encrypted for this identity key, or was modified.
pub fn open_device_name(identity: &KeyPair, sealed: &[u8]) -> Option<String> {
    if sealed.len() > MAX_SEALED {
        return None;
    }
    let proto = DeviceNameProto::decode(sealed).ok()?;
    let theirs = PublicKey::decode(&proto.ephemeral?).ok()?;
    let keys = Keys::agree(identity, &theirs)?;
    let synthetic_iv: [u8; IV] = proto.synthetic_iv?.try_into().ok()?;
    let name = keys.apply(&synthetic_iv, &proto.ciphertext?);
    // In constant time. The whole IV is compared.
    let expected = tag(keys.auth.expose(), &[&name]);
    if !tag_matches(&expected, &synthetic_iv) {
        return None;
    }
    String::from_utf8(name.to_vec()).ok()
}

/// The keys for one name.
struct Keys {
    auth: Secret<32>,
    cipher: Secret<32>,
}

impl Keys {
    fn agree(ours: &KeyPair, theirs: &PublicKey) -> Option<Self> {
        let shared = ours.agree(theirs).ok()?;
        let derive = |label: &[u8]| Secret::new(tag(shared.expose(), &[label]));
        Some(Self { auth: derive(b"auth"), cipher: derive(b"cipher") })
    }

    fn synthetic_iv(&self, name: &[u8]) -> [u8; IV] {
        let mut iv = [0; IV];
        iv.iter_mut().zip(tag(self.auth.expose(), &[name])).for_each(|(to, from)| *to = from);
        iv
    }

    /// AES-256-CTR from zero, with a key that depends on the IV. Encrypts and decrypts.
    fn apply(&self, synthetic_iv: &[u8; IV], text: &[u8]) -> Zeroizing<Vec<u8>> {
        let key = Secret::new(tag(self.cipher.expose(), &[synthetic_iv]));
        let cipher = Aes256::new(key.expose().into());
        let mut output = Zeroizing::new(text.to_vec());
        for (chunk, counter) in output.chunks_mut(IV).zip(0_u128..) {
            let mut block = counter.to_be_bytes().into();
            cipher.encrypt_block(&mut block);
            chunk.iter_mut().zip(block).for_each(|(byte, mask)| *byte ^= mask);
        }
        output
    }
}

#[derive(Message)]
struct DeviceNameProto {
    #[prost(bytes = "vec", optional, tag = "1")]
    ephemeral: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    synthetic_iv: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "3")]
    ciphertext: Option<Vec<u8>>,
}

/// Length of the synthetic IV, which is also that of an AES block.
const IV: usize = 16;

/// Longest encrypted name, in bytes.
const MAX_SEALED: usize = 1024;

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng as _;

    use super::*;

    #[test]
    fn only_the_account_reads_the_name_and_a_modified_one_is_refused() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let [identity, other] = [1, 2].map(|_| KeyPair::random(&mut rng));
        for name in ["", "laptop", "a name that has more than one block: é"] {
            let sealed = seal_device_name(name, identity.public(), &mut rng).unwrap();
            assert_eq!(open_device_name(&identity, &sealed).as_deref(), Some(name));
            assert_eq!(open_device_name(&other, &sealed), None);
            for byte in 0..sealed.len() {
                let mut bad = sealed.clone();
                bad[byte] ^= 1;
                assert_ne!(open_device_name(&identity, &bad).as_deref(), Some(name), "{byte}");
            }
        }
        assert_eq!(open_device_name(&identity, b"laptop"), None);
    }
}
