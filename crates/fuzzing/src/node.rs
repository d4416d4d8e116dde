//! The fuzz targets of the Whisper node.
//!
//! The decoders are those of `wormhole_node::fuzzing`.

use wormhole_node::fuzzing::{Exchange, read_json_rpc, read_remote_message, split_json_stream};
use wormhole_node::shh::Topic;

use crate::Body;

/// Every body with the name of its target and of its corpus.
pub const BODIES: &[(&str, Body)] = &[
    ("node_ipc_frames", node_ipc_frames),
    ("node_remote_message", node_remote_message),
    ("node_rpc_envelope", node_rpc_envelope),
];

/// The bytes of clients on the Unix socket, in pieces of any size: the same values come out, none of them
/// too long, and each is a value by itself.
pub fn node_ipc_frames(bytes: &[u8]) {
    let Some((piece, bytes)) = bytes.split_first() else { return };
    let whole = split_json_stream(bytes, bytes.len().max(1), LIMIT);
    assert_eq!(split_json_stream(bytes, usize::from(*piece) + 1, LIMIT), whole);
    for value in whole.into_iter().flatten() {
        assert!(value.len() <= LIMIT && matches!(value.first(), Some(b'{' | b'[')));
        assert_eq!(split_json_stream(&value, value.len(), LIMIT), Some(vec![value]));
    }
}

/// A message that a node reports: what is read equals what was written.
pub fn node_remote_message(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes) else { return };
    let Some(message) = read_remote_message(&value) else { return };
    assert!(message.payload.len() < bytes.len());
    let written = |name: &str| value.get(name).and_then(|value| value.as_str());
    assert!(written("hash").is_some_and(|hash| hash.eq_ignore_ascii_case(&message.hash)));
    assert_eq!(written("topic").map(Topic::parse), Some(message.topic));
    assert_eq!(message.signer.is_some(), written("sig").is_some_and(|sig| sig.len() > 2));
    assert!(!format!("{message:?}").contains('\n'));
}

/// The bytes of clients of JSON-RPC: only JSON is accepted, and every request has one response, with its
/// own id as it was written.
pub fn node_rpc_envelope(bytes: &[u8]) {
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok();
    let exchanges = match read_json_rpc(bytes, MAX_BATCH) {
        Err(response) => return check(&response, "null"),
        Ok(exchanges) => exchanges,
    };
    assert!(is_json && (1..=MAX_BATCH).contains(&exchanges.len()));
    for Exchange { has_id, response, failure } in exchanges {
        let id = id(&response);
        let is_repeated = bytes.windows(id.len()).any(|piece| piece == id.as_bytes());
        assert!(!has_id || is_repeated);
        check(&response, &id);
        if let Some(failure) = failure {
            check(&failure, &id);
        }
    }
}

/// The id of a response, as it is written there.
fn id(response: &str) -> String {
    let response: Response<'_> = serde_json::from_str(response).expect("a response is JSON");
    response.id.get().to_owned()
}

/// Checks that a response is valid, and has this id.
fn check(response: &str, id: &str) {
    let read: Response<'_> = serde_json::from_str(response).expect("a response is JSON");
    assert_eq!(read.id.get(), id);
    assert!(read.jsonrpc == "2.0" && read.result.is_some() != read.error.is_some());
}

/// A response as a client reads it.
#[derive(serde::Deserialize)]
struct Response<'a> {
    jsonrpc: &'a str,
    #[serde(borrow)]
    id: &'a serde_json::value::RawValue,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a serde_json::value::RawValue>,
    #[serde(borrow)]
    error: Option<&'a serde_json::value::RawValue>,
}

/// Reads a member that exists, even if it is `null`.
fn present<'de, D: serde::Deserializer<'de>>(
    value: D,
) -> Result<Option<&'de serde_json::value::RawValue>, D::Error> {
    serde::Deserialize::deserialize(value).map(Some)
}

/// Maximum number of requests of a batch.
const MAX_BATCH: usize = 4;

/// Longest value, in bytes.
const LIMIT: usize = 200;
