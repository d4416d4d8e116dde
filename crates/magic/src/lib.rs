//! The Magic Wormhole protocols without I/O: codes, mailbox, transit, dilation, file transfer, and the relay.
//!
//! This crate uses no sockets, files, clocks or operating system randomness; the caller provides them.
//!
//! Comments cite the specifications by file name. client-protocol.md, server-protocol.md, dilation-protocol.md and
//! file-transfer-protocol.md are in <https://github.com/magic-wormhole/magic-wormhole-protocols>; transit.rst is
//! docs/transit.rst in <https://github.com/magic-wormhole/magic-wormhole>.

mod app_id;
pub mod code;
pub mod dilation;
pub mod forward;
pub mod key;
pub mod mailbox;
pub mod relay;
pub mod secretbox;
pub mod spake2;
pub mod transfer;
pub mod transit;
pub mod wormhole;

pub use app_id::AppId;
