//! Text forms of keys, secrets and bytes.

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use rand_core::OsRng;
use wormhole_kit::Secret;
use wormhole_whisper::devp2p::key::PrivateKey;
use zeroize::Zeroizing;

/// Generates a key pair.
pub fn new_key() -> PrivateKey {
    PrivateKey::random(&mut OsRng)
}

/// Parses a private key of 64 hexadecimal digits; `None` if it is invalid.
pub fn private_key(digits: &str) -> Option<PrivateKey> {
    let bytes = HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).map(Zeroizing::new).ok()?;
    let bytes: [u8; 32] = bytes.as_slice().try_into().ok()?;
    PrivateKey::from_secret(&Secret::new(bytes)).ok()
}

/// The secret in the text of a file with a password or token: its first line, including spaces, without the line
/// end. `None` if it is empty.
///
/// ```
/// assert_eq!(wormhole_node::secret_line("let me in\nand others\n"), Some("let me in"));
/// ```
pub fn secret_line(text: &str) -> Option<&str> {
    text.lines().next().filter(|line| !line.is_empty())
}

/// `0x` and hexadecimal digits, as used in JSON-RPC.
pub fn hex(bytes: &[u8]) -> String {
    format!("0x{}", HEXLOWER.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_word_is_the_first_line_as_it_stands() {
        for (text, word) in [
            ("hush", Some("hush")),
            (" let me in \nsecond\n", Some(" let me in ")),
            ("hush\r\n", Some("hush")),
            ("", None),
            ("\nhush\n", None),
            ("\r\n", None),
        ] {
            assert_eq!(secret_line(text), word, "{text:?}");
        }
    }
}
