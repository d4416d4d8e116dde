//! The Wormhole servers.
fn main() {}
