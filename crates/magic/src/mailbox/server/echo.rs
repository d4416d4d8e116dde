//! Limits how much of a client's message the server repeats.
//!
//! An `ack` repeats the `id`, a `pong` the `ping`, and an `error` the whole message. Without a limit, a client
//! could make the server buffer megabytes by sending them once and not reading the answer. Short values are
//! repeated exactly. A longer string is cut to its first [`CUT`] characters, and any other longer value becomes
//! `null`.

use std::borrow::Cow;

use serde_json::value::{RawValue, to_raw_value};

use super::frame::Frame;

/// Maximum JSON length of an `id` that is repeated in full, in bytes. Python's have 6.
pub const MAX_ID: usize = 128;

/// Maximum JSON length of a `ping` or rejected message that is repeated in full, in bytes.
pub const MAX_ECHO: usize = 1024;

/// The value, or its beginning if its JSON is longer than `limit` bytes.
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

/// The whole message; if it is long, only the known keys with shortened values.
///
/// Some clients parse `orig` as one of their own messages and need its keys.
pub(super) fn message<'a>(frame: &Frame<'a>) -> Cow<'a, RawValue> {
    if frame.whole.get().len() <= MAX_ECHO {
        return Cow::Borrowed(frame.whole);
    }
    let known = frame.fields().map(|(key, field)| (key, value(field, MAX_ID)));
    let known: std::collections::BTreeMap<&str, Cow<'_, RawValue>> = known.collect();
    to_raw_value(&known).map_or(Cow::Borrowed(RawValue::NULL), Cow::Owned)
}

/// Number of characters kept of a long string. Even, so that hex stays valid.
const CUT: usize = 64;
