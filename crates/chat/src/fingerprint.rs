//! Safety numbers, which two people compare to verify each other's identity keys, and the tokens
//! that represent phone numbers in queries to a directory of users (docs/chat-protocol.md
//! "Fingerprints and safety numbers").

use sha1::Sha1;
use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;

use crate::key::PublicKey;

/// One side of a safety number: an account and its identity key.
///
/// Both sides must use the same name for the account, and names must differ between services;
/// otherwise one key in two services could pass as one person. Old clients use the phone number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Computes the fingerprint: deliberately slow, about 3 ms.
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

    /// The 32 bytes in a scanned code.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Compares with a scanned code, in constant time.
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

/// The 60 digits, the same on both sides.
pub fn safety_number(ours: &Fingerprint, theirs: &Fingerprint) -> String {
    let mut sides = [ours.digits(), theirs.digits()];
    sides.sort_unstable();
    sides.concat()
}

/// The 10 bytes that represent a phone number in a query to a directory. They hide nothing from the
/// directory: it can try all phone numbers.
pub fn directory_token(number: &str) -> [u8; 10] {
    let hash = Sha1::digest(number);
    let mut token = [0; 10];
    token.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    token
}

/// Number of hash iterations, the same as in deployed clients.
const ITERATIONS: u32 = 5200;
