//! Safety numbers, which two people compare to be sure of each other's identity keys, and the
//! tokens that a directory is asked with (docs/chat-protocol.md "Names").

use sha1::Sha1;
use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;

use crate::key::PublicKey;

/// One side of a safety number: an account and its identity key.
///
/// The account's name must be the same on both sides and differ between services, or the same key
/// in two services could be passed off as one person. Old clients use the phone number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Computes the fingerprint: slow on purpose, about 3 ms.
    pub fn new(name: &[u8], key: &PublicKey) -> Self {
        let key = key.encode();
        let first = Sha512::new().chain_update([0, 0]).chain_update(key).chain_update(name);
        let mut hash = first.chain_update(key).finalize();
        for _ in 1..ITERATIONS {
            hash = Sha512::new().chain_update(hash).chain_update(key).finalize();
        }
        let mut half = [0; 32];
        half.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        Self(half)
    }

    /// The 32 bytes that a scanned code compares.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether a scanned code is the same, in constant time.
    pub fn matches(&self, scanned: &[u8; 32]) -> bool {
        self.0.ct_eq(scanned).into()
    }

    /// This side's 30 digits.
    fn digits(&self) -> String {
        let groups = self.0.chunks_exact(5).take(6).map(|group| {
            let number = group.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
            format!("{:05}", number % 100_000)
        });
        groups.collect()
    }
}

/// The 60 digits that both sides see.
pub fn safety_number(ours: &Fingerprint, theirs: &Fingerprint) -> String {
    let mut sides = [ours.digits(), theirs.digits()];
    sides.sort_unstable();
    sides.concat()
}

/// What a directory is asked with instead of a phone number, 10 bytes. It hides nothing from the
/// directory: there are few enough numbers to try them all.
pub fn directory_token(number: &str) -> [u8; 10] {
    let hash = Sha1::digest(number);
    let mut token = [0; 10];
    token.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    token
}

/// How often a fingerprint is hashed. What deployed clients do.
const ITERATIONS: u32 = 5200;
