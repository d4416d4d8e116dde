//! The keys of the Double Ratchet: root keys, chain keys and message keys (Double Ratchet §3.1,
//! §5.2).

use ::hmac::{Hmac, Mac};
use sha2::Sha256;
use wormhole_kit::Secret;
use zeroize::Zeroizing;

use crate::kdf::{halves, hkdf, hmac};
use crate::key::{KeyError, KeyPair, PublicKey};

/// The root key, from which all chains of a session are derived.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct RootKey(pub(crate) Secret<32>);

impl RootKey {
    /// A step of the Diffie-Hellman ratchet: the next root key and a new chain.
    ///
    /// # Errors
    /// The peer's key is of low order.
    pub(crate) fn dh_step(
        &self,
        ours: &KeyPair,
        theirs: &PublicKey,
    ) -> Result<(Self, ChainKey), KeyError> {
        let shared = ours.agree(theirs)?;
        let (root, chain) = halves(&hkdf(self.0.expose(), shared.expose(), b"WhisperRatchet"));
        Ok((Self(root), ChainKey { key: chain, index: 0 }))
    }
}

/// A chain key and the number of messages before it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ChainKey {
    pub(crate) key: Secret<32>,
    pub(crate) index: u32,
}

impl ChainKey {
    /// The seed of this message and the next chain key. `None` after 2^32 - 1 messages.
    pub(crate) fn step(&self) -> Option<(MessageSeed, Self)> {
        let index = self.index.checked_add(1)?;
        // Both derivations share the keyed hash state.
        let keyed = hmac(self.key.expose());
        let seed = MessageSeed(finish(keyed.clone(), MESSAGE));
        Some((seed, Self { key: finish(keyed, CHAIN), index }))
    }

    /// Like [`ChainKey::step`], for a message whose keys are not needed.
    pub(crate) fn skip(&self) -> Option<Self> {
        let index = self.index.checked_add(1)?;
        Some(Self { key: finish(hmac(self.key.expose()), CHAIN), index })
    }
}

fn finish(mut mac: Hmac<Sha256>, label: u8) -> Secret<32> {
    mac.update(&[label]);
    Secret::new(*Zeroizing::new(<[u8; 32]>::from(mac.finalize().into_bytes())))
}

/// The input for deriving the keys of one message. Skipped messages are stored as seeds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct MessageSeed(pub(crate) Secret<32>);

impl MessageSeed {
    /// Derives the keys of the message, also from its key of the post-quantum ratchet, if it has one.
    pub(crate) fn keys(&self, post_quantum: Option<&Secret<32>>) -> MessageKeys {
        let salt = post_quantum.map_or(&[0; 32], Secret::expose);
        let okm = hkdf::<80>(salt, self.0.expose(), b"WhisperMessageKeys");
        let mut keys =
            MessageKeys { cipher: Secret::new([0; 32]), mac: Secret::new([0; 32]), iv: [0; 16] };
        if let Some((secrets, iv)) = okm.split_first_chunk::<64>() {
            (keys.cipher, keys.mac) = halves(secrets);
            keys.iv.iter_mut().zip(iv).for_each(|(to, from)| *to = *from);
        }
        keys
    }

    /// Derives the keys of a message to a group.
    pub(crate) fn group_keys(&self) -> GroupKeys {
        let okm = hkdf::<48>(&[0; 32], self.0.expose(), b"WhisperGroup");
        let (mut cipher, mut iv) = (Zeroizing::new([0; 32]), [0; 16]);
        let (from_iv, from_cipher) = okm.split_at(iv.len());
        iv.iter_mut().zip(from_iv).for_each(|(to, from)| *to = *from);
        cipher.iter_mut().zip(from_cipher).for_each(|(to, from)| *to = *from);
        GroupKeys { cipher: Secret::new(*cipher), iv }
    }
}

/// The keys of one message to a group. A signature takes the place of a MAC.
#[derive(Debug)]
pub(crate) struct GroupKeys {
    pub(crate) cipher: Secret<32>,
    pub(crate) iv: [u8; 16],
}

/// The keys of one message.
#[derive(Debug)]
pub(crate) struct MessageKeys {
    pub(crate) cipher: Secret<32>,
    pub(crate) mac: Secret<32>,
    pub(crate) iv: [u8; 16],
}

/// HMAC input for a message's seed.
const MESSAGE: u8 = 1;

/// HMAC input for the next chain key.
const CHAIN: u8 = 2;

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    fn hex(text: &str) -> [u8; 32] {
        HEXLOWER.decode(text.as_bytes()).unwrap().try_into().unwrap()
    }

    #[test]
    fn a_chain_gives_the_known_keys() {
        let key = hex("8ab72d6f4cc5ac0d387eaf463378ddb28edd07385b1cb01250c715982e7ad48f");
        let chain = ChainKey { key: Secret::new(key), index: 0 };
        let (seed, next) = chain.step().unwrap();
        let keys = seed.keys(None);
        let cipher = hex("bf51e9d75e0e31031051f82a2491ffc084fa298b7793bd9db620056febf45217");
        assert_eq!(*keys.cipher.expose(), cipher);
        let mac = hex("c6c77d6a73a354337a56435e34607dfe48e3ace14e77314dc6abc172e7a7030b");
        assert_eq!(*keys.mac.expose(), mac);
        let expected = hex("28e8f8fee54b801eef7c5cfb2f17f32c7b334485bbb70fac6ec10342a246d15d");
        assert_eq!(*next.key.expose(), expected);
        assert_eq!(chain.skip(), Some(next));
    }

    #[test]
    fn a_chain_ends_before_its_counter_would_repeat() {
        let chain = ChainKey { key: Secret::new([1; 32]), index: u32::MAX };
        assert_eq!(chain.step(), None);
        assert_eq!(chain.skip(), None);
    }
}
