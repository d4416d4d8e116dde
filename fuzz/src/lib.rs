//! What each fuzz target does with its bytes.
//!
//! The `tests/corpus.rs` of each package includes its file from here and replays the corpus through
//! the same bodies as an ordinary test. A body decodes, and checks what must hold for whatever could
//! be decoded.

#![allow(missing_docs, reason = "each body is named after what it decodes")]

#[allow(dead_code, reason = "whole files of a program are included")]
pub mod cli;
#[allow(dead_code, reason = "whole files of a library are included")]
pub mod driver;
pub mod magic;
#[allow(dead_code, reason = "whole files of a program are included")]
pub mod server;
pub mod whisper;
