//! Whisper v6 without I/O: the devp2p network stack, and the gossip protocol on top of it.
//!
//! This crate uses no sockets, files, clocks or operating system randomness; the caller provides them.
//! [`devp2p`] does not depend on [`shh`].

pub mod devp2p;
pub mod shh;
