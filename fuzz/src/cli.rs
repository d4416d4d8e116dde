//! The fuzz targets of the command line.
//!
//! `crates/cli/src/ssh/corpus.rs` includes this file.

use super::key::PublicKey;

/// The body of a fuzz target. A panic is a finding.
pub type Body = fn(&[u8]);

/// Every body with the name of its target and of its corpus.
pub const BODIES: &[(&str, Body)] = &[("cli_ssh_key", cli_ssh_key)];

/// A public key for `authorized_keys`: it is one line, and parsing it again gives the same key.
pub fn cli_ssh_key(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(key) = PublicKey::parse(text) {
        let line = key.to_string();
        assert!(line.starts_with(key.kind()) && !line.chars().any(char::is_control));
        let again = PublicKey::parse(&line).expect("a key that was written can be read");
        assert!(again.is_same_key(&key) && again.id() == key.id());
    }
}
