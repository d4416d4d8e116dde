//! SPAKE2: turns a code into a shared key, symmetric over Ed25519 (client-protocol.md).
//!
//! The arithmetic is in the `spake2` crate. This module adds the checks that the crate lacks: a reflected
//! message, the identity, and points of small or mixed order are rejected before the password is used.
//!
//! ```text
//! start ──message──► peer          peer ──message──► finish ──► Key
//! ```

use std::fmt;

use curve25519_dalek::{edwards::CompressedEdwardsY, traits::IsIdentity};
use rand_core::CryptoRngCore;
use spake2::{Ed25519Group, Identity, Password, Spake2 as Arithmetic};
use subtle::ConstantTimeEq;
use wormhole_kit::Secret;
use zeroize::Zeroizing;

use crate::{app_id::AppId, code::Code, key::Key};

/// One side of the key exchange, which expects the peer's message.
pub struct Spake2 {
    arithmetic: Arithmetic<Ed25519Group>,
    sent: [u8; MESSAGE],
}

impl Spake2 {
    /// Starts the key exchange. Also returns the message for the peer: [`MESSAGE`] bytes.
    pub fn start(
        code: &Code,
        app_id: &AppId,
        rng: &mut impl CryptoRngCore,
    ) -> (Self, [u8; MESSAGE]) {
        let password = Password::new(Zeroizing::new(code.normalized()).as_bytes());
        let identity = Identity::new(app_id.normalized().as_bytes());
        let (arithmetic, message) =
            Arithmetic::<Ed25519Group>::start_symmetric_with_rng(&password, &identity, rng);
        let mut sent = [0; MESSAGE];
        // The crate returns the side byte and one compressed point.
        sent.iter_mut().zip(message).for_each(|(to, from)| *to = from);
        (Self { arithmetic, sent }, sent)
    }

    /// Handles the peer's message and returns the shared key. The key is not confirmed: a peer with another code
    /// computes another key, which is only noticed at the first encrypted message.
    ///
    /// # Errors
    /// The peer violated the protocol; the exchange cannot continue.
    pub fn finish(self, message: &[u8]) -> Result<Key, PakeError> {
        let message: &[u8; MESSAGE] =
            message.try_into().map_err(|_| PakeError::WrongLength(message.len()))?;
        let [side, point @ ..] = message;
        if *side != SYMMETRIC {
            return Err(PakeError::WrongSide(*side));
        }
        if bool::from(message.ct_eq(&self.sent)) {
            return Err(PakeError::Reflected);
        }
        check_point(point)?;
        let key = self.arithmetic.finish(message).map_err(|_| PakeError::NotAPoint)?;
        let key = Zeroizing::new(key);
        let key = key.as_slice().try_into().map_err(|_| PakeError::NotAPoint)?;
        Ok(Key::new(Secret::new(key)))
    }
}

impl fmt::Debug for Spake2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spake2(…)")
    }
}

/// Checks that a point is canonical, in the prime-order group, and not the identity.
fn check_point(bytes: &[u8; 32]) -> Result<(), PakeError> {
    let compressed = CompressedEdwardsY(*bytes);
    let point = compressed.decompress().ok_or(PakeError::NotAPoint)?;
    if point.compress() != compressed {
        return Err(PakeError::NotCanonical);
    }
    if point.is_identity() || !point.is_torsion_free() {
        return Err(PakeError::WrongOrder);
    }
    Ok(())
}

/// How the peer violated the key exchange.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PakeError {
    /// The bytes are not a point of the curve.
    #[error("key-exchange message is not a curve point")]
    NotAPoint,
    /// The encoding of the point is not canonical.
    #[error("key-exchange message is not canonical")]
    NotCanonical,
    /// The message is a copy of our own.
    #[error("key-exchange message is a copy of our own")]
    Reflected,
    /// The message has the wrong length: this many bytes.
    #[error("key-exchange message has {0} bytes")]
    WrongLength(usize),
    /// The point is the identity or outside of the prime-order group.
    #[error("key-exchange message has the wrong order")]
    WrongOrder,
    /// The first byte does not indicate the symmetric exchange.
    #[error("key-exchange message is for side {0:#04x}")]
    WrongSide(u8),
}

/// Size of a message in bytes: the side byte and a compressed point.
pub const MESSAGE: usize = 33;

/// The side byte of the symmetric exchange, `S`.
const SYMMETRIC: u8 = 0x53;

#[cfg(test)]
mod tests;
