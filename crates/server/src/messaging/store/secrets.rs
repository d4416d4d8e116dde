//! What proves something to the service: passwords, tokens, codes and addresses. `Debug` shows none of them, and they are
//! compared in constant time.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use wormhole_chat::Timestamp;

/// SHA-256 of a password or of the token of an app. These are random and have at least 128 bits, so a slow hash would not
/// protect them better; it would only make each request expensive.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(in crate::messaging) struct TokenHash(pub(in crate::messaging) [u8; 32]);

impl TokenHash {
    /// The hash of a secret with a salt, which is empty for random tokens.
    pub(in crate::messaging) fn of(salt: &[u8], secret: &[u8]) -> Self {
        Self(Sha256::new().chain_update(salt).chain_update(secret).finalize().into())
    }

    /// Compares in constant time.
    pub(in crate::messaging) fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

/// Six digits that prove that somebody reads what is sent to a number. Never shown in a log.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(in crate::messaging) struct VerificationCode(pub(in crate::messaging) u32);

impl VerificationCode {
    /// Compares in constant time.
    pub(in crate::messaging) fn matches(self, other: Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for VerificationCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerificationCode(…)")
    }
}

/// Where a device waits for the message with which it is linked to an account. Whoever knows the address can send it one.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub(in crate::messaging) struct ProvisioningAddress(pub(in crate::messaging) [u8; 16]);

impl ProvisioningAddress {
    /// The first 8 bytes. They do not suffice to send a message.
    pub(in crate::messaging) fn start(self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// As clients see it.
    pub(in crate::messaging) fn to_text(self) -> String {
        BASE64URL_NOPAD.encode(&self.0)
    }

    /// Reads what [`to_text`](Self::to_text) has written.
    pub(in crate::messaging) fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Debug for ProvisioningAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProvisioningAddress(…)")
    }
}

/// A verification code that was sent to a number, or shown to the owner of an account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct PendingCode {
    /// Not hashed: whoever reads the hash of one of 900,000 codes knows the code.
    pub(in crate::messaging) code: VerificationCode,
    /// When the code was made. It may have been sent again since.
    pub(in crate::messaging) sent: Timestamp,
    /// Wrong codes that were entered since.
    pub(in crate::messaging) attempts: u32,
}
