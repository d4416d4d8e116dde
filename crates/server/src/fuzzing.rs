//! The bodies of the server's fuzz targets: they decode data from clients, and check properties that must hold for every
//! input.
//!
//! They are not part of the public interface: only the fuzz targets and `wormhole-fuzzing` use them (feature `fuzzing`).

use axum::response::IntoResponse;
use hyper::header::{HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_KEY};
use hyper::{Request, StatusCode};
use wormhole_http::handshake;

use crate::host::ProxyHeader;
use crate::http::websocket::{self as frames, Decoder, Received};

/// The body of a fuzz target. It panics if it finds an error.
pub type Body = fn(&[u8]);

/// Every body with the name of its target and corpus.
pub const BODIES: &[(&str, Body)] =
    &[("server_headers", headers), ("server_json", json), ("server_websocket", websocket)];

/// The body of a request to the messaging service, as each of those that it could be.
pub fn json(bytes: &[u8]) {
    crate::messaging::decode_json(bytes);
}

/// The headers that this crate reads: those of the WebSocket handshake and those of a proxy. One header per line; lines
/// that are not headers are ignored.
pub fn headers(bytes: &[u8]) {
    let mut request = Request::new(());
    for line in bytes.split(|byte| *byte == b'\n').take(MAX_LINES) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            request.headers_mut().append(name, value);
        }
    }
    if let Ok(Some(accept)) = handshake::check(&request) {
        let keys = request.headers().get_all(SEC_WEBSOCKET_KEY).iter().count();
        assert_eq!(keys, 1, "an ambiguous handshake");
        assert_eq!(accept.into_response().status(), StatusCode::SWITCHING_PROTOCOLS);
    }
    for proxy in [ProxyHeader::XForwardedFor, ProxyHeader::XRealIp] {
        let address = proxy.address(request.headers());
        assert_eq!(
            proxy.address(&last_lines(request.headers())),
            address,
            "the address is not from the last line"
        );
    }
    assert_eq!(ProxyHeader::Off.address(request.headers()), None);
}

/// Only the last line of each header, as the nearest proxy has written it.
fn last_lines(headers: &HeaderMap) -> HeaderMap {
    let mut last = HeaderMap::new();
    // The lines of one header come one after the other, in the order of the request. `insert` replaces earlier ones.
    for (name, value) in headers {
        last.insert(name, value.clone());
    }
    last
}

/// Checks that frames are decoded to the same messages however the bytes are split, and that no message exceeds the
/// limit.
pub fn websocket(bytes: &[u8]) {
    let Some((piece, bytes)) = bytes.split_first() else { return };
    let piece = usize::from(*piece) + 1;
    let at_once = decode(bytes, bytes.len().max(1));
    assert_eq!(decode(bytes, piece), at_once);
    for received in &at_once.0 {
        match received {
            Received::Message(message) => assert!(message.len() <= LIMIT),
            Received::Ping(content) => {
                let mut out = Vec::new();
                frames::pong(&mut out, content);
                assert!(out.len() <= 127);
            }
            Received::Oversized(limit) => assert_eq!(*limit, LIMIT),
            Received::Close | Received::Skipped | Received::Pong => {}
        }
    }
}

/// Decodes all frames. Returns what was received, and whether decoding ended with an error.
fn decode(bytes: &[u8], piece: usize) -> (Vec<Received>, bool) {
    let mut decoder = Decoder::new(LIMIT);
    let mut all = Vec::new();
    for mut input in bytes.chunks(piece) {
        loop {
            match decoder.next(&mut input) {
                Ok(Some(received)) => all.push(received),
                Ok(None) => break,
                Err(_) => return (all, true),
            }
        }
    }
    (all, false)
}

/// Maximum length of a message, in bytes.
const LIMIT: usize = 200;

/// Maximum number of header lines, as in a request.
const MAX_LINES: usize = 64;
