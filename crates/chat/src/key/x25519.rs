//! X25519 (RFC 7748 §5): the two operations on clamped scalars.
//!
//! With the feature `fast-x25519`, processors that have the instructions run `graviola`, whose
//! formally verified assembly takes less than half the time. All others run `curve25519-dalek`. Both
//! compute the same function, which the tests of this module check.

use curve25519_dalek::MontgomeryPoint;
use zeroize::Zeroizing;

/// Computes the u-coordinate of the public key.
pub(super) fn public_key(secret: &[u8; 32]) -> [u8; 32] {
    #[cfg(all(feature = "fast-x25519", any(target_arch = "x86_64", target_arch = "aarch64")))]
    if assembly::is_supported() {
        return assembly::public_key(secret);
    }
    portable_public_key(secret)
}

/// Computes the shared secret. It is all zeros if `peer` is of low order.
pub(super) fn agree(secret: &[u8; 32], peer: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    #[cfg(all(feature = "fast-x25519", any(target_arch = "x86_64", target_arch = "aarch64")))]
    if assembly::is_supported() {
        return assembly::agree(secret, peer);
    }
    portable_agree(secret, peer)
}

fn portable_public_key(secret: &[u8; 32]) -> [u8; 32] {
    MontgomeryPoint::mul_base_clamped(*secret).0
}

fn portable_agree(secret: &[u8; 32], peer: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(MontgomeryPoint(*peer).mul_clamped(*secret).0)
}

#[cfg(all(feature = "fast-x25519", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod assembly {
    use graviola::key_agreement::x25519::{PublicKey, StaticPrivateKey};
    use zeroize::Zeroizing;

    /// Whether the processor has all instructions that this version of `graviola` requires. It panics without them.
    pub(super) fn is_supported() -> bool {
        #[cfg(target_arch = "x86_64")]
        return std::is_x86_feature_detected!("adx")
            && std::is_x86_feature_detected!("aes")
            && std::is_x86_feature_detected!("avx")
            && std::is_x86_feature_detected!("avx2")
            && std::is_x86_feature_detected!("bmi1")
            && std::is_x86_feature_detected!("bmi2")
            && std::is_x86_feature_detected!("pclmulqdq")
            && std::is_x86_feature_detected!("ssse3");
        #[cfg(target_arch = "aarch64")]
        return std::arch::is_aarch64_feature_detected!("aes")
            && std::arch::is_aarch64_feature_detected!("neon")
            && std::arch::is_aarch64_feature_detected!("pmull")
            && std::arch::is_aarch64_feature_detected!("sha2");
    }

    pub(super) fn public_key(secret: &[u8; 32]) -> [u8; 32] {
        StaticPrivateKey::from_array(secret).public_key().as_bytes()
    }

    pub(super) fn agree(secret: &[u8; 32], peer: &[u8; 32]) -> Zeroizing<[u8; 32]> {
        let peer = PublicKey::from_array(peer);
        // The only error is a shared secret of zeros.
        let shared = StaticPrivateKey::from_array(secret).diffie_hellman(&peer);
        Zeroizing::new(shared.map_or([0; 32], |shared| shared.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::LOW_ORDER;

    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    fn bytes(hex: &str) -> [u8; 32] {
        HEXLOWER.decode(hex.as_bytes()).unwrap().try_into().unwrap()
    }

    /// Checks one agreement in both implementations.
    fn check(secret: &str, peer: &str, shared: &str) {
        let (mut secret, peer) = (bytes(secret), bytes(peer));
        secret[0] &= 248;
        secret[31] = (secret[31] & 127) | 64;
        assert_eq!(*agree(&secret, &peer), bytes(shared));
        assert_eq!(*portable_agree(&secret, &peer), bytes(shared));
    }

    #[test]
    fn the_vectors_of_rfc_7748_hold() {
        check(
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        );
        check(
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        );
        check(
            "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
            "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
            "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
        );
    }

    #[test]
    fn attack_21_points_of_low_order_give_zeros_in_both_implementations() {
        let secret = [0x48; 32];
        for u in LOW_ORDER {
            assert_eq!(*agree(&secret, &u), [0; 32]);
            assert_eq!(*portable_agree(&secret, &u), [0; 32]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn both_implementations_compute_the_same(mut secret: [u8; 32], peer: [u8; 32]) {
            secret[0] &= 248;
            secret[31] = (secret[31] & 127) | 64;
            prop_assert_eq!(public_key(&secret), portable_public_key(&secret));
            prop_assert_eq!(*agree(&secret, &peer), *portable_agree(&secret, &peer));
        }
    }
}
