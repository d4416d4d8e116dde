//! The sender and the receiver of a transfer: against each other, against recordings of real
//! programs, and against peers that lie.

#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic, and starts its virtual clock at any time"
)]

mod data;
mod node;
#[cfg(not(all(target_family = "wasm", target_os = "unknown")))] // reads files
mod recordings;
mod sessions;
mod simulation;
