//! Dilated wormholes and forwarded ports over real sockets, the real mailbox server and the real relay: two of ours, and with the reference.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may panic"
)]

mod echo;
mod forward;
mod fowl;
mod python;
#[path = "../support/servers.rs"]
#[expect(dead_code, reason = "the relay over WebSockets is tested elsewhere")]
mod servers;
mod streams;
mod wire;
