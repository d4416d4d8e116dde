//! What each fuzz target does with its bytes.
//!
//! The `tests/corpus.rs` of each protocol includes its file from here and replays the corpus through
//! the same bodies as an ordinary test. A body decodes, and checks what must hold for whatever could
//! be decoded.

#![allow(missing_docs, reason = "each body is named after what it decodes")]

pub mod magic;
pub mod whisper;
