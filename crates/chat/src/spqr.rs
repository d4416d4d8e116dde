//! The sparse post-quantum ratchet: keys that a quantum computer cannot compute, renewed as the conversation goes on
//! (docs/chat-protocol.md "Post-quantum ratchet").

mod wire;

pub use wire::{SpqrChunk, SpqrDecodeError, SpqrMessage, SpqrPayload};
