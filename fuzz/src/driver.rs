//! What the fuzz targets of the driver do with their bytes.
//!
//! `crates/driver/tests/corpus.rs` includes this file. What the driver decodes itself is not for
//! others to call, so it is included, too: it needs little else of it.

use wormhole_whisper::shh::Topic;

#[path = "../../crates/driver/src/whisper/rpc/frames.rs"]
mod frames;
#[path = "../../crates/driver/src/whisper/remote/message.rs"]
mod message;

use frames::Frames;
use message::RemoteMessage;

/// What a target does with its bytes. Panics are findings.
pub type Body = fn(&[u8]);

/// Every body with the name of its target and corpus.
pub const BODIES: &[(&str, Body)] =
    &[("driver_ipc_frames", driver_ipc_frames), ("driver_remote_message", driver_remote_message)];

/// What clients say on the Unix socket, in any pieces: the same values come out, none too long, and
/// each is one by itself.
pub fn driver_ipc_frames(bytes: &[u8]) {
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
pub fn driver_remote_message(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes) else { return };
    let Ok(message) = RemoteMessage::from_json(&value) else { return };
    assert!(message.payload.len() < bytes.len());
    let written = |name: &str| value.get(name).and_then(|value| value.as_str());
    assert!(written("hash").is_some_and(|hash| hash.eq_ignore_ascii_case(&message.hash)));
    assert_eq!(written("topic").map(Topic::parse), Some(message.topic));
    assert_eq!(message.signer.is_some(), written("sig").is_some_and(|sig| sig.len() > 2));
    assert!(!format!("{message:?}").contains('\n'));
}

/// Stands for the error of the same name, which is the driver's.
#[derive(Debug, Eq, PartialEq)]
enum RemoteError {
    Malformed,
}

/// Stands for the driver's.
fn hex(bytes: &[u8]) -> String {
    format!("0x{}", data_encoding::HEXLOWER.encode(bytes))
}

/// Longest value taken, in bytes.
const LIMIT: usize = 200;
