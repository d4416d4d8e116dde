//! What a transit connection derives from its key: the lines of the handshake, the token for the
//! relay, and the keys of the records (transit.rst "Handshake").
//!
//! Not the derivation of the transit key itself from the wormhole's key.

use data_encoding::HEXLOWER;
use wormhole_kit::Secret;

use crate::key::derive_32;

/// Which end of a transit connection. The sender decides which link is used.
///
/// ```
/// use wormhole_magic::transit::Role;
///
/// assert_eq!(Role::Sender.peer(), Role::Receiver);
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Waits for the sender's verdict.
    Receiver,
    /// Chooses the link.
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

/// The key both ends of a transit connection share.
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
    /// Takes the 32 bytes derived for `APPID/transit-key`.
    pub const fn new(key: Secret<32>) -> Self {
        Self(key)
    }

    /// The line `role` says first on every link.
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

    /// The line said to a relay before the hello. `side` tells two connections of one client apart.
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

/// Names one client towards a relay: 8 random bytes, another draw than the mailbox side.
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
