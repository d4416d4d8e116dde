//! Values derived from the transit key: the lines of the handshake, the token for the relay, and the keys of the
//! records (transit.rst "Handshake").
//!
//! [`crate::key`] derives the transit key itself.

use data_encoding::HEXLOWER;
use wormhole_kit::Secret;

use crate::key::derive_32;

/// The role of a side. The sender decides which connection is used.
///
/// ```
/// use wormhole_magic::transit::Role;
///
/// assert_eq!(Role::Sender.peer(), Role::Receiver);
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Waits for the sender's decision.
    Receiver,
    /// Chooses the connection.
    Sender,
}

impl Role {
    /// The other end.
    pub const fn peer(self) -> Self {
        match self {
            Self::Receiver => Self::Sender,
            Self::Sender => Self::Receiver,
        }
    }
}

/// The shared key of both sides of a transit connection.
///
/// ```
/// use wormhole_kit::Secret;
/// use wormhole_magic::transit::{Role, TransitKey};
///
/// let key = TransitKey::new(Secret::new([7; 32]));
/// assert!(key.hello(Role::Sender).starts_with(b"transit sender "));
/// ```
#[derive(Clone, Debug)]
pub struct TransitKey(Secret<32>);

impl TransitKey {
    /// Creates a key from the 32 bytes derived for `APPID/transit-key`.
    pub const fn new(key: Secret<32>) -> Self {
        Self(key)
    }

    /// The first line of `role` on every connection.
    pub fn hello(&self, role: Role) -> Vec<u8> {
        match role {
            Role::Receiver => {
                let id = HEXLOWER.encode(self.derive("transit_receiver").expose());
                format!("transit receiver {id} ready\n\n").into_bytes()
            }
            Role::Sender => {
                let id = HEXLOWER.encode(self.derive("transit_sender").expose());
                format!("transit sender {id} ready\n\n").into_bytes()
            }
        }
    }

    /// The line for a relay before the hello. `side` distinguishes connections of one client from another's.
    pub fn relay_line(&self, side: RelaySide) -> Vec<u8> {
        let token = HEXLOWER.encode(self.derive("transit_relay_token").expose());
        let side = HEXLOWER.encode(&side.0);
        format!("please relay {token} for side {side}\n").into_bytes()
    }

    /// The key of the records that `from` sends.
    pub fn record_key(&self, from: Role) -> Secret<32> {
        self.derive(match from {
            Role::Receiver => "transit_record_receiver_key",
            Role::Sender => "transit_record_sender_key",
        })
    }

    fn derive(&self, purpose: &str) -> Secret<32> {
        derive_32(&self.0, &[purpose.as_bytes()])
    }
}

/// Identifies a client to a relay: 8 random bytes, independent of the mailbox side.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RelaySide(pub [u8; 8]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_does_not_print() {
        assert_eq!(
            format!("{:?}", TransitKey::new(Secret::new([7; 32]))),
            "TransitKey(Secret(32 bytes))"
        );
    }
}
