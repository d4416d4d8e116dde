//! RLPx: an encrypted and authenticated transport of frames between two nodes that know each other's public
//! keys (rlpx.md).
//!
//! [`super::peer`] interprets the frames.
//!
//! **Do not rely on this encryption.** devp2p's design is broken: both directions use the same key stream, so
//! anyone who knows the data of one direction can decrypt the other, and forwarded envelopes are public. It
//! protects against casual eavesdropping and against data that outsiders inject. Messages are secret because
//! Whisper encrypts each of them end to end.

mod frame;
mod handshake;

pub use frame::{BodySize, FrameError, MAX_FRAME, Opener, SEALED_HEADER, Sealer};
pub use handshake::{Accepted, Connected, ExpectAck, ExpectAuth, HandshakeError, Packet};
