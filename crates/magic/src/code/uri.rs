//! `wormhole-transfer:` URIs, as used in QR codes (docs/codes.md "Layout of a code").
//!
//! The shortest form is `wormhole-transfer:CODE`; query fields contain another server or role. Unknown fields
//! are rejected, as the specification requires, because they may change the meaning.

use std::{fmt, str::FromStr};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::{Code, CodeError};

/// A code and what the other side needs to use it.
///
/// ```
/// use wormhole_magic::code::uri::TransferUri;
///
/// let uri: TransferUri = "wormhole-transfer:4-purple-sausages?role=leader".parse()?;
/// assert_eq!(uri.code.to_string(), "4-purple-sausages");
/// assert!(uri.peer_receives);
/// assert_eq!(uri.to_string(), "wormhole-transfer:4-purple-sausages?role=leader");
/// # Ok::<(), wormhole_magic::code::uri::UriError>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TransferUri {
    /// The code.
    pub code: Code,
    /// The mailbox server, without the `/v1` of its path; `None` for the default one.
    pub rendezvous: Option<String>,
    /// Whether the side that shows the URI receives (`role=leader`: the side that reads it
    /// sends).
    pub peer_receives: bool,
}

impl TransferUri {
    /// The scheme with its colon.
    pub const SCHEME: &'static str = "wormhole-transfer:";
}

impl FromStr for TransferUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let text = text.strip_prefix(Self::SCHEME).ok_or(UriError::OtherScheme)?;
        let (code, query) = text.split_once('?').unwrap_or((text, ""));
        let mut uri =
            Self { code: Code::parse(&decode(code)?)?, rendezvous: None, peer_receives: false };
        for field in query.split('&').filter(|field| !field.is_empty()) {
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            match (name, decode(value)?) {
                ("version", value) if value == "0" => {}
                ("version", value) => return Err(UriError::OtherVersion(value)),
                ("rendezvous", value) => uri.rendezvous = Some(value),
                ("role", value) if value == "follower" => uri.peer_receives = false,
                ("role", value) if value == "leader" => uri.peer_receives = true,
                _ => return Err(UriError::UnknownField(name.to_owned())),
            }
        }
        Ok(uri)
    }
}

impl fmt::Display for TransferUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.to_string();
        write!(f, "{}{}", Self::SCHEME, utf8_percent_encode(&code, ESCAPED))?;
        let mut separator = '?';
        if let Some(url) = &self.rendezvous {
            write!(f, "{separator}rendezvous={}", utf8_percent_encode(url, ESCAPED))?;
            separator = '&';
        }
        if self.peer_receives {
            write!(f, "{separator}role=leader")?;
        }
        Ok(())
    }
}

/// Why a `wormhole-transfer:` URI is invalid.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// The code is invalid.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// An escape does not decode to UTF-8.
    #[error("the link is damaged: it is not UTF-8 after decoding")]
    NotUtf8,
    /// It does not start with `wormhole-transfer:`.
    #[error("the link does not start with wormhole-transfer:")]
    OtherScheme,
    /// A version other than 0.
    #[error("the link has the unknown version {0:?}: it may be for a newer program")]
    OtherVersion(String),
    /// An unknown field or role.
    #[error("the link has the unknown field {0:?}: it may be for a newer program")]
    UnknownField(String),
}

fn decode(text: &str) -> Result<String, UriError> {
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| UriError::NotUtf8)?;
    Ok(decoded.into_owned())
}

/// All characters except the unreserved ones of RFC 3986.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_form_is_the_code_alone() {
        let uri: TransferUri = "wormhole-transfer:4-purple-sausages".parse().unwrap();
        assert_eq!((uri.rendezvous.as_deref(), uri.peer_receives), (None, false));
        assert_eq!(uri.to_string(), "wormhole-transfer:4-purple-sausages");
    }

    #[test]
    fn every_field_survives_a_round_trip() {
        let uri = TransferUri {
            code: Code::parse("4-ü&?=").unwrap(),
            rendezvous: Some("ws://host:4000/?x=1&y".to_owned()),
            peer_receives: true,
        };
        assert_eq!(uri.to_string().parse(), Ok(uri));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let parse = |text: &str| text.parse::<TransferUri>().unwrap_err();
        assert_eq!(parse("https://4-x"), UriError::OtherScheme);
        assert_eq!(parse("wormhole-transfer:4-x?version=1"), UriError::OtherVersion("1".into()));
        assert_eq!(parse("wormhole-transfer:4-x?role=king"), UriError::UnknownField("role".into()));
        assert_eq!(parse("wormhole-transfer:4-x?a=b"), UriError::UnknownField("a".into()));
        assert_eq!(parse("wormhole-transfer:4-%ff"), UriError::NotUtf8);
        assert!(matches!(parse("wormhole-transfer:x"), UriError::Code(_)));
    }
}
