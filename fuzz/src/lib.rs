//! The bodies of the fuzz targets.
//!
//! Each package with decoders has a `corpus.rs`, which includes its file from here and replays the corpus
//! as an ordinary test. A body decodes the bytes, and checks what must hold for every input that decodes.
//! Decoders inside the programs are included as files, because the programs do not export them.

#![allow(missing_docs, reason = "each function is named after the data that it decodes")]

pub mod chat;
pub mod magic;
pub mod node;
#[allow(dead_code, reason = "whole files of the library are included")]
pub mod sdk;
pub mod server;
pub mod whisper;
