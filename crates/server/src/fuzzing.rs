//! The decoders of what clients send, as the fuzz targets call them, with what must hold for every input.
//!
//! Not part of the interface of the library: only `fuzz/` (feature `fuzzing`) and the tests of this crate use it.

#![expect(clippy::expect_used, reason = "a panic is how a fuzz target reports a finding")]

use crate::http::Request;
use crate::http::websocket::{self as frames, Decoder, Received};

/// What a target does with its bytes. Panics are findings.
pub type Body = fn(&[u8]);

/// Every body with the name of its target and corpus.
pub const BODIES: &[(&str, Body)] = &[("server_request", request), ("server_websocket", websocket)];

/// The head of an HTTP request: the same whether or not more follows it.
pub fn request(bytes: &[u8]) {
    if let Ok(Some((request, length))) = Request::parse(bytes) {
        let head = bytes.get(..length).expect("a head is part of what came");
        assert_eq!(Request::parse(head), Ok(Some((request.clone(), length))));
        if let Some(key) = &request.websocket_key {
            assert!(request.is_get);
            assert!(frames::handshake(key, "Wormhole").ends_with("\r\n\r\n"));
        }
    }
}

/// A client's frames, in any pieces: the same messages come out, none over the limit.
pub fn websocket(bytes: &[u8]) {
    let Some((piece, bytes)) = bytes.split_first() else { return };
    let piece = usize::from(*piece) + 1;
    let whole = decode(bytes, bytes.len().max(1));
    assert_eq!(decode(bytes, piece), whole);
    for received in &whole.0 {
        match received {
            Received::Message(message) => assert!(message.len() <= LIMIT),
            Received::Ping(content) => {
                let mut out = Vec::new();
                frames::pong(&mut out, content);
                assert!(out.len() <= 127);
            }
            Received::Oversized(limit) => assert_eq!(*limit, LIMIT),
            Received::Close | Received::Dropped | Received::Pong => {}
        }
    }
}

/// Everything that came, and whether it ended as no WebSocket.
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

/// Longest message taken, in bytes.
const LIMIT: usize = 200;
