//! What each fuzz target does with its bytes.
//!
//! A `corpus.rs` of each package includes its file from here and replays the corpus through the same
//! bodies as an ordinary test. A body decodes, and checks what must hold for whatever could be
//! decoded. What the programs decode themselves is included from them: it needs nothing else of theirs.

#![allow(missing_docs, reason = "each body is named after what it decodes")]

pub mod chat;
pub mod cli;
#[allow(dead_code, reason = "all of it is used by the program")]
#[path = "../../crates/cli/src/ssh/key.rs"]
mod key;
pub mod magic;
pub mod node;
#[allow(dead_code, reason = "whole files of the library are included")]
pub mod sdk;
pub mod server;
pub mod whisper;
