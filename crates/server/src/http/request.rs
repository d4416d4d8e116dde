//! The head of an HTTP/1.1 request. No sockets here.

use std::net::SocketAddr;

use data_encoding::BASE64;

/// The head of a request, as far as anyone here asks for it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Request {
    /// Whether the method is GET or HEAD.
    pub(crate) is_get: bool,
    /// Whether the method is HEAD: no page, please.
    pub(crate) is_head: bool,
    /// Path without the query.
    pub(crate) path: String,
    /// `Sec-WebSocket-Key`, if the client asks to become a WebSocket as it should.
    pub(crate) websocket_key: Option<String>,
    /// What is wrong with the way in which the client asks to become a WebSocket.
    pub(crate) bad_upgrade: Option<BadUpgrade>,
    /// What a proxy says in `X-Forwarded-For`: the last address of its last line. All before it
    /// may be the client's own invention.
    pub(crate) forwarded_for: Option<SocketAddr>,
    /// What a proxy says in `X-Real-IP` and `X-Real-Port`.
    pub(crate) real_ip: Option<SocketAddr>,
}

/// Why there is no request.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum NoRequest {
    /// The link closed or said nothing for too long.
    #[error("no request came")]
    Gone,
    /// It is not HTTP.
    #[error("not an HTTP request")]
    Malformed,
    /// It does not name one host, as HTTP/1.1 demands. (RFC 9112, section 3.2)
    #[error("an HTTP/1.1 request needs exactly one Host header")]
    NoHost,
    /// The head is longer than anybody's.
    #[error("request head too long")]
    TooLong,
}

/// Why a client that wants to become a WebSocket cannot. (RFC 6455, section 4.2.1)
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum BadUpgrade {
    #[error("a WebSocket handshake needs the header Connection: Upgrade")]
    Connection,
    #[error("a WebSocket handshake needs one Sec-WebSocket-Key of 16 bytes in base64")]
    Key,
    #[error("a WebSocket handshake is a GET request")]
    Method,
    #[error("a WebSocket handshake needs HTTP/1.1")]
    OldHttp,
    #[error("a WebSocket handshake needs the header Upgrade: websocket")]
    Upgrade,
    #[error("this server speaks version 13 of WebSocket")]
    Version,
}

impl BadUpgrade {
    /// The status line's end, with the header that goes with it.
    pub(crate) const fn status(self) -> &'static str {
        match self {
            Self::Connection | Self::Key | Self::Upgrade => "400 Bad Request",
            Self::Method => "405 Method Not Allowed\r\nAllow: GET",
            Self::OldHttp => "505 HTTP Version Not Supported",
            Self::Version => {
                "426 Upgrade Required\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"
            }
        }
    }
}

/// What the headers say that have to do with becoming a WebSocket.
#[derive(Debug, Default)]
struct Handshake<'a> {
    connection: bool,
    upgrade: bool,
    /// Each line.
    keys: Vec<&'a str>,
    versions: Vec<&'a str>,
}

impl Handshake<'_> {
    /// The key of a valid handshake; `None` if the request asks for no WebSocket at all.
    fn check(&self, is_get: bool, is_old_http: bool) -> Option<Result<String, BadUpgrade>> {
        if !self.upgrade && self.keys.is_empty() && self.versions.is_empty() {
            return None;
        }
        let is_key = |key: &str| BASE64.decode(key.as_bytes()).is_ok_and(|key| key.len() == 16);
        Some(match (&self.keys[..], &self.versions[..]) {
            _ if !is_get => Err(BadUpgrade::Method),
            _ if is_old_http => Err(BadUpgrade::OldHttp),
            _ if !self.upgrade => Err(BadUpgrade::Upgrade),
            _ if !self.connection => Err(BadUpgrade::Connection),
            (_, versions) if *versions != ["13"] => Err(BadUpgrade::Version),
            ([key], _) if is_key(key) => Ok((*key).into()),
            _ => Err(BadUpgrade::Key),
        })
    }
}

/// Whether a header that is a list has this word.
fn lists(value: &str, word: &str) -> bool {
    value.split(',').any(|listed| listed.trim().eq_ignore_ascii_case(word))
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
        let (mut handshake, mut hosts, mut real_port) = (Handshake::default(), 0_usize, None);
        for header in head.headers.iter() {
            // What is no text is no value; but the line counts.
            let value = std::str::from_utf8(header.value).unwrap_or_default().trim();
            match header.name {
                name if name.eq_ignore_ascii_case("host") => hosts += 1,
                name if name.eq_ignore_ascii_case("connection") => {
                    handshake.connection |= lists(value, "upgrade");
                }
                name if name.eq_ignore_ascii_case("upgrade") => {
                    handshake.upgrade |= lists(value, "websocket");
                }
                name if name.eq_ignore_ascii_case("sec-websocket-version") => {
                    handshake.versions.push(value);
                }
                name if name.eq_ignore_ascii_case("sec-websocket-key") => {
                    handshake.keys.push(value);
                }
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
        let is_old_http = head.version != Some(1);
        if hosts > 1 || (hosts == 0 && !is_old_http) {
            return Err(NoRequest::NoHost);
        }
        match handshake.check(head.method == Some("GET"), is_old_http) {
            None => {}
            Some(Ok(key)) => request.websocket_key = Some(key),
            Some(Err(bad)) => request.bad_upgrade = Some(bad),
        }
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

    /// A handshake as it should be, with one line in place of another.
    fn handshake(line: &str, replacement: &str) -> Request {
        let right = "GET /v1 HTTP/1.1\r\nHost: a\r\nupgrade: WebSocket\r\n\
            Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
            Sec-WebSocket-Version: 13\r\n\r\n";
        assert!(right.contains(line));
        parse(&right.replacen(line, replacement, 1))
    }

    #[test]
    fn a_handshake_that_lacks_something_is_refused_and_none_is_no_fault() {
        let right = handshake("Host", "Host");
        assert_eq!(right.websocket_key.as_deref(), Some("dGhlIHNhbXBsZSBub25jZQ=="));
        assert_eq!(right.bad_upgrade, None);
        let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let cases = [
            ("GET", "HEAD", BadUpgrade::Method),
            ("GET", "POST", BadUpgrade::Method),
            ("HTTP/1.1", "HTTP/1.0", BadUpgrade::OldHttp),
            ("upgrade: WebSocket\r\n", "", BadUpgrade::Upgrade),
            ("WebSocket", "h2c", BadUpgrade::Upgrade),
            ("Connection: keep-alive, Upgrade\r\n", "", BadUpgrade::Connection),
            (", Upgrade", "", BadUpgrade::Connection),
            ("Version: 13", "Version: 8", BadUpgrade::Version),
            ("Sec-WebSocket-Version: 13\r\n", "", BadUpgrade::Version),
            (key, "", BadUpgrade::Key),
            (key, &key.repeat(2), BadUpgrade::Key),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhl", BadUpgrade::Key),
            ("dGhlIHNhbXBsZSBub25jZQ==", "no base64, no key", BadUpgrade::Key),
        ];
        for (line, replacement, bad) in cases {
            let request = handshake(line, replacement);
            assert_eq!((request.websocket_key, request.bad_upgrade), (None, Some(bad)), "{bad}");
        }
        let page = parse("GET / HTTP/1.0\r\nConnection: close\r\n\r\n");
        assert_eq!((page.websocket_key, page.bad_upgrade), (None, None));
    }

    #[test]
    fn http_1_1_names_one_host() {
        for head in ["GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n"] {
            assert_eq!(Request::parse(head.as_bytes()), Err(NoRequest::NoHost));
        }
        assert_eq!(parse("GET / HTTP/1.1\r\nHost:\r\n\r\n").path, "/");
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
            let request = parse(&format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n"));
            assert_eq!(
                request.forwarded_for,
                expected.map(|text| text.parse().unwrap()),
                "{headers}"
            );
        }
        let real = "GET / HTTP/1.1\r\nHost: a\r\nX-Real-Port: 7\r\nX-Real-IP: ::1\r\n\r\n";
        assert_eq!(parse(real).real_ip, "[::1]:7".parse().ok());
        let latin = b"GET / HTTP/1.0\r\nX-Real-IP: 6.6.6.6\r\nX-Real-IP: \xe9\r\n\r\n";
        assert_eq!(Request::parse(latin).unwrap().unwrap().0.real_ip, None);
    }

    #[test]
    fn what_is_not_http_is_refused() {
        assert_eq!(Request::parse(b"\x16\x03\x01 tls"), Err(NoRequest::Malformed));
        assert_eq!(Request::parse(b"please relay\n\n"), Err(NoRequest::Malformed));
    }
}
