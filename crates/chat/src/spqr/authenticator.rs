//! The MACs of what the two sides exchange for a key.
//!
//! The key of the MACs changes with each exchanged key, so somebody who knows the keys of one epoch cannot forge an exchange
//! after the next one.

use wormhole_kit::Secret;
use zeroize::Zeroizing;

use super::kem::{CIPHERTEXT_1, CIPHERTEXT_2, HEADER};
use crate::kdf::{halves, hkdf, tag, tag_matches};

/// The keys of the MACs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Authenticator {
    pub(super) root: Secret<32>,
    pub(super) mac: Secret<32>,
}

impl Authenticator {
    /// Begins with the key from the first agreement.
    pub(super) fn new(auth_key: &Secret<32>) -> Self {
        Self { root: Secret::new([0; 32]), mac: Secret::new([0; 32]) }.updated(1, auth_key)
    }

    /// The keys after `key` was exchanged in an epoch.
    pub(super) fn updated(&self, epoch: u64, key: &Secret<32>) -> Self {
        let input = Zeroizing::new([&self.root.expose()[..], key.expose()].concat());
        let info = [UPDATE, &epoch.to_be_bytes()].concat();
        let (root, mac) = halves(&hkdf(&[0; 32], &input, &info));
        Self { root, mac }
    }

    /// The MAC of the header of an encapsulation key.
    pub(super) fn of_header(&self, epoch: u64, header: &[u8; HEADER]) -> [u8; MAC] {
        tag(self.mac.expose(), &[HEADER_LABEL, &epoch.to_be_bytes(), header])
    }

    /// The MAC of a ciphertext. Only with the keys after the exchange of its secret.
    pub(super) fn of_ciphertext(
        &self,
        epoch: u64,
        first: &[u8; CIPHERTEXT_1],
        second: &[u8; CIPHERTEXT_2],
    ) -> [u8; MAC] {
        tag(self.mac.expose(), &[CIPHERTEXT_LABEL, &epoch.to_be_bytes(), first, second])
    }

    /// Whether a MAC is the expected one, in constant time.
    pub(super) fn matches(expected: &[u8; MAC], mac: &[u8; MAC]) -> bool {
        tag_matches(expected, mac)
    }
}

/// The key of an epoch, from the secret that was exchanged.
pub(super) fn epoch_key(epoch: u64, secret: &Secret<32>) -> Secret<32> {
    let info = [EPOCH_KEY, &epoch.to_be_bytes()].concat();
    Secret::new(*hkdf(&[0; 32], secret.expose(), &info))
}

/// Length of a MAC.
pub(super) const MAC: usize = 32;

const EPOCH_KEY: &[u8] = b"Signal_PQCKA_V1_MLKEM768:SCKA Key";
const UPDATE: &[u8] = b"Signal_PQCKA_V1_MLKEM768:Authenticator Update";
const HEADER_LABEL: &[u8] = b"Signal_PQCKA_V1_MLKEM768:ekheader";
const CIPHERTEXT_LABEL: &[u8] = b"Signal_PQCKA_V1_MLKEM768:ciphertext";
