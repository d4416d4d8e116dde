//! The Magic-Wormhole protocols without I/O: everything between a code spoken aloud and the bytes
//! on the wire.
//!
//! There is no socket, file, clock or randomness source in here; the `wormhole` crate brings them.

mod app_id;
pub mod code;
pub mod key;
pub mod mailbox;
pub mod relay;
pub mod secretbox;
pub mod spake2;
pub mod transfer;
pub mod transit;
pub mod wormhole;

pub use app_id::AppId;
