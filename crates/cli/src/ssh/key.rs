//! One OpenSSH public key, checked before it is trusted with a line of `authorized_keys`.
//!
//! The Python command line appends whatever arrives. A line may carry options
//! (`command="..." ssh-rsa ...`) or be several lines, so ours parses the key and writes only that
//! (RFC 4253 §6.6, sshd(8) on `authorized_keys`).

use std::fmt;

use data_encoding::BASE64;

/// A public key: its kind, its bytes in base64 and its comment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct PublicKey {
    kind: &'static str,
    base64: String,
    comment: String,
}

/// Why a line is not a public key that we accept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NotAKey {
    /// The bytes do not decode, or are a key of another kind than the line says.
    Damaged,
    /// There is nothing in it.
    Empty,
    /// There is more than one line.
    SeveralLines,
    /// The line is longer than any key.
    TooLong,
    /// It does not start with a kind of key we know: perhaps options, perhaps a private key.
    UnknownKind,
    /// The comment holds characters that cannot be seen.
    UnprintableComment,
}

impl PublicKey {
    /// Reads `KIND BASE64 [COMMENT]`.
    ///
    /// # Errors
    /// Do not use the line; show the reason.
    pub(crate) fn parse(line: &str) -> Result<Self, NotAKey> {
        let line = line.trim();
        if line.len() > MAX_LINE {
            return Err(NotAKey::TooLong);
        }
        if line.contains(['\n', '\r']) {
            return Err(NotAKey::SeveralLines);
        }
        let mut parts = line.splitn(3, [' ', '\t']);
        let kind = parts.next().filter(|kind| !kind.is_empty()).ok_or(NotAKey::Empty)?;
        let kind = *KINDS.iter().find(|known| **known == kind).ok_or(NotAKey::UnknownKind)?;
        let base64 = parts.next().unwrap_or_default().to_owned();
        let blob = BASE64.decode(base64.as_bytes()).map_err(|_| NotAKey::Damaged)?;
        if !is_key_of(kind, &blob) {
            return Err(NotAKey::Damaged);
        }
        let comment = parts.next().unwrap_or_default().trim().to_owned();
        if comment.chars().any(char::is_control) {
            return Err(NotAKey::UnprintableComment);
        }
        Ok(Self { kind, base64, comment })
    }

    /// The kind of key, such as `ssh-ed25519`.
    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }

    /// The comment, or `unknown`, as the Python command line names keys.
    pub(crate) fn id(&self) -> &str {
        if self.comment.is_empty() { "unknown" } else { &self.comment }
    }

    /// Whether this is the same key, whatever its comment.
    pub(crate) fn is_same_key(&self, other: &Self) -> bool {
        self.kind == other.kind && self.base64 == other.base64
    }
}

/// The line for `authorized_keys`, without a line end.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.base64)?;
        if self.comment.is_empty() { Ok(()) } else { write!(f, " {}", self.comment) }
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

/// Whether `blob` is a list of length-prefixed fields, as many as such a key has, the first its kind.
fn is_key_of(kind: &str, blob: &[u8]) -> bool {
    let mut rest = blob;
    let mut count = 0;
    while !rest.is_empty() {
        let Some((field, after)) = split_field(rest) else { return false };
        if count == 0 && field != kind.as_bytes() {
            return false;
        }
        count += 1;
        rest = after;
    }
    count == field_count(kind)
}

/// Number of fields in a key's bytes, its kind included.
fn field_count(kind: &str) -> usize {
    match kind {
        "ssh-ed25519" => 2,
        "ssh-dss" => 5,
        "sk-ecdsa-sha2-nistp256@openssh.com" => 4,
        _ => 3,
    }
}

/// The first field and what follows: four bytes of length, big-endian, then the field.
fn split_field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

/// The kinds of key that sshd knows. Certificates are not for `authorized_keys`.
const KINDS: [&str; 8] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ssh-dss",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// Longest line accepted, in bytes: what sshd reads as one line.
const MAX_LINE: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of a key: each field with its length.
    fn blob(fields: &[&[u8]]) -> String {
        let mut bytes = Vec::new();
        for field in fields {
            bytes.extend(u32::try_from(field.len()).unwrap().to_be_bytes());
            bytes.extend(*field);
        }
        BASE64.encode(&bytes)
    }

    fn ed25519() -> String {
        format!("ssh-ed25519 {}", blob(&[b"ssh-ed25519", &[7; 32]]))
    }

    #[test]
    fn a_key_is_written_as_it_was_read() {
        let line = format!("{} me@home", ed25519());
        let key = PublicKey::parse(&format!("  {line}\n")).unwrap();
        assert_eq!(key.to_string(), line);
        assert_eq!((key.kind(), key.id()), ("ssh-ed25519", "me@home"));
    }

    #[test]
    fn a_key_without_comment_is_unknown() {
        assert_eq!(PublicKey::parse(&ed25519()).unwrap().id(), "unknown");
    }

    #[test]
    fn an_rsa_key_has_three_fields() {
        let line = format!("ssh-rsa {}", blob(&[b"ssh-rsa", &[1, 0, 1], &[0; 257]]));
        assert!(PublicKey::parse(&line).is_ok());
    }

    #[test]
    fn options_before_the_key_are_refused() {
        let line = format!("command=\"/bin/evil\" {}", ed25519());
        assert_eq!(PublicKey::parse(&line), Err(NotAKey::UnknownKind));
    }

    #[test]
    fn several_lines_are_refused() {
        let lines = format!("{0}\n{0}", ed25519());
        assert_eq!(PublicKey::parse(&lines), Err(NotAKey::SeveralLines));
    }

    #[test]
    fn a_kind_that_the_bytes_contradict_is_refused() {
        let line = format!("ssh-rsa {}", blob(&[b"ssh-ed25519", &[7; 32]]));
        assert_eq!(PublicKey::parse(&line), Err(NotAKey::Damaged));
    }

    #[test]
    fn bytes_that_end_early_are_refused() {
        let bytes = BASE64.encode(&[0, 0, 0, 11, b's', b's', b'h']);
        assert_eq!(PublicKey::parse(&format!("ssh-ed25519 {bytes}")), Err(NotAKey::Damaged));
    }

    #[test]
    fn a_private_key_is_refused() {
        let line = "-----BEGIN OPENSSH PRIVATE KEY-----";
        assert_eq!(PublicKey::parse(line), Err(NotAKey::UnknownKind));
    }

    #[test]
    fn a_comment_that_would_drive_the_terminal_is_refused() {
        let line = format!("{} \x1b[2J", ed25519());
        assert_eq!(PublicKey::parse(&line), Err(NotAKey::UnprintableComment));
    }
}
