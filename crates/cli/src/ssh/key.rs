//! One OpenSSH public key, parsed by `ssh-key`.
//!
//! The Python command line appends every received line to `authorized_keys`. Such a line could
//! contain options (`command="..." ssh-rsa ...`) or be several lines. So this parses the key, and
//! only the key is written (RFC 4253 §6.6, sshd(8) on `authorized_keys`).

use std::fmt;

use ssh_key::Algorithm;

/// A public key of a kind that sshd accepts, with a printable comment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct PublicKey {
    key: ssh_key::PublicKey,
    /// `KIND BASE64`, without the comment.
    line: String,
}

/// Why a text is not a public key that we accept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NotAKey {
    /// The bytes do not decode, or are a key of another kind than the line says.
    Damaged,
    /// The text is empty.
    Empty,
    /// The text has more than one line.
    SeveralLines,
    /// The line is longer than any key.
    TooLong,
    /// The line does not start with a known kind: perhaps with options, or it is a private key.
    UnknownKind,
    /// The comment contains control characters.
    UnprintableComment,
}

impl PublicKey {
    /// Parses `KIND BASE64 [COMMENT]`.
    ///
    /// # Errors
    /// The text is not a public key. Show the reason.
    pub(crate) fn parse(text: &str) -> Result<Self, NotAKey> {
        let text = text.trim();
        if text.len() > MAX_LINE {
            return Err(NotAKey::TooLong);
        }
        if text.contains(['\n', '\r']) {
            return Err(NotAKey::SeveralLines);
        }
        // sshd accepts tabs between the fields, `ssh-key` only spaces.
        let mut fields = text.splitn(3, [' ', '\t']).map(str::trim);
        let kind = fields.next().filter(|kind| !kind.is_empty()).ok_or(NotAKey::Empty)?;
        if !is_accepted(kind) {
            return Err(NotAKey::UnknownKind);
        }
        let line = format!("{kind} {}", fields.next().unwrap_or_default());
        let mut key = ssh_key::PublicKey::from_openssh(&line).map_err(|_| NotAKey::Damaged)?;
        let comment = fields.next().unwrap_or_default();
        if comment.chars().any(char::is_control) {
            return Err(NotAKey::UnprintableComment);
        }
        key.set_comment(comment);
        Ok(Self { key, line })
    }

    /// The kind of key, such as `ssh-ed25519`.
    pub(crate) fn kind(&self) -> String {
        self.key.algorithm().to_string()
    }

    /// The comment, or `unknown` if it is empty, like the Python command line.
    pub(crate) fn id(&self) -> &str {
        if self.key.comment().is_empty() { "unknown" } else { self.key.comment() }
    }

    /// Whether this is the same key, apart from the comment.
    pub(crate) fn is_same_key(&self, other: &Self) -> bool {
        self.key.key_data() == other.key.key_data()
    }
}

/// Whether `authorized_keys` may contain a key of this kind: no certificates, no unknown kinds,
/// and no names of signature algorithms such as `rsa-sha2-256`.
fn is_accepted(kind: &str) -> bool {
    match Algorithm::new(kind) {
        Ok(Algorithm::Other(_) | Algorithm::Rsa { hash: Some(_) }) | Err(_) => false,
        Ok(_) => true,
    }
}

/// The line for `authorized_keys`, without a line end.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)?;
        let comment = self.key.comment();
        if comment.is_empty() { Ok(()) } else { write!(f, " {comment}") }
    }
}

impl fmt::Display for NotAKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "it is empty",
            Self::SeveralLines => "it has several lines",
            Self::UnknownKind => "it does not start with a kind of key such as ssh-ed25519",
            Self::Damaged => "its bytes are damaged",
            Self::UnprintableComment => "its comment has unprintable characters",
            Self::TooLong => "it is too long",
        })
    }
}

/// The longest line accepted, in bytes: what sshd reads as one line.
const MAX_LINE: usize = 8192;

#[cfg(test)]
mod tests;
