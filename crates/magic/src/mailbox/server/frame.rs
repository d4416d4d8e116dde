//! Parses a client's frame.
//!
//! Values remain JSON text until a rule needs them, so that `id`, `ping` and the whole message can be returned
//! unchanged. As in the Python server, the last of duplicate keys counts.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::echo::{self, MAX_ID};
use super::fault::{Fault, MAX_NAME};

/// The keys of a client's message.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    /// The whole message.
    pub(super) whole: &'a RawValue,
    /// Any JSON.
    pub(super) id: Option<&'a RawValue>,
    /// Any JSON.
    pub(super) ping: Option<&'a RawValue>,
    pub(super) appid: Field<'a>,
    pub(super) body: Field<'a>,
    pub(super) mailbox: Field<'a>,
    pub(super) method: Field<'a>,
    pub(super) mood: Field<'a>,
    pub(super) nameplate: Field<'a>,
    pub(super) phase: Field<'a>,
    pub(super) side: Field<'a>,
    pub(super) stamp: Field<'a>,
    kind: Field<'a>,
    client_version: Option<&'a RawValue>,
}

/// A value that must be a string, if present.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Field<'a>(Option<&'a RawValue>);

impl Field<'_> {
    /// The string; `key` is its name in the error.
    pub(super) fn text(self, key: &'static str) -> Result<Option<String>, Fault> {
        let Some(value) = self.0 else { return Ok(None) };
        serde_json::from_str(value.get()).map(Some).map_err(|_| Fault::NotAString(key))
    }

    /// The string, if it is not longer than [`MAX_NAME`].
    pub(super) fn name(self, key: &'static str) -> Result<Option<String>, Fault> {
        let name = self.text(key)?;
        match &name {
            Some(name) if name.len() > MAX_NAME => Err(Fault::NameTooLong(key)),
            _ => Ok(name),
        }
    }

    /// The same, for a key that may also be null.
    pub(super) fn optional_name(self, key: &'static str) -> Result<Option<String>, Fault> {
        match self.0 {
            Some(value) if value.get() == "null" => Ok(None),
            _ => self.name(key),
        }
    }
}

impl<'a> Frame<'a> {
    /// Parses a frame.
    ///
    /// # Errors
    /// It is not a JSON object. Also returns the value for `orig` of the error.
    pub(super) fn parse(text: &'a str) -> Result<Self, (Fault, &'a RawValue)> {
        let whole: &RawValue =
            serde_json::from_str(text).map_err(|_| (Fault::NotJson, RawValue::NULL))?;
        let frame: Self =
            serde_json::from_str(whole.get()).map_err(|_| (Fault::NotAnObject, whole))?;
        Ok(Self { whole, ..frame })
    }

    /// The `id` to repeat; `null` if the request has no id.
    pub(super) fn short_id(&self) -> Cow<'a, RawValue> {
        echo::value(self.id.unwrap_or(RawValue::NULL), MAX_ID)
    }

    /// The `type`, if present; empty if it is not a string.
    pub(super) fn kind(&self) -> Option<String> {
        match self.kind.text("type") {
            Ok(kind) => kind,
            Err(_) => Some(String::new()),
        }
    }

    /// All known keys of the message, with their values.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&'static str, &'a RawValue)> {
        let all = [
            ("appid", self.appid.0),
            ("body", self.body.0),
            ("client_version", self.client_version),
            ("id", self.id),
            ("mailbox", self.mailbox.0),
            ("method", self.method.0),
            ("mood", self.mood.0),
            ("nameplate", self.nameplate.0),
            ("phase", self.phase.0),
            ("ping", self.ping),
            ("side", self.side.0),
            ("stamp", self.stamp.0),
            ("type", self.kind.0),
        ];
        all.into_iter().filter_map(|(key, value)| Some((key, value?)))
    }

    /// Name and version of the client's program, as far as they are valid.
    pub(super) fn client_version(&self) -> (Option<String>, Option<String>) {
        // A list of a million short entries would use many times the memory of its text.
        let short = self.client_version.filter(|value| value.get().len() <= MAX_VERSION);
        let list: Option<Vec<&RawValue>> =
            short.and_then(|value| serde_json::from_str(value.get()).ok());
        let list = list.unwrap_or_default();
        let word = |at: usize| Field(list.get(at).copied()).name("client_version").ok().flatten();
        (word(0), word(1))
    }

    const fn empty() -> Self {
        const NONE: Field<'_> = Field(None);
        Self {
            whole: RawValue::NULL,
            id: None,
            ping: None,
            appid: NONE,
            body: NONE,
            mailbox: NONE,
            method: NONE,
            mood: NONE,
            nameplate: NONE,
            phase: NONE,
            side: NONE,
            stamp: NONE,
            kind: NONE,
            client_version: None,
        }
    }
}

impl<'de> Deserialize<'de> for Frame<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FrameVisitor)
    }
}

struct FrameVisitor;

impl<'de> Visitor<'de> for FrameVisitor {
    type Value = Frame<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Frame<'de>, A::Error> {
        let mut frame = Frame::empty();
        while let Some(key) = map.next_key::<Key<'de>>()? {
            let value = Some(map.next_value::<&RawValue>()?);
            match &*key.0 {
                "appid" => frame.appid = Field(value),
                "body" => frame.body = Field(value),
                "client_version" => frame.client_version = value,
                "id" => frame.id = value,
                "mailbox" => frame.mailbox = Field(value),
                "method" => frame.method = Field(value),
                "mood" => frame.mood = Field(value),
                "nameplate" => frame.nameplate = Field(value),
                "phase" => frame.phase = Field(value),
                "ping" => frame.ping = value,
                "side" => frame.side = Field(value),
                "stamp" => frame.stamp = Field(value),
                "type" => frame.kind = Field(value),
                _ => {}
            }
        }
        Ok(frame)
    }
}

/// Maximum JSON length of `client_version` in bytes: enough for two names.
const MAX_VERSION: usize = 16 * MAX_NAME;

/// A key, copied only if it contains escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);
