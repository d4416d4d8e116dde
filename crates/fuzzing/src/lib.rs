//! The bodies of the fuzz targets in `fuzz/`. Each decodes bytes from the network, and checks what must hold for every
//! input that decodes.
//!
//! `tests/corpus.rs` replays the corpora through them as ordinary tests. For tests only.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "a panic is how a fuzz target reports an error"
)]

pub mod chat;
pub mod magic;
#[cfg(feature = "hidden")]
pub mod node;
#[cfg(feature = "hidden")]
pub mod sdk;
#[cfg(feature = "hidden")]
pub mod server;
pub mod whisper;

/// The body of a fuzz target. A panic is an error that it found.
pub type Body = fn(&[u8]);
