//! The key of a dilated wormhole, the two roles, and the lines before the Noise handshake (dilation-protocol.md "Noise
//! Keys", "Leader / Follower").

use std::fmt;

use data_encoding::HEXLOWER;
use rand_core::RngCore;
use wormhole_kit::Secret;

use crate::key::{Key, derive_32};

/// The key that both sides derive from the key of the wormhole. It is the same for all connections.
#[derive(Clone, Debug)]
pub struct DilationKey(Secret<32>);

impl DilationKey {
    /// Derives the key from the shared key of a wormhole.
    pub fn new(key: &Key) -> Self {
        Self(derive_32(key.secret(), &[b"dilation-v1"]))
    }

    /// A key that was derived elsewhere.
    pub const fn from_secret(key: Secret<32>) -> Self {
        Self(key)
    }

    /// The pre-shared key of the Noise handshake.
    pub const fn psk(&self) -> &Secret<32> {
        &self.0
    }

    /// The line for a relay, which comes before everything else. `side` distinguishes our connections from the peer's.
    pub fn relay_line(&self, side: &DilationSide) -> Vec<u8> {
        let token = derive_32(&self.0, &[b"transit_relay_token"]);
        let token = HEXLOWER.encode(token.expose());
        format!("please relay {token} for side {side}\n").into_bytes()
    }
}

/// Identifies a side of a dilated wormhole, independently of its side in the mailbox. The larger one leads.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct DilationSide(String);

impl DilationSide {
    /// A random side that is larger than almost all others, so that we lead if the peer chooses at random. A leader notices
    /// a lost connection and starts the next one, and not every peer does that well.
    pub fn leading(rng: &mut impl RngCore) -> Self {
        Self::with_first_bytes([0xff, 0xff], rng)
    }

    /// A random side that is smaller than almost all others.
    pub fn following(rng: &mut impl RngCore) -> Self {
        Self::with_first_bytes([0, 0], rng)
    }

    fn with_first_bytes(first: [u8; 2], rng: &mut impl RngCore) -> Self {
        let mut random = [0; 6];
        rng.fill_bytes(&mut random);
        Self(HEXLOWER.encode(&[&first[..], &random].concat()))
    }

    /// A side as the peer sent it; `None` if it is empty or too long. Python's has 16 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        (!text.is_empty() && text.len() <= MAX_SIDE).then(|| Self(text.to_owned()))
    }

    /// The text on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DilationSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The role of a side. The leader chooses the connection, and starts the next one when it is lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DilationRole {
    /// Uses the connection that the leader chooses.
    Follower,
    /// Chooses the connection.
    Leader,
}

impl DilationRole {
    /// Our role; `None` if both sides are equal, which means that our own messages came back.
    pub fn of(ours: &DilationSide, theirs: &DilationSide) -> Option<Self> {
        match ours.cmp(theirs) {
            std::cmp::Ordering::Less => Some(Self::Follower),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some(Self::Leader),
        }
    }

    /// The other end.
    pub const fn peer(self) -> Self {
        match self {
            Self::Follower => Self::Leader,
            Self::Leader => Self::Follower,
        }
    }

    /// The first bytes of this side on a connection.
    pub const fn prologue(self) -> &'static [u8] {
        match self {
            Self::Follower => b"Magic-Wormhole Dilation Handshake v1 Follower\n\n",
            Self::Leader => b"Magic-Wormhole Dilation Handshake v1 Leader\n\n",
        }
    }

    /// The number of the first subchannel that this side opens; later ones are larger by 2. Number 0 does not exist.
    pub const fn first_subchannel(self) -> u32 {
        match self {
            Self::Follower => 2,
            Self::Leader => 1,
        }
    }
}

/// Maximum size of the peer's side in bytes.
const MAX_SIDE: usize = 64;

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn the_larger_side_leads() {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let (large, small) = (DilationSide::leading(rng), DilationSide::following(rng));
        assert_eq!(DilationRole::of(&large, &small), Some(DilationRole::Leader));
        assert_eq!(DilationRole::of(&small, &large), Some(DilationRole::Follower));
        assert_eq!(DilationRole::of(&small, &small), None);
        assert_eq!(large.as_str().len(), 16);
        assert_ne!(large, DilationSide::leading(rng));
    }
}
