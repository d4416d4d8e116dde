//! How keys and secrets are written in files, and bytes for people.

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use rand_core::OsRng;
use wormhole_kit::Secret;
use wormhole_whisper::devp2p::key::PrivateKey;
use zeroize::Zeroizing;

/// Draws a key pair.
pub fn new_key() -> PrivateKey {
    PrivateKey::random(&mut OsRng)
}

/// Reads a private key from its 64 hexadecimal digits; `None` if they are none.
pub fn private_key(digits: &str) -> Option<PrivateKey> {
    let bytes = HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).map(Zeroizing::new).ok()?;
    let bytes: [u8; 32] = bytes.as_slice().try_into().ok()?;
    PrivateKey::from_secret(&Secret::new(bytes)).ok()
}

/// The secret word in the text of a file, a password or a token: its first line, with all blanks but
/// without the line's end. `None` if there is nothing on it.
///
/// ```
/// assert_eq!(wormhole_node::secret_word("let me in\nand others\n"), Some("let me in"));
/// ```
pub fn secret_word(text: &str) -> Option<&str> {
    text.lines().next().filter(|line| !line.is_empty())
}

/// `0x` and hexadecimal digits, as people and JSON-RPC have them.
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
            assert_eq!(secret_word(text), word, "{text:?}");
        }
    }
}
