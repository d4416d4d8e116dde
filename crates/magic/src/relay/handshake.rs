//! The handshake line with which a client asks the relay for its partner.
//!
//! The handshake between the two clients is different; the relay forwards it without parsing. Spec: transit.rst
//! "Relay".

use std::fmt;

use sha2::{Digest, Sha256};

/// Maximum length of the line in bytes without newline, as in the Python relay. A valid line has at most 103.
pub const MAX_LINE: usize = 1024;

/// The line is not a request to relay.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a relay handshake")]
pub struct BadHandshake;

/// A token that both clients derive from their shared key, so nobody else knows it.
///
/// Stored as its SHA-256, so that the time of a comparison reveals nothing about waiting tokens.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
pub struct Token([u8; 32]);

/// Does not print the token.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Identifies a client, so that its own second connection is not taken for its partner.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Side([u8; SIDE]);

/// A valid request to relay.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Handshake {
    /// The token of both clients.
    pub token: Token,
    /// The side of the client; absent in the old form of the line, which matches anyone.
    pub side: Option<Side>,
}

impl Handshake {
    /// Parses `please relay TOKEN` or `please relay TOKEN for side SIDE`, with or without a newline.
    ///
    /// Clients send hex digits, but the Python relay accepts any 64 (16) letters, digits and underscores, so this relay
    /// does too.
    ///
    /// # Errors
    /// Anything else; answer `bad handshake`.
    pub fn decode(line: &[u8]) -> Result<Self, BadHandshake> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let rest = line.strip_prefix(b"please relay ").ok_or(BadHandshake)?;
        let (token, rest) = word::<TOKEN>(rest)?;
        let side = match rest {
            [] => None,
            _ => {
                let rest = rest.strip_prefix(b" for side ").ok_or(BadHandshake)?;
                let (side, []) = word::<SIDE>(rest)? else { return Err(BadHandshake) };
                Some(Side(*side))
            }
        };
        Ok(Self { token: Token(Sha256::digest(token).into()), side })
    }

    /// Whether the two match.
    pub fn fits(&self, other: &Self) -> bool {
        let same_client = self.side.is_some() && self.side == other.side;
        self.token == other.token && !same_client
    }
}

/// Splits off `N` letters, digits or underscores.
fn word<const N: usize>(bytes: &[u8]) -> Result<(&[u8; N], &[u8]), BadHandshake> {
    let (word, rest) = bytes.split_first_chunk().ok_or(BadHandshake)?;
    let is_word = word.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    if is_word { Ok((word, rest)) } else { Err(BadHandshake) }
}

/// The result of adding received bytes to the line.
#[derive(Debug)]
pub(super) enum Line<'a> {
    /// No newline yet.
    Partial,
    /// The request, and the bytes after its newline.
    Whole(Handshake, &'a [u8]),
    /// Not a request, or longer than [`MAX_LINE`].
    Bad,
}

/// Adds `bytes` to the line, which never grows beyond [`MAX_LINE`].
pub(super) fn read_line<'a>(line: &mut Vec<u8>, bytes: &'a [u8]) -> Line<'a> {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let (piece, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
    if line.len() + piece.len() > MAX_LINE {
        return Line::Bad;
    }
    line.extend_from_slice(piece);
    match rest {
        [] => Line::Partial,
        [_newline, rest @ ..] => {
            Handshake::decode(line).map_or(Line::Bad, |handshake| Line::Whole(handshake, rest))
        }
    }
}

/// Characters of a token.
const TOKEN: usize = 64;

/// Characters of a side.
const SIDE: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN_TEXT: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn both_forms_of_the_line_are_understood() {
        let old = Handshake::decode(format!("please relay {TOKEN_TEXT}").as_bytes()).unwrap();
        assert_eq!(old.side, None);
        let line = format!("please relay {TOKEN_TEXT} for side 0123456789abcdef\n");
        let new = Handshake::decode(line.as_bytes()).unwrap();
        assert_eq!(new.side, Some(Side(*b"0123456789abcdef")));
        assert_eq!(new.token, old.token);
    }

    #[test]
    fn letters_and_underscores_that_are_not_hex_are_taken_as_the_reference_does() {
        let line = format!("please relay {} for side {}", "_Zz9".repeat(16), "gG_0".repeat(4));
        assert!(Handshake::decode(line.as_bytes()).is_ok());
    }

    #[test]
    fn any_other_line_is_refused() {
        for line in [
            String::new(),
            "please relay ".to_owned(),
            format!("please relay {}", &TOKEN_TEXT[1..]),
            format!("please relay {TOKEN_TEXT}0"),
            format!("please relay {TOKEN_TEXT} "),
            format!("please relay {TOKEN_TEXT}\r\n"),
            format!("please relay {TOKEN_TEXT}\n\n"),
            format!(" please relay {TOKEN_TEXT}"),
            format!("Please relay {TOKEN_TEXT}"),
            format!("please relay {TOKEN_TEXT} for side 0123456789abcde"),
            format!("please relay {TOKEN_TEXT} for side 0123456789abcdef0"),
            format!("please relay {TOKEN_TEXT} for side 0123456789abcde-"),
            format!("please relay {}é{}", &TOKEN_TEXT[..31], &TOKEN_TEXT[..31]),
            "GET / HTTP/1.1\r".to_owned(),
        ] {
            assert_eq!(Handshake::decode(line.as_bytes()), Err(BadHandshake), "{line:?}");
        }
    }

    #[test]
    fn a_token_never_prints() {
        let line = format!("please relay {TOKEN_TEXT}");
        let handshake = Handshake::decode(line.as_bytes()).unwrap();
        assert_eq!(format!("{handshake:?}"), "Handshake { token: Token(..), side: None }");
    }
}
