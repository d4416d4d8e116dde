//! Whisper v6 without I/O: the devp2p stack it runs on, and the gossip protocol itself.
//!
//! There is no socket, file, clock or randomness source in here; the `wormhole` crate brings them.
//! [`devp2p`] knows nothing of [`shh`].

pub mod devp2p;
pub mod shh;
