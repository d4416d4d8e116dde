//! Wormholes over real sockets and the real mailbox server.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may panic"
)]

mod connection;
mod half_open;
mod leaving;
mod limits;
mod mailbox;
mod nameplates;
#[path = "../support/proxy.rs"]
mod proxy;
mod raw_peer;
mod restarts;
#[path = "../support/tor.rs"]
mod scripted_tor;
mod tor;
mod urls;
mod wormholes;
mod wrong_peers;
mod wrong_servers;
