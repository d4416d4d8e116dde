//! The arguments of a call, read and refused as go-ethereum does: clients know its words.
//!
//! What an argument means is the business of the method; here is only how it is written.

use std::borrow::Cow;
use std::fmt;

use data_encoding::HEXLOWER_PERMISSIVE;
use serde::Deserialize;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::jsonrpc::{INVALID_PARAMS, RpcError};

/// The positional arguments of one call.
#[derive(Debug)]
pub(crate) struct Arguments<'a>(Vec<&'a RawValue>);

impl<'a> Arguments<'a> {
    /// Takes the arguments apart: an array of at most `most`, or nothing at all.
    pub(crate) fn parse(params: Option<&'a str>, most: usize) -> Result<Self, RpcError> {
        let text = params.map_or("null", str::trim);
        if text == "null" {
            return Ok(Self(Vec::new()));
        }
        let values: Vec<&RawValue> =
            serde_json::from_str(text).map_err(|_| invalid("non-array args"))?;
        if values.len() > most {
            return Err(invalid(&format!("too many arguments, want at most {most}")));
        }
        Ok(Self(values))
    }

    /// The argument at a place, counted from 0.
    pub(crate) fn at<T: Argument>(&self, place: usize) -> Result<T, RpcError> {
        let missing = || invalid(&format!("missing value for required argument {place}"));
        let value = self.0.get(place).ok_or_else(missing)?;
        T::read(value.get()).map_err(|fault| invalid(&format!("invalid argument {place}: {fault}")))
    }
}

/// Reads the one argument of a call.
pub(crate) fn only<T: Argument>(params: Option<&str>) -> Result<T, RpcError> {
    Arguments::parse(params, 1)?.at(0)
}

/// Checks that a call has no arguments.
pub(crate) fn none(params: Option<&str>) -> Result<(), RpcError> {
    Arguments::parse(params, 0).map(drop)
}

fn invalid(text: &str) -> RpcError {
    RpcError::new(INVALID_PARAMS, text)
}

/// A type that arguments have.
pub(crate) trait Argument: Sized {
    /// Reads it from JSON text.
    fn read(json: &str) -> Result<Self, Fault>;
}

/// Why a text is not what was asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// It is JSON of another kind, or its text does not fit.
    Mismatch {
        /// What it is.
        found: Cow<'static, str>,
        /// The type that was asked for, in Go's words.
        wanted: &'static str,
        /// The field in which it stands, if it stands in one.
        field: Option<String>,
    },
    /// It is a text, but not of the right form.
    Form(String),
}

impl Fault {
    /// Something else than asked for.
    pub(crate) fn mismatch(found: impl Into<Cow<'static, str>>, wanted: &'static str) -> Self {
        Self::Mismatch { found: found.into(), wanted, field: None }
    }

    /// Says in which field of `parent` it was found.
    fn inside(mut self, parent: &str, name: &str) -> Self {
        if let Self::Mismatch { field, .. } = &mut self {
            *field = Some(format!("{parent}.{name}"));
        }
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mismatch { found, wanted, field: None } => {
                write!(f, "json: cannot unmarshal {found} into Go value of type {wanted}")
            }
            Self::Mismatch { found, wanted, field: Some(field) } => {
                write!(
                    f,
                    "json: cannot unmarshal {found} into Go struct field {field} of type {wanted}"
                )
            }
            Self::Form(text) => f.write_str(text),
        }
    }
}

/// What a JSON text is, in Go's words.
fn kind(json: &str) -> &'static str {
    match json.trim_start().as_bytes().first() {
        Some(b'"') => "string",
        Some(b'[') => "array",
        Some(b'{') => "object",
        Some(b't' | b'f') => "bool",
        Some(b'n') => "null",
        _ => "number",
    }
}

/// A text, or what else stands there.
fn text(json: &str) -> Option<Zeroizing<String>> {
    serde_json::from_str(json).ok().map(Zeroizing::new)
}

/// Text, perhaps a secret. `null` is the empty text.
impl Argument for Zeroizing<String> {
    fn read(json: &str) -> Result<Self, Fault> {
        match kind(json) {
            "null" => Ok(Self::default()),
            found => text(json).ok_or_else(|| Fault::mismatch(found, "string")),
        }
    }
}

impl Argument for bool {
    fn read(json: &str) -> Result<Self, Fault> {
        match json.trim() {
            "null" | "false" => Ok(false),
            "true" => Ok(true),
            _ => Err(Fault::mismatch(kind(json), "bool")),
        }
    }
}

/// A number in decimal digits, without fraction or exponent.
impl Argument for u32 {
    fn read(json: &str) -> Result<Self, Fault> {
        match kind(json) {
            "null" => Ok(0),
            "number" => {
                let digits = json.trim();
                digits.parse().map_err(|_| Fault::mismatch(format!("number {digits}"), "uint32"))
            }
            found => Err(Fault::mismatch(found, "uint32")),
        }
    }
}

impl Argument for f64 {
    fn read(json: &str) -> Result<Self, Fault> {
        match kind(json) {
            "null" => Ok(0.0),
            "number" => {
                let number = json.trim();
                let parsed = number.parse().ok().filter(|parsed: &Self| parsed.is_finite());
                parsed.ok_or_else(|| Fault::mismatch(format!("number {number}"), "float64"))
            }
            found => Err(Fault::mismatch(found, "float64")),
        }
    }
}

/// Bytes: `0x` and hexadecimal digits. They may be a key, and wipe themselves.
#[derive(Clone, Default)]
pub(crate) struct Hex(pub(crate) Zeroizing<Vec<u8>>);

impl Argument for Hex {
    fn read(json: &str) -> Result<Self, Fault> {
        let refused = |found: &'static str| Fault::mismatch(found, "hexutil.Bytes");
        let text = text(json).ok_or_else(|| refused("non-string"))?;
        let bytes = digits(&text).and_then(|digits| match digits.len() % 2 {
            0 => decode(digits),
            _ => Err("hex string of odd length"),
        });
        bytes.map(Self).map_err(refused)
    }
}

/// `N` bytes of a Go type.
pub(crate) fn fixed<const N: usize>(
    json: &str,
    name: &str,
    go_type: &'static str,
) -> Result<[u8; N], Fault> {
    let Some(text) = text(json) else { return Err(Fault::mismatch(kind(json), go_type)) };
    let form = |text: &str| Fault::Form(text.into());
    let digits = digits(&text).map_err(form)?;
    let (length, wanted) = (digits.len(), 2 * N);
    if length % 2 != 0 {
        return Err(form("hex string of odd length"));
    }
    if length != wanted {
        return Err(Fault::Form(format!(
            "hex string has length {length}, want {wanted} for {name}"
        )));
    }
    let bytes = decode(digits).map_err(form)?;
    bytes.as_slice().try_into().map_err(|_| form("invalid hex string"))
}

/// The digits behind `0x`; an empty text has none and needs no prefix.
fn digits(text: &str) -> Result<&str, &'static str> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let digits = digits.or_else(|| text.is_empty().then_some(""));
    digits.ok_or("hex string without 0x prefix")
}

fn decode(digits: &str) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    let bytes = HEXLOWER_PERMISSIVE.decode(digits.as_bytes());
    bytes.map(Zeroizing::new).map_err(|_| "invalid hex string")
}

/// The fields of an object, in the order in which they stand.
#[derive(Debug, Default)]
pub(crate) struct Fields<'a> {
    parent: &'static str,
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Fields<'a> {
    /// Takes an object apart; `null` is one without fields.
    pub(crate) fn read(
        json: &'a str,
        parent: &'static str,
        go_type: &'static str,
    ) -> Result<Self, Fault> {
        match kind(json) {
            "null" => Ok(Self { parent, fields: Vec::new() }),
            "object" => {
                let entries: Entries<'a> =
                    serde_json::from_str(json).map_err(|_| Fault::mismatch("object", go_type))?;
                Ok(Self { parent, fields: entries.0 })
            }
            found => Err(Fault::mismatch(found, go_type)),
        }
    }

    /// The last field of this name that is not `null`, as `read` understands it. Names are compared
    /// as Go does: without regard to case.
    pub(crate) fn find<T>(
        &self,
        name: &str,
        read: impl Fn(&str) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        let named = |(key, value): &&(Cow<'_, str>, &RawValue)| {
            key.eq_ignore_ascii_case(name) && value.get() != "null"
        };
        let found = self.fields.iter().rev().find(named);
        let read = |(_, value): &(Cow<'_, str>, &RawValue)| read(value.get());
        found.map(read).transpose().map_err(|fault| fault.inside(self.parent, name))
    }
}

/// The entries of an object, in order and unread.
struct Entries<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> serde::de::Visitor<'de> for EntriesVisitor {
    type Value = Entries<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}

/// Elements of an array, `null` being one without elements.
pub(crate) fn elements<T>(
    json: &str,
    go_type: &'static str,
    read: impl Fn(&str) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let mismatch = |_| Fault::mismatch(kind(json), go_type);
    let values: Vec<&RawValue> = serde_json::from_str(json).map_err(mismatch)?;
    values.into_iter().map(|value| read(value.get())).collect()
}

#[cfg(test)]
mod tests;
