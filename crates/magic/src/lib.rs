//! The Magic Wormhole protocols without I/O: codes, mailbox, transit, file transfer, and the relay.
//!
//! This crate uses no sockets, files, clocks or operating system randomness; the caller provides them.

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
