//! Secrets that clients show to the service: passwords, tokens, codes and addresses. `Debug` shows none of them, and they are
//! compared in constant time.

use std::fmt;
use std::net::IpAddr;

use data_encoding::BASE64URL_NOPAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use wormhole_chat::Timestamp;
use wormhole_chat::service::PhoneNumber;
use wormhole_kit::wider_network;

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

/// The address at which a device waits for the message that links it to an account. Everybody who knows the address can send it a message.
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

/// A verification code that was sent to a number.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct PendingCode {
    /// Not hashed: a reader of the hash of one of 900,000 codes knows the code.
    pub(in crate::messaging) code: VerificationCode,
    /// When somebody has last asked for the code.
    pub(in crate::messaging) sent: Timestamp,
    /// Wrong codes that were entered since, by networks that have not asked for it.
    pub(in crate::messaging) attempts: u32,
    pub(in crate::messaging) askers: Askers,
}

/// A code that was shown to the owner of an account, for another device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct LinkCode {
    /// Of 128 random bits.
    pub(in crate::messaging) hash: TokenHash,
    pub(in crate::messaging) shown: Timestamp,
}

/// The networks that have asked for a code, and how many wrong ones each has entered.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in crate::messaging) struct Askers(Vec<(NetworkHash, u8)>);

/// The start of a hash of a number and a network.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct NetworkHash([u8; 8]);

impl NetworkHash {
    /// The network of a client that does something with a number. One customer of a provider may have all networks of a wide
    /// one, so they count together.
    pub(in crate::messaging) fn of(number: &PhoneNumber, client: IpAddr) -> Self {
        let network = wider_network(client).to_string();
        let TokenHash([a, b, c, d, e, f, g, h, ..]) =
            TokenHash::of(number.as_str().as_bytes(), network.as_bytes());
        Self([a, b, c, d, e, f, g, h])
    }
}

impl Askers {
    /// Nobody has asked.
    pub(in crate::messaging) const fn none() -> Self {
        Self(Vec::new())
    }

    /// The number of wrong codes from a network; `None` if it has not asked for the code.
    pub(in crate::messaging) fn attempts(&self, network: NetworkHash) -> Option<u32> {
        self.0.iter().find(|(asker, _)| *asker == network).map(|(_, attempts)| (*attempts).into())
    }

    /// Adds a network that asks for the code. If there are too many, the first one is forgotten.
    pub(in crate::messaging) fn add(&mut self, network: NetworkHash) {
        if self.attempts(network).is_none() {
            if self.0.len() >= MAX_ASKERS {
                self.0.remove(0);
            }
            self.0.push((network, 0));
        }
    }

    /// Counts a wrong code of a network that has asked for one.
    pub(in crate::messaging) fn count(&mut self, network: NetworkHash) {
        if let Some((_, attempts)) = self.0.iter_mut().find(|(asker, _)| *asker == network) {
            *attempts = attempts.saturating_add(1);
        }
    }

    /// As it is stored: nine bytes for each network.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.0
            .iter()
            .flat_map(|(network, attempts)| network.0.into_iter().chain([*attempts]))
            .collect()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) has written.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let (askers, _) = bytes.as_chunks();
        let read = |[a, b, c, d, e, f, g, h, attempts]: &[u8; 9]| {
            (NetworkHash([*a, *b, *c, *d, *e, *f, *g, *h]), *attempts)
        };
        Self(askers.iter().map(read).collect())
    }
}

/// Maximum number of networks that are remembered. Strangers in more cannot ask for the code of a number at once: 50 by SMS, 10 by voice,
/// and 100 after these are used up.
const MAX_ASKERS: usize = 256;
