//! The sparse post-quantum ratchet: keys that a quantum computer cannot compute, renewed as the conversation goes on
//! (docs/chat-protocol.md "Post-quantum ratchet").

#[cfg_attr(not(test), expect(dead_code, reason = "the session does not use it yet"))]
mod erasure;
mod field;
mod wire;

pub use wire::{SpqrChunk, SpqrDecodeError, SpqrMessage, SpqrPayload};
