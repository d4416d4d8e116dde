//! Dilated wormholes and forwarded ports over real sockets, the real mailbox server and the real relay: two of ours, and with the reference.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may panic"
)]

#[cfg(target_os = "linux")]
#[path = "../support/child.rs"]
#[expect(dead_code, reason = "other tests need processes with other limits")]
mod child;
mod echo;
mod forward;
mod fowl;
mod fowl_trouble;
mod mailbox;
#[cfg(target_os = "linux")]
mod moving;
#[cfg(target_os = "linux")]
mod network;
mod python;
#[path = "../support/servers.rs"]
#[expect(dead_code, reason = "the relay over WebSockets is tested elsewhere")]
mod servers;
mod streams;
#[cfg(target_os = "linux")]
mod transfers;
mod wire;
