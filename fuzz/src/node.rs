//! What the fuzz targets of the node do with their bytes.
//!
//! `crates/node/tests/corpus.rs` includes this file. What the node decodes itself is not for
//! others to call, so it is included, too: it needs little else of it.

use wormhole_whisper::shh::Topic;

#[path = "../../crates/node/src/rpc/arguments.rs"]
mod arguments;
#[path = "../../crates/node/src/rpc/envelope.rs"]
mod envelope;
#[path = "../../crates/node/src/rpc/frames.rs"]
mod frames;
#[path = "../../crates/node/src/remote/message.rs"]
mod message;
#[path = "../../crates/node/src/rpc/requests.rs"]
mod requests;

use arguments::{Arguments, only};
use envelope::{Id, Message, Request, RpcError};
use frames::Frames;
use message::RemoteMessage;
use requests::{Criteria, NewMessage};

/// What a target does with its bytes. Panics are findings.
pub type Body = fn(&[u8]);

/// Every body with the name of its target and corpus.
pub const BODIES: &[(&str, Body)] = &[
    ("node_ipc_frames", node_ipc_frames),
    ("node_remote_message", node_remote_message),
    ("node_rpc_envelope", node_rpc_envelope),
];

/// What clients say on the Unix socket, in any pieces: the same values come out, none too long, and
/// each is one by itself.
pub fn node_ipc_frames(bytes: &[u8]) {
    let Some((piece, bytes)) = bytes.split_first() else { return };
    let whole = split(bytes, bytes.len().max(1));
    assert_eq!(split(bytes, usize::from(*piece) + 1), whole);
    for value in whole.into_iter().flatten() {
        assert!(value.len() <= LIMIT && matches!(value.first(), Some(b'{' | b'[')));
        assert_eq!(split(&value, value.len()), Some(vec![value]));
    }
}

/// All values of a stream, unless it has something else in it.
fn split(bytes: &[u8], piece: usize) -> Option<Vec<Vec<u8>>> {
    let mut frames = Frames::new(LIMIT);
    let mut all = Vec::new();
    for piece in bytes.chunks(piece) {
        all.extend(frames.push(piece).ok()?);
    }
    Some(all)
}

/// A message as a node has opened it: what is taken is what was written.
pub fn node_remote_message(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes) else { return };
    let Ok(message) = RemoteMessage::from_json(&value) else { return };
    assert!(message.payload.len() < bytes.len());
    let written = |name: &str| value.get(name).and_then(|value| value.as_str());
    assert!(written("hash").is_some_and(|hash| hash.eq_ignore_ascii_case(&message.hash)));
    assert_eq!(written("topic").map(Topic::parse), Some(message.topic));
    assert_eq!(message.signer.is_some(), written("sig").is_some_and(|sig| sig.len() > 2));
    assert!(!format!("{message:?}").contains('\n'));
}

/// What clients of JSON-RPC send: only JSON is taken, and every request has one answer, with its own
/// id as it was written.
pub fn node_rpc_envelope(bytes: &[u8]) {
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok();
    let requests = match Message::read(bytes, MOST) {
        Err(error) => return check(&envelope::response(Id::NULL, Err(&error)), "null"),
        Ok(Message::Batch(requests)) => requests,
        Ok(Message::Single(request)) => vec![request],
    };
    assert!(is_json && (1..=MOST).contains(&requests.len()));
    for request in requests {
        let (id, method) = match request {
            Request::Call(id, method) => (id, method),
            Request::Invalid(id) => {
                let answer = envelope::response(id, Err(&RpcError::invalid_request()));
                check(&answer, &written(&answer));
                continue;
            }
            Request::Notification(method) => (Id::NULL, method),
        };
        let answer = envelope::response(id, Ok(method.params.unwrap_or("null")));
        let id_text = written(&answer);
        let is_repeated = bytes.windows(id_text.len()).any(|piece| piece == id_text.as_bytes());
        assert!(id == Id::NULL || is_repeated);
        check(&answer, &id_text);
        // Whatever they are, they are read or refused.
        let _either = Arguments::parse(method.params, 2).is_ok();
        let _either = only::<NewMessage>(method.params).is_ok();
        let _either = only::<Criteria>(method.params).is_ok();
        check(&envelope::response(id, Err(&RpcError::new(1, method.name))), &id_text);
    }
}

/// The id of an answer, as it is written there.
fn written(answer: &str) -> String {
    let answer: Answer<'_> = serde_json::from_str(answer).expect("an answer is JSON");
    answer.id.get().to_owned()
}

/// Checks that an answer is one, for this id.
fn check(answer: &str, id: &str) {
    let read: Answer<'_> = serde_json::from_str(answer).expect("an answer is JSON");
    assert_eq!(read.id.get(), id);
    assert!(read.jsonrpc == "2.0" && read.result.is_some() != read.error.is_some());
}

/// An answer as a client reads it.
#[derive(serde::Deserialize)]
struct Answer<'a> {
    jsonrpc: &'a str,
    #[serde(borrow)]
    id: &'a serde_json::value::RawValue,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a serde_json::value::RawValue>,
    #[serde(borrow)]
    error: Option<&'a serde_json::value::RawValue>,
}

/// Something that is there even if it is `null`.
fn present<'de, D: serde::Deserializer<'de>>(
    value: D,
) -> Result<Option<&'de serde_json::value::RawValue>, D::Error> {
    serde::Deserialize::deserialize(value).map(Some)
}

/// Stands for the error of the same name, which is the node's.
#[derive(Debug, Eq, PartialEq)]
enum RemoteError {
    Malformed,
}

/// Stands for the node's.
fn hex(bytes: &[u8]) -> String {
    format!("0x{}", data_encoding::HEXLOWER.encode(bytes))
}

/// Most requests of a batch.
const MOST: usize = 4;

/// Longest value taken, in bytes.
const LIMIT: usize = 200;
