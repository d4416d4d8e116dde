//! Wormholes over real sockets, with a mailbox server and a Tor that fit into a test.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test may panic")]

mod mailbox;
mod tor;
mod wormholes;
