//! RLPx: two nodes that know each other's public key make an encrypted, authenticated pipe of
//! frames (rlpx.md).
//!
//! What the frames say is not decided here: see [`super::peer`].
//!
//! **Do not lean on this encryption.** It is what devp2p prescribes, and it is broken by design:
//! both directions use one key stream, so whoever knows what was sent one way, and a relayed
//! envelope is known to everybody, can read the other way. It keeps strangers from injecting and
//! casual observers from reading; secrecy of messages comes from their own sealing.

mod frame;
mod handshake;

pub use frame::{BodySize, FrameError, MAX_FRAME, Opener, SEALED_HEADER, Sealer};
pub use handshake::{Accepted, Connected, ExpectAck, ExpectAuth, HandshakeError, Packet};
