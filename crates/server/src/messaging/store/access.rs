//! Delivery from senders who do not show who they are: the keys that permit it, and those with which the service certifies
//! senders for the recipients. `Debug` shows none of them.

use std::fmt;

use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Permits sending to an account without revealing the sender. The owner derives it from the profile key.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(in crate::messaging) struct AccessKey(pub(in crate::messaging) [u8; 16]);

/// The clients that may send to an account without credentials.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(in crate::messaging) struct Access {
    /// Clients that show this key. `None`: no client has one.
    pub(in crate::messaging) key: Option<AccessKey>,
    /// All clients, with any key.
    pub(in crate::messaging) is_unrestricted: bool,
}

/// The choices of the owner of an account about its [`Access`]. A field that is `None` stays as it is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(in crate::messaging) struct AccessChoice {
    pub(in crate::messaging) key: Option<AccessKey>,
    pub(in crate::messaging) is_unrestricted: Option<bool>,
}

/// The keys with which the service certifies senders. All nodes use the same ones.
#[derive(Clone, Eq, PartialEq)]
pub(in crate::messaging) struct DeliveryKeys {
    /// The private key of the trust root.
    pub(in crate::messaging) root: Zeroizing<[u8; 32]>,
    /// The private key that signs the certificates of senders.
    pub(in crate::messaging) server: Zeroizing<[u8; 32]>,
    /// The certificate of that key, signed by the trust root.
    pub(in crate::messaging) certificate: Vec<u8>,
}

impl AccessKey {
    /// Compares in constant time.
    pub(in crate::messaging) fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// The key for both: a sender to several accounts shows only the XOR of their keys.
    pub(in crate::messaging) fn xor(self, other: Self) -> Self {
        let mut both = self.0;
        both.iter_mut().zip(other.0).for_each(|(byte, other)| *byte ^= other);
        Self(both)
    }

    /// Shows those who have the key that the server has it, too.
    pub(in crate::messaging) fn checksum(&self) -> [u8; 32] {
        // HMAC takes keys of any length.
        let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.0);
        mac.map_or([0; 32], |mac| mac.chain_update([0; 32]).finalize().into_bytes().into())
    }
}

impl Access {
    /// Whether this key permits sending to all of these accounts. An account that does not exist is `None`. Compares even
    /// if the result is known, so that the time tells little.
    pub(in crate::messaging) fn allow<'a>(
        accounts: impl IntoIterator<Item = Option<&'a Self>>,
        key: &AccessKey,
    ) -> bool {
        let (mut combined, mut is_restricted, mut is_possible) = (NO_KEY, false, true);
        for access in accounts {
            let access = access.copied().unwrap_or_default();
            if !access.is_unrestricted {
                is_restricted = true;
                is_possible &= access.key.is_some();
                combined = combined.xor(access.key.unwrap_or(NO_KEY));
            }
        }
        let matches = combined.matches(key);
        is_possible && (matches || !is_restricted)
    }
}

impl AccessChoice {
    /// Changes who may send; returns whether anything is different.
    pub(in crate::messaging) fn apply_to(self, access: &mut Access) -> bool {
        let before = *access;
        access.key = self.key.or(access.key);
        access.is_unrestricted = self.is_unrestricted.unwrap_or(access.is_unrestricted);
        before != *access
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessKey(…)")
    }
}

impl fmt::Debug for DeliveryKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeliveryKeys(…)")
    }
}

/// The neutral element of XOR: the key of an account that everybody may send to.
const NO_KEY: AccessKey = AccessKey([0; 16]);

#[cfg(test)]
mod tests {
    use super::*;

    fn access(byte: u8) -> Access {
        Access { key: Some(AccessKey([byte; 16])), is_unrestricted: false }
    }

    #[test]
    fn a_key_permits_sending_to_exactly_the_accounts_whose_keys_it_combines() {
        let (a, b, none) = (access(1), access(2), Access::default());
        let open = Access { is_unrestricted: true, ..access(7) };
        let key = |byte| AccessKey([byte; 16]);
        assert!(Access::allow([Some(&a)], &key(1)));
        assert!(!Access::allow([Some(&a)], &key(2)));
        assert!(Access::allow([Some(&a), Some(&b)], &key(3)));
        assert!(Access::allow([Some(&a), Some(&open), Some(&b)], &key(3)));
        assert!(Access::allow([Some(&open)], &key(9)));
        // An account without a key, or one that does not exist, makes the whole list impossible.
        for missing in [Some(&none), None] {
            assert!(!Access::allow([missing], &key(0)));
            assert!(!Access::allow([Some(&a), missing], &key(1)));
            assert!(!Access::allow([Some(&open), missing], &key(0)));
        }
    }

    #[test]
    fn nothing_secret_is_printed() {
        let keys = DeliveryKeys {
            root: Zeroizing::new([7; 32]),
            server: Zeroizing::new([7; 32]),
            certificate: vec![7],
        };
        let printed = format!("{:?} {keys:?}", access(7));
        assert!(!printed.contains('7'), "{printed}");
    }
}
