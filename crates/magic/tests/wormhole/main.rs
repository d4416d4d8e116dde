//! The wormhole machine against a scripted server and a scripted peer: behaviour, lost links, bad
//! input, and conversations recorded between real programs.

#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic, and starts its virtual clock at any time"
)]

mod bad_input;
mod behaviour;
mod client;
mod links;
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))] // needs a random source
mod properties;
mod simulation;
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))] // reads files
mod traces;
