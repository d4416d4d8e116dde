//! Topics: the four bytes by which readers recognise their envelopes (docs/whisper-protocol.md "Envelope").
//!
//! A topic is a hint, not an address: anyone may use any topic, and everyone can see it.

use std::fmt;

use data_encoding::HEXLOWER;
use sha3::{Digest, Keccak256};

/// A topic.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Topic(pub [u8; 4]);

impl Topic {
    /// The topic of a word, such as the name of a public chat: the first four bytes of its Keccak-256.
    pub fn of_word(word: &str) -> Self {
        let hash: [u8; 32] = Keccak256::digest(word).into();
        let [a, b, c, d, ..] = hash;
        Self([a, b, c, d])
    }

    /// Parses user input: `0x` and 8 hexadecimal digits are a topic, all other text is a word to be
    /// hashed.
    pub fn parse(text: &str) -> Self {
        let digits = text.strip_prefix("0x").map(str::to_ascii_lowercase);
        let bytes = digits.and_then(|digits| HEXLOWER.decode(digits.as_bytes()).ok());
        let topic = bytes.and_then(|bytes| bytes.try_into().ok());
        topic.map_or_else(|| Self::of_word(text), Self)
    }
}

/// `0x` and 8 lower-case hexadecimal digits.
impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", HEXLOWER.encode(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_are_the_topic_itself() {
        assert_eq!(Topic::parse("0xDEADbeef"), Topic([0xde, 0xad, 0xbe, 0xef]));
        assert_eq!(Topic([0, 1, 2, 255]).to_string(), "0x000102ff");
    }

    #[test]
    fn any_other_text_is_a_word_that_is_hashed() {
        // Keccak-256 of "status" begins with these bytes.
        let hash = Keccak256::digest("status");
        assert_eq!(Topic::parse("status").0, hash[..4]);
        assert_eq!(Topic::parse("0x0102").0, Keccak256::digest("0x0102")[..4]);
    }
}
