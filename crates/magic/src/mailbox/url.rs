//! URLs of mailbox servers.

use std::fmt;
use std::str::FromStr;

/// The URL of a mailbox server: `ws://HOST[:PORT]/PATH`, or `wss://` for TLS.
///
/// Only the syntax is checked; the host is not resolved.
///
/// ```
/// use wormhole_magic::mailbox::MailboxUrl;
///
/// let url: MailboxUrl = "ws://localhost:4000/v1".parse()?;
/// assert_eq!(url.as_str(), "ws://localhost:4000/v1");
/// assert!("http://localhost:4000/v1".parse::<MailboxUrl>().is_err());
/// # Ok::<(), wormhole_magic::mailbox::MailboxUrlError>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct MailboxUrl(String);

impl MailboxUrl {
    /// The whole URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The public server's URLs, in the order in which to try them: with TLS and without. The second is no less
    /// secure, because no secrets are sent to a mailbox server; TLS passes more firewalls.
    pub fn public() -> Vec<Self> {
        PUBLIC.iter().map(|url| Self((*url).to_owned())).collect()
    }
}

impl FromStr for MailboxUrl {
    type Err = MailboxUrlError;

    fn from_str(text: &str) -> Result<Self, MailboxUrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(MailboxUrlError::NoScheme)?;
        if !matches!(scheme, "ws" | "wss") {
            return Err(MailboxUrlError::WrongScheme(scheme.to_owned()));
        }
        let host = rest.split('/').next().unwrap_or_default();
        let strange = text.chars().any(|c| c.is_whitespace() || c.is_control());
        if host.is_empty() || host.starts_with(':') || strange || text.len() > MAX_URL {
            return Err(MailboxUrlError::NoHost);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for MailboxUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a mailbox URL is invalid.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MailboxUrlError {
    /// There is no valid host after the scheme.
    #[error("mailbox URL names no host")]
    NoHost,
    /// There is no `://`.
    #[error("mailbox URL must start with ws:// or wss://")]
    NoScheme,
    /// The scheme is neither `ws` nor `wss`.
    #[error("mailbox URL must start with ws:// or wss://, not {0:?}")]
    WrongScheme(String),
}

const PUBLIC: [&str; 2] =
    ["wss://relay.magic-wormhole.io/v1", "ws://relay.magic-wormhole.io:4000/v1"];

/// Maximum length of a URL in bytes.
const MAX_URL: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_websocket_urls_with_a_host_are_taken() {
        for good in ["ws://h", "wss://h/v1", "ws://[::1]:4000/v1", "ws://h:4000/v1?x=y"] {
            assert!(good.parse::<MailboxUrl>().is_ok(), "{good}");
        }
        for bad in ["", "h:4000", "ws:/h", "ws://", "ws:///v1", "ws://:4000/v1", "ws://h /v1"] {
            assert!(bad.parse::<MailboxUrl>().is_err(), "{bad}");
        }
        assert_eq!(
            "tcp://h:1".parse::<MailboxUrl>(),
            Err(MailboxUrlError::WrongScheme("tcp".into()))
        );
    }

    #[test]
    fn the_public_servers_are_urls() {
        assert!(MailboxUrl::public().iter().all(|url| url.as_str().parse() == Ok(url.clone())));
    }
}
