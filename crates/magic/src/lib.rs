//! The Magic-Wormhole protocols without I/O.

pub mod code;
pub mod key;
pub mod secretbox;
pub mod spake2;
