//! The WebSocket handshake: which requests ask for a WebSocket, and what the responses are. Not the frames after it.
//! (RFC 6455, section 4.2)
//!
//! ```
//! use axum::response::IntoResponse;
//! use wormhole_http::{Response, handshake};
//!
//! fn answer(request: &hyper::Request<()>) -> Response {
//!     match handshake::check(request) {
//!         Ok(Some(accept)) => accept.into_response(),
//!         Ok(None) => "an ordinary request\n".into_response(),
//!         Err(error) => error.into_response(),
//!     }
//! }
//!
//! assert_eq!(answer(&hyper::Request::new(())).status(), 200);
//! ```

use axum::response::IntoResponse;
use data_encoding::BASE64;
use hyper::header::{
    ALLOW, CONNECTION, HeaderMap, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{Method, Request, StatusCode, Version};
use sha1::{Digest, Sha1};

use crate::Response;

/// The answer to a valid handshake. As a response, it turns the connection into a WebSocket.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AcceptKey(String);

/// Why a client that asks for a WebSocket cannot have one. As a response, it has the matching status. (RFC 6455,
/// section 4.2.1)
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HandshakeError {
    /// `Connection: Upgrade` is missing. Status 400.
    #[error("a WebSocket handshake needs the header Connection: Upgrade")]
    Connection,
    /// `Sec-WebSocket-Key` is missing, repeated or invalid. Status 400.
    #[error("a WebSocket handshake needs one Sec-WebSocket-Key of 16 bytes in base64")]
    Key,
    /// The method is not `GET`. Status 405.
    #[error("a WebSocket handshake is a GET request")]
    Method,
    /// The request is one of HTTP/1.0. Status 505.
    #[error("a WebSocket handshake needs HTTP/1.1")]
    OldHttp,
    /// `Upgrade: websocket` is missing. Status 400.
    #[error("a WebSocket handshake needs the header Upgrade: websocket")]
    Upgrade,
    /// The version of WebSocket is not 13. Status 426.
    #[error("this server supports version 13 of WebSocket")]
    Version,
}

/// Looks for a handshake; `None` if the request is an ordinary one. HTTP/1.0 has no upgrades: its handshakes are invalid.
///
/// # Errors
/// The request asks for a WebSocket, but the handshake is invalid. The error can be the response.
pub fn check<B>(request: &Request<B>) -> Result<Option<AcceptKey>, HandshakeError> {
    let headers = request.headers();
    let is_upgrade = lists(headers, UPGRADE, "websocket");
    let keys: Vec<&str> = values(headers, SEC_WEBSOCKET_KEY).collect();
    let versions: Vec<&str> = values(headers, SEC_WEBSOCKET_VERSION).collect();
    if !is_upgrade && keys.is_empty() && versions.is_empty() {
        return Ok(None);
    }
    if request.method() != Method::GET {
        return Err(HandshakeError::Method);
    }
    if request.version() != Version::HTTP_11 {
        return Err(HandshakeError::OldHttp);
    }
    if !is_upgrade {
        return Err(HandshakeError::Upgrade);
    }
    if !lists(headers, CONNECTION, "upgrade") {
        return Err(HandshakeError::Connection);
    }
    if versions != ["13"] {
        return Err(HandshakeError::Version);
    }
    match keys[..] {
        [key] if BASE64.decode(key.as_bytes()).is_ok_and(|key| key.len() == 16) => {
            Ok(Some(AcceptKey::of(key)))
        }
        _ => Err(HandshakeError::Key),
    }
}

/// The values of all lines of a header. A value that is not text counts as empty.
fn values(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter();
    values.map(|value| std::str::from_utf8(value.as_bytes()).unwrap_or_default().trim())
}

/// Whether a header that is a list contains this word.
fn lists(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    let words = values(headers, name).flat_map(|value| value.split(','));
    words.into_iter().any(|listed| listed.trim().eq_ignore_ascii_case(word))
}

impl AcceptKey {
    fn of(key: &str) -> Self {
        Self(BASE64.encode(&Sha1::new().chain_update(key).chain_update(GUID).finalize()))
    }
}

/// The response that turns the connection into a WebSocket.
impl IntoResponse for AcceptKey {
    fn into_response(self) -> Response {
        let headers =
            [(UPGRADE, "websocket"), (CONNECTION, "Upgrade"), (SEC_WEBSOCKET_ACCEPT, &self.0)];
        (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
    }
}

impl IntoResponse for HandshakeError {
    fn into_response(self) -> Response {
        let text = format!("{self}\n");
        match self {
            Self::Connection | Self::Key | Self::Upgrade => {
                (StatusCode::BAD_REQUEST, text).into_response()
            }
            Self::Method => {
                (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET")], text).into_response()
            }
            Self::OldHttp => (StatusCode::HTTP_VERSION_NOT_SUPPORTED, text).into_response(),
            Self::Version => {
                let headers = [(UPGRADE, "websocket"), (SEC_WEBSOCKET_VERSION, "13")];
                (StatusCode::UPGRADE_REQUIRED, headers, text).into_response()
            }
        }
    }
}

/// The text that is hashed with the key. (RFC 6455, section 1.3)
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

#[cfg(test)]
mod tests {
    use super::*;

    const HANDSHAKE: [(&str, &str); 4] = [
        ("upgrade", "WebSocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn request(method: &str, version: Version, headers: &[(&str, &str)]) -> Request<()> {
        let request = Request::builder().method(method).version(version);
        let add = |request: hyper::http::request::Builder, (name, value): &(&str, &str)| {
            request.header(*name, *value)
        };
        headers.iter().fold(request, add).body(()).unwrap()
    }

    /// The headers of a handshake, with another value of this one; without it if the value is empty.
    fn with(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
        let headers = HANDSHAKE.into_iter().filter(|(other, _)| *other != name);
        headers.chain((!value.is_empty()).then_some((name, value))).collect()
    }

    #[test]
    fn a_valid_handshake_gets_the_accept_key_of_the_rfc() {
        let accept = check(&request("GET", Version::HTTP_11, &HANDSHAKE)).unwrap().unwrap();
        let response = accept.into_response();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(response.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn an_invalid_handshake_is_refused_and_an_ordinary_request_is_not() {
        let refusal = |method, version, headers: &[(&str, &str)]| {
            check(&request(method, version, headers)).unwrap_err()
        };
        for method in ["HEAD", "POST"] {
            assert_eq!(refusal(method, Version::HTTP_11, &HANDSHAKE), HandshakeError::Method);
        }
        assert_eq!(refusal("GET", Version::HTTP_10, &HANDSHAKE), HandshakeError::OldHttp);
        let twice = [&HANDSHAKE[..], &HANDSHAKE[3..]].concat();
        assert_eq!(refusal("GET", Version::HTTP_11, &twice), HandshakeError::Key);
        let cases = [
            ("upgrade", "", HandshakeError::Upgrade),
            ("upgrade", "h2c", HandshakeError::Upgrade),
            ("connection", "", HandshakeError::Connection),
            ("connection", "keep-alive", HandshakeError::Connection),
            ("sec-websocket-version", "8", HandshakeError::Version),
            ("sec-websocket-version", "", HandshakeError::Version),
            ("sec-websocket-key", "", HandshakeError::Key),
            ("sec-websocket-key", "dGhl", HandshakeError::Key),
            ("sec-websocket-key", "not base64, no key", HandshakeError::Key),
        ];
        for (name, value, expected) in cases {
            let headers = with(name, value);
            assert_eq!(refusal("GET", Version::HTTP_11, &headers), expected, "{name}: {value}");
        }
        let page = request("GET", Version::HTTP_10, &[("connection", "close")]);
        assert_eq!(check(&page), Ok(None));
    }
}
