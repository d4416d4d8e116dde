//! Bounds what the server repeats of a client's own message.
//!
//! An `ack` repeats the `id`, a `pong` the `ping`, an `error` the whole message. Without a bound a
//! client makes the server hold megabytes by sending them once and not reading the answer. Short
//! values come back exactly as they came. A longer string is cut to its first [`CUT`] characters,
//! and any other longer value becomes `null`.

use std::borrow::Cow;

use serde_json::value::{RawValue, to_raw_value};

use super::frame::Frame;

/// Longest JSON text of an `id` that is repeated in full, in bytes. Python's have 6.
pub const MAX_ID: usize = 128;

/// Longest JSON text of a `ping` or of a refused message that is repeated in full, in bytes.
pub const MAX_ECHO: usize = 1024;

/// The value, or its beginning if its JSON text is longer than `limit` bytes.
pub(super) fn value(value: &RawValue, limit: usize) -> Cow<'_, RawValue> {
    if value.get().len() <= limit {
        return Cow::Borrowed(value);
    }
    let Ok(text) = serde_json::from_str::<Cow<'_, str>>(value.get()) else {
        return Cow::Borrowed(RawValue::NULL);
    };
    let end = text.char_indices().nth(CUT).map_or(text.len(), |(at, _)| at);
    let beginning = to_raw_value(text.get(..end).unwrap_or_default());
    beginning.map_or(Cow::Borrowed(RawValue::NULL), Cow::Owned)
}

/// The whole message, or the keys that the protocol knows, each shortened, if it is long.
///
/// Some clients read `orig` as one of their own messages and need its keys, whatever they hold.
pub(super) fn message<'a>(frame: &Frame<'a>) -> Cow<'a, RawValue> {
    if frame.whole.get().len() <= MAX_ECHO {
        return Cow::Borrowed(frame.whole);
    }
    let known = frame.fields().map(|(key, field)| (key, value(field, MAX_ID)));
    let known: std::collections::BTreeMap<&str, Cow<'_, RawValue>> = known.collect();
    to_raw_value(&known).map_or(Cow::Borrowed(RawValue::NULL), Cow::Owned)
}

/// Characters that are left of a long string. An even number, so that hex stays hex.
const CUT: usize = 64;
