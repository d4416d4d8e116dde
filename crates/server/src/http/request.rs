//! The head of an HTTP/1.1 request. No sockets here.

use std::net::SocketAddr;

/// The head of a request, as far as anyone here asks for it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Request {
    /// Whether the method is GET or HEAD.
    pub(crate) is_get: bool,
    /// Whether the method is HEAD: no page, please.
    pub(crate) is_head: bool,
    /// Path without the query.
    pub(crate) path: String,
    /// `Sec-WebSocket-Key`, if the client asks to become a WebSocket of the right version.
    pub(crate) websocket_key: Option<String>,
    /// What a proxy says in `X-Forwarded-For`: the last address of its last line. All before it
    /// may be the client's own invention.
    pub(crate) forwarded_for: Option<SocketAddr>,
    /// What a proxy says in `X-Real-IP` and `X-Real-Port`.
    pub(crate) real_ip: Option<SocketAddr>,
}

/// Why there is no request.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum NoRequest {
    /// The link closed or said nothing for too long.
    #[error("no request came")]
    Gone,
    /// It is not HTTP/1.1.
    #[error("not an HTTP request")]
    Malformed,
    /// The head is longer than anybody's.
    #[error("request head too long")]
    TooLong,
}

impl Request {
    /// Parses a head; returns it with its length, or nothing if it is not whole yet.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, NoRequest> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Request::new(&mut headers);
        let length = match head.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(NoRequest::Malformed),
        };
        let target = head.path.unwrap_or_default();
        let mut request = Self {
            is_get: matches!(head.method, Some("GET" | "HEAD")),
            is_head: head.method == Some("HEAD"),
            path: target.split('?').next().unwrap_or_default().into(),
            ..Self::default()
        };
        let (mut upgrade, mut version, mut key, mut real_port) = (false, false, None, None);
        for header in head.headers.iter() {
            // What is no text is no value; but the line counts.
            let value = std::str::from_utf8(header.value).unwrap_or_default().trim();
            match header.name {
                name if name.eq_ignore_ascii_case("upgrade") => {
                    upgrade |= value.eq_ignore_ascii_case("websocket");
                }
                name if name.eq_ignore_ascii_case("sec-websocket-version") => {
                    version = value == "13";
                }
                name if name.eq_ignore_ascii_case("sec-websocket-key") => key = Some(value.into()),
                name if name.eq_ignore_ascii_case("x-forwarded-for") => {
                    request.forwarded_for = value.rsplit(',').next().and_then(parse_address);
                }
                name if name.eq_ignore_ascii_case("x-real-ip") => {
                    request.real_ip = parse_address(value);
                }
                name if name.eq_ignore_ascii_case("x-real-port") => real_port = value.parse().ok(),
                _ => {}
            }
        }
        if let (Some(address), Some(port)) = (&mut request.real_ip, real_port) {
            address.set_port(port);
        }
        request.websocket_key = key.filter(|_| upgrade && version && request.is_get);
        Ok(Some((request, length)))
    }
}

/// Parses what proxies write: an address, perhaps in brackets, perhaps with a port.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let without_port = || Some(SocketAddr::new(bare.parse().ok()?, 0));
    text.parse().ok().or_else(without_port)
}

/// Most header lines. Browsers send about 20.
const MAX_HEADERS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(head: &str) -> Request {
        Request::parse(head.as_bytes()).unwrap().unwrap().0
    }

    #[test]
    fn a_head_in_pieces_is_awaited_and_what_follows_it_is_left() {
        let head = b"GET /v1?x=1 HTTP/1.1\r\nHost: a\r\n\r\nrest";
        for cut in 0..head.len() - 4 {
            assert_eq!(Request::parse(&head[..cut]), Ok(None), "{cut}");
        }
        let (request, length) = Request::parse(head).unwrap().unwrap();
        assert_eq!((request.path.as_str(), &head[length..]), ("/v1", &b"rest"[..]));
        assert_eq!(request.websocket_key, None);
    }

    #[test]
    fn an_upgrade_needs_the_right_protocol_version_and_a_key() {
        let upgrade = "GET /v1 HTTP/1.1\r\nupgrade: WebSocket\r\nSec-WebSocket-Key: abc\r\n";
        assert_eq!(parse(&format!("{upgrade}\r\n")).websocket_key, None);
        let right = parse(&format!("{upgrade}Sec-WebSocket-Version: 13\r\n\r\n"));
        assert_eq!(right.websocket_key.as_deref(), Some("abc"));
        let old = parse(&format!("{upgrade}Sec-WebSocket-Version: 8\r\n\r\n"));
        assert_eq!(old.websocket_key, None);
    }

    #[test]
    fn the_address_is_what_the_nearest_proxy_says() {
        let cases = [
            ("X-Forwarded-For: 6.6.6.6, 192.0.2.1\r\n", Some("192.0.2.1:0")),
            ("x-forwarded-for: 6.6.6.6\r\nX-Forwarded-For: 192.0.2.1\r\n", Some("192.0.2.1:0")),
            ("X-Forwarded-For: 192.0.2.1:77\r\n", Some("192.0.2.1:77")),
            ("X-Forwarded-For: 2001:db8::1\r\n", Some("[2001:db8::1]:0")),
            ("X-Forwarded-For: [2001:db8::1]\r\n", Some("[2001:db8::1]:0")),
            ("X-Forwarded-For: [2001:db8::1]:77\r\n", Some("[2001:db8::1]:77")),
            ("X-Forwarded-For: 6.6.6.6, unknown\r\n", None),
            ("X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For:\r\n", None),
            ("X-Real-IP: 6.6.6.6\r\n", None),
        ];
        for (headers, expected) in cases {
            let request = parse(&format!("GET / HTTP/1.1\r\n{headers}\r\n"));
            assert_eq!(
                request.forwarded_for,
                expected.map(|text| text.parse().unwrap()),
                "{headers}"
            );
        }
        let real = "GET / HTTP/1.1\r\nX-Real-Port: 7\r\nX-Real-IP: ::1\r\n\r\n";
        assert_eq!(parse(real).real_ip, "[::1]:7".parse().ok());
        let latin = b"GET / HTTP/1.1\r\nX-Real-IP: 6.6.6.6\r\nX-Real-IP: \xe9\r\n\r\n";
        assert_eq!(Request::parse(latin).unwrap().unwrap().0.real_ip, None);
    }

    #[test]
    fn what_is_not_http_is_refused() {
        assert_eq!(Request::parse(b"\x16\x03\x01 tls"), Err(NoRequest::Malformed));
        assert_eq!(Request::parse(b"please relay\n\n"), Err(NoRequest::Malformed));
    }
}
