//! The URL of a node's JSON-RPC.

use std::fmt;
use std::net::IpAddr;

use url::{Host, Url};

use super::RemoteError;

/// The URL of a node's JSON-RPC: `http`, `https`, `ws` or `wss`.
#[derive(Clone, Eq, PartialEq)]
pub struct RemoteUrl(Url);

impl RemoteUrl {
    /// Parses user input.
    ///
    /// # Errors
    /// The text is not such a URL.
    pub fn parse(text: &str) -> Result<Self, RemoteError> {
        let url = Url::parse(text).map_err(|_| RemoteError::BadUrl)?;
        let known = matches!(url.scheme(), "http" | "https" | "ws" | "wss");
        if known && url.has_host() { Ok(Self(url)) } else { Err(RemoteError::BadUrl) }
    }

    /// Whether it is a WebSocket, over which the node sends messages.
    pub fn is_web_socket(&self) -> bool {
        matches!(self.0.scheme(), "ws" | "wss")
    }

    /// Whether keys may be sent there: to this machine, or encrypted.
    pub fn is_private(&self) -> bool {
        let loopback = match self.0.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => IpAddr::from(ip).to_canonical().is_loopback(),
            None => false,
        };
        loopback || matches!(self.0.scheme(), "https" | "wss")
    }

    pub(super) fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// Omits user name and password.
impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.0.scheme(), self.0.host_str().unwrap_or_default())?;
        self.0.port().map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl fmt::Debug for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sent_only_to_this_machine_or_over_tls() {
        for (text, private) in [
            ("http://127.0.0.1:8545", true),
            ("ws://localhost:8546", true),
            ("http://[::1]:8545", true),
            ("http://[::ffff:127.0.0.1]", true),
            ("https://example.org", true),
            ("wss://example.org/shh", true),
            ("http://192.0.2.7:8545", false),
            ("ws://localhost.example.org", false),
        ] {
            assert_eq!(RemoteUrl::parse(text).unwrap().is_private(), private, "{text}");
        }
    }

    #[test]
    fn an_address_of_another_kind_is_refused() {
        for text in ["", "127.0.0.1:8545", "ftp://h", "file:///x", "http://"] {
            assert_eq!(RemoteUrl::parse(text), Err(RemoteError::BadUrl), "{text}");
        }
    }

    #[test]
    fn a_password_in_an_address_is_not_printed() {
        let url = RemoteUrl::parse("https://me:hush@example.org:8545/x?key=hush").unwrap();
        assert_eq!(format!("{url} {url:?}"), {
            let shown = "https://example.org:8545";
            format!("{shown} RemoteUrl({shown})")
        });
    }
}
