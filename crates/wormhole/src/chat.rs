//! End-to-end encrypted messages between the users of several apps.
//!
//! | module | for |
//! |---|---|
//! | [`store`] | everything that a device must not lose, encrypted on the disk |
//!
//! The protocol is in `wormhole-chat`, without I/O.

pub mod store;
