//! The messaging service of an account, its app, and the way to reach it.

use std::fmt;
use std::str::FromStr;

use hyper::header::HeaderValue;
use url::{Host, Url};
use wormhole_chat::service::AppName;
use zeroize::Zeroizing;

use crate::net::http::Origin;
use crate::net::tor::Tor;

/// A messaging service, and the app in which the account is registered.
///
/// ```
/// use wormhole::chat::Server;
///
/// let server = Server::new("https://chat.example.org".parse()?);
/// assert!(server.app.is_none());
/// # Ok::<(), wormhole::chat::NotAServerUrl>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Server {
    /// The address of the service.
    pub url: ServerUrl,
    /// The app. `None`: the server's default app, if it has one.
    pub app: Option<AppCredentials>,
    allows_plain_http: bool,
}

impl Server {
    /// A server, in its default app.
    pub const fn new(url: ServerUrl) -> Self {
        Self { url, app: None, allows_plain_http: false }
    }

    /// Returns the server with the credentials of this app.
    #[must_use]
    pub fn with_app(self, name: AppName, token: Token) -> Self {
        Self { app: Some(AppCredentials { name, token }), ..self }
    }

    /// Permits the server without TLS. Everybody on the way to it can then read the password of the account and the token
    /// of the app, and take the account over. Without this, an account can use `http` only at this computer.
    #[must_use]
    pub fn allow_plain_http(self) -> Self {
        Self { allows_plain_http: true, ..self }
    }

    /// Whether the application permits that our credentials are sent to this server.
    pub(crate) fn is_permitted(&self) -> bool {
        self.allows_plain_http || self.url.is_private()
    }
}

/// The name of an app and one of its tokens, which the operator of the server has given to its developer.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct AppCredentials {
    /// Such as `com.example.chat`.
    pub name: AppName,
    /// Proves that the program belongs to the app.
    pub token: Token,
}

/// The token of an app. It is wiped when it is dropped, and `Debug` does not show it.
#[derive(Clone, Eq, PartialEq)]
pub struct Token(Zeroizing<String>);

impl Token {
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for Token {
    type Err = NotAToken;

    fn from_str(text: &str) -> Result<Self, NotAToken> {
        let is_token = (1..=MAX_TOKEN).contains(&text.len()) && HeaderValue::from_str(text).is_ok();
        if is_token { Ok(Self(Zeroizing::new(text.to_owned()))) } else { Err(NotAToken) }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// The text cannot be the token of an app.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an app token: expected the text that `wormhole-server app add` has printed")]
#[non_exhaustive]
pub struct NotAToken;

/// The address of a messaging service, such as `https://chat.example.org`.
///
/// Use `http` only on your own computer: without TLS, others on the way can read the password and take the account over.
/// They still could not read messages. [`Server::allow_plain_http`] permits it elsewhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerUrl(Url);

impl ServerUrl {
    /// The URL of the WebSocket.
    pub(crate) fn websocket(&self) -> String {
        self.websocket_at("/v1/websocket/")
    }

    /// The URL of the WebSocket for a device that waits to be linked.
    pub(crate) fn provisioning_websocket(&self) -> String {
        self.websocket_at("/v1/websocket/provisioning/")
    }

    fn websocket_at(&self, path: &str) -> String {
        let url = self.endpoint(path);
        match url.strip_prefix("http") {
            Some(rest) => format!("ws{rest}"),
            None => url,
        }
    }

    /// Whether nobody between here and the server can read the password: it uses TLS, or is on this computer.
    pub fn is_private(&self) -> bool {
        let is_local = match self.0.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        is_local || self.0.scheme() == "https"
    }

    /// The server.
    pub(crate) fn origin(&self) -> Option<Origin> {
        Origin::of(&self.0)
    }

    /// The path of a request on the server.
    pub(crate) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.0.path().trim_end_matches('/'))
    }

    fn endpoint(&self, path: &str) -> String {
        format!("{}{path}", self.0.as_str().trim_end_matches('/'))
    }
}

impl FromStr for ServerUrl {
    type Err = NotAServerUrl;

    fn from_str(text: &str) -> Result<Self, NotAServerUrl> {
        let url = Url::parse(text.trim_end_matches('/')).map_err(|_| NotAServerUrl)?;
        let is_plain = url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if text.len() <= MAX_URL && is_plain && Origin::of(&url).is_some() {
            Ok(Self(url))
        } else {
            Err(NotAServerUrl)
        }
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

/// The text is not the address of a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not the address of a server: expected a URL such as https://chat.example.org")]
#[non_exhaustive]
pub struct NotAServerUrl;

/// How the user gets the verification code.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Transport {
    /// A text message.
    #[default]
    Sms,
    /// A call.
    Voice,
}

impl Transport {
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Sms => "sms",
            Self::Voice => "voice",
        }
    }
}

/// How to reach the server.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Network {
    /// Use Tor for all connections, and hide our address from the server.
    pub tor: Option<Tor>,
}

/// Longest URL of a server, in bytes.
const MAX_URL: usize = 1024;

/// Longest token, in bytes. Ours have 64.
const MAX_TOKEN: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_websocket_has_the_same_address_as_the_server() {
        for (url, websocket, path) in [
            ("https://example.org", "wss://example.org/v1/websocket/", "/v1/x"),
            ("http://[::1]:4080/", "ws://[::1]:4080/v1/websocket/", "/v1/x"),
            ("https://example.org/chat/", "wss://example.org/chat/v1/websocket/", "/chat/v1/x"),
        ] {
            let url: ServerUrl = url.parse().unwrap();
            assert_eq!((url.websocket().as_str(), url.path("/v1/x").as_str()), (websocket, path));
            assert_eq!(url.to_string().parse(), Ok(url));
        }
    }

    #[test]
    fn only_plain_http_urls_are_servers() {
        let long = format!("https://example.org/{}", "a".repeat(MAX_URL));
        for bad in [
            "",
            "example.org",
            "ws://example.org",
            "https://",
            "https://a:b@example.org",
            "https://example.org/?a=b",
            "https://example.org/#a",
            "file:///etc",
            &long,
        ] {
            assert_eq!(bad.parse::<ServerUrl>(), Err(NotAServerUrl), "{bad}");
        }
    }

    #[test]
    fn plain_http_needs_permission_except_on_this_computer() {
        for (url, is_permitted) in [
            ("https://example.org", true),
            ("http://localhost:4080", true),
            ("http://127.0.0.1:4080", true),
            ("http://[::1]:4080", true),
            ("http://example.org", false),
            ("http://192.168.1.2", false),
            ("http://localhost.example.org", false),
        ] {
            let server = Server::new(url.parse().unwrap());
            assert_eq!(server.is_permitted(), is_permitted, "{url}");
            assert!(server.allow_plain_http().is_permitted());
        }
    }

    #[test]
    fn a_token_is_not_shown_and_cannot_add_headers() {
        let token: Token = "0123456789abcdef".parse().unwrap();
        assert_eq!(format!("{token:?}"), "Token(…)");
        for bad in ["", "a\nb", "a\r\nX-PKG-NAME: other", "a\0"] {
            assert_eq!(bad.parse::<Token>(), Err(NotAToken), "{bad:?}");
        }
    }
}
