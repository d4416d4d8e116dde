//! What the fuzz targets of the command line do with their bytes.
//!
//! `crates/cli/src/ssh/corpus.rs` includes this file.

use super::key::PublicKey;

/// What a target does with its bytes. Panics are findings.
pub type Body = fn(&[u8]);

/// Every body with the name of its target and corpus.
pub const BODIES: &[(&str, Body)] = &[("cli_ssh_key", cli_ssh_key)];

/// A key that is to be allowed to log in: one line, and the same key when it is read again.
pub fn cli_ssh_key(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(key) = PublicKey::parse(text) {
        let line = key.to_string();
        assert!(line.starts_with(key.kind()) && !line.chars().any(char::is_control));
        let again = PublicKey::parse(&line).expect("a key that was written can be read");
        assert!(again.is_same_key(&key) && again.id() == key.id());
    }
}
