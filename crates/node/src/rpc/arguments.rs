//! Reads the arguments of a call. The errors are those of go-ethereum, because clients expect them.
//!
//! Methods decide what an argument means; this module knows only its format.

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
    /// Reads an array of at most `most` arguments, or no arguments at all.
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

    /// The argument at an index.
    pub(crate) fn at<T: Argument>(&self, index: usize) -> Result<T, RpcError> {
        let missing = || invalid(&format!("missing value for required argument {index}"));
        let value = self.0.get(index).ok_or_else(missing)?;
        T::read(value.get()).map_err(|fault| invalid(&format!("invalid argument {index}: {fault}")))
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

/// A type of arguments.
pub(crate) trait Argument: Sized {
    /// Reads it from JSON text.
    fn read(json: &str) -> Result<Self, Fault>;
}

/// Why a JSON text is not an argument of the expected type.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// It is JSON of another type, or out of range.
    Mismatch {
        /// The value that was found.
        found: Cow<'static, str>,
        /// The expected type, with its name in Go.
        wanted: &'static str,
        /// The field that contains it, if any.
        field: Option<String>,
    },
    /// It is a string, but not of the right format.
    Form(String),
}

impl Fault {
    /// JSON of another type than expected.
    pub(crate) fn mismatch(found: impl Into<Cow<'static, str>>, wanted: &'static str) -> Self {
        Self::Mismatch { found: found.into(), wanted, field: None }
    }

    /// Adds the name of the field of `parent`.
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

/// The type of a JSON text, with its name in Go.
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

/// Reads a JSON string.
fn text(json: &str) -> Option<Zeroizing<String>> {
    serde_json::from_str(json).ok().map(Zeroizing::new)
}

/// A string, perhaps a secret. `null` is the empty string.
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

/// Bytes: `0x` and hexadecimal digits. They may be a key, so they are wiped when dropped.
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

/// The digits after `0x`. An empty string has none and needs no prefix.
fn digits(text: &str) -> Result<&str, &'static str> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let digits = digits.or_else(|| text.is_empty().then_some(""));
    digits.ok_or("hex string without 0x prefix")
}

fn decode(digits: &str) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    let bytes = HEXLOWER_PERMISSIVE.decode(digits.as_bytes());
    bytes.map(Zeroizing::new).map_err(|_| "invalid hex string")
}

/// The fields of an object, in order.
#[derive(Debug, Default)]
pub(crate) struct Fields<'a> {
    parent: &'static str,
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Fields<'a> {
    /// Reads an object. `null` is an object without fields.
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

    /// The last field of this name that is not `null`, converted by `read`. Upper and lower case are equal,
    /// as in Go.
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

/// The entries of an object, in order, with unparsed values.
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

/// The elements of an array. `null` is an array without elements.
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
