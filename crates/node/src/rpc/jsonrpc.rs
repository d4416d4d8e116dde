//! JSON-RPC 2.0 requests and responses (jsonrpc.org/specification).
//!
//! This module does not know methods or their arguments. It repeats an id exactly as it was written,
//! so that a client recognises any number, whatever its size or form.

use std::borrow::Cow;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A message of a client.
#[derive(Debug)]
pub(crate) enum Message<'a> {
    /// Several requests with one response. There is at least one.
    Batch(Vec<Request<'a>>),
    /// One request.
    Single(Request<'a>),
}

/// One request, valid or not.
#[derive(Debug)]
pub(crate) enum Request<'a> {
    /// A call that expects a response.
    Call(Id<'a>, Method<'a>),
    /// JSON that is not a valid request. The error response has this id.
    Invalid(Id<'a>),
    /// A call that expects no response.
    Notification(Method<'a>),
}

/// A method and its arguments.
#[derive(Debug)]
pub(crate) struct Method<'a> {
    pub(crate) name: Cow<'a, str>,
    /// The arguments as JSON text.
    pub(crate) params: Option<&'a str>,
}

/// The id of a call: the JSON text of a number, a string or null.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Id<'a>(&'a str);

impl<'a> Id<'a> {
    /// The id of a response to a request whose id is unknown.
    pub(crate) const NULL: Self = Self("null");

    /// Accepts the JSON text of a number, a string or null.
    fn new(json: &'a str) -> Option<Self> {
        let is_id = |first: &u8| matches!(first, b'"' | b'-' | b'0'..=b'9' | b'n');
        json.as_bytes().first().is_some_and(is_id).then_some(Self(json))
    }
}

/// An error response.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct RpcError {
    /// The error code of JSON-RPC.
    pub(crate) code: i32,
    /// The text for people.
    pub(crate) message: String,
}

impl RpcError {
    /// An error with this code.
    pub(crate) fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The error for JSON that is not a valid request.
    pub(crate) fn invalid_request() -> Self {
        Self::new(INVALID_REQUEST, "invalid request")
    }
}

impl<'a> Message<'a> {
    /// Reads a message of a client. A batch may have up to `most` requests.
    ///
    /// # Errors
    /// The message is not JSON, or the batch is empty or too long. The id of the response is null.
    pub(crate) fn read(bytes: &'a [u8], most: usize) -> Result<Self, RpcError> {
        let bad_json = |_| RpcError::new(PARSE_ERROR, "parse error");
        let text: &RawValue = serde_json::from_slice(bytes).map_err(bad_json)?;
        if !text.get().starts_with('[') {
            return Ok(Self::Single(Request::read(text.get())));
        }
        let Elements { first, count } = elements(text.get(), most).map_err(bad_json)?;
        if count == 0 {
            return Err(RpcError::new(INVALID_REQUEST, "empty batch"));
        }
        if count > most {
            let text = format!("batch of more than {most} requests");
            return Err(RpcError::new(BATCH_TOO_LONG, text));
        }
        Ok(Self::Batch(first.into_iter().map(|request| Request::read(request.get())).collect()))
    }
}

impl<'a> Request<'a> {
    /// Reads one request from valid JSON.
    fn read(json: &'a str) -> Self {
        let Ok(Members { version, id, method, params }) = serde_json::from_str(json) else {
            return Self::Invalid(Id::NULL);
        };
        let id = match id.map(|id| Id::new(id.get())) {
            None => None,
            Some(Some(id)) => Some(id),
            // An object, an array, true or false: the specification allows none of them.
            Some(None) => return Self::Invalid(Id::NULL),
        };
        let name = method.and_then(|method| text(method.get()));
        let is_2_0 = version.and_then(|version| text(version.get())).is_some_and(|it| it == "2.0");
        let Some(name) = name.filter(|_| is_2_0) else {
            return Self::Invalid(id.unwrap_or(Id::NULL));
        };
        let method = Method { name, params: params.map(RawValue::get) };
        match id {
            Some(id) => Self::Call(id, method),
            None => Self::Notification(method),
        }
    }
}

/// Writes the response to a call: a result, as JSON text, or an error.
pub(crate) fn response(id: Id<'_>, outcome: Result<&str, &RpcError>) -> String {
    let Id(id) = id;
    match outcome {
        Ok(result) => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#),
        Err(RpcError { code, message }) => {
            // Writing a string as JSON cannot fail.
            let message = serde_json::to_string(message).unwrap_or_default();
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{message}}}}}"#
            )
        }
    }
}

/// Writes a notification to a subscriber. `params` is JSON text.
pub(crate) fn event(method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#)
}

/// Decodes a JSON string.
fn text(json: &str) -> Option<Cow<'_, str>> {
    struct Text;

    impl<'de> Visitor<'de> for Text {
        type Value = Cow<'de, str>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
            Ok(Cow::Borrowed(text))
        }

        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Cow::Owned(text.to_owned()))
        }
    }

    serde_json::Deserializer::from_str(json).deserialize_str(Text).ok()
}

/// The members of a request object. If a name occurs twice, the last one counts.
#[derive(Default)]
struct Members<'a> {
    version: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    method: Option<&'a RawValue>,
    params: Option<&'a RawValue>,
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Found;

        impl<'de> Visitor<'de> for Found {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Members::default();
                while let Some(name) = map.next_key::<Name>()? {
                    let place = match name {
                        Name::Id => &mut members.id,
                        Name::Jsonrpc => &mut members.version,
                        Name::Method => &mut members.method,
                        Name::Params => &mut members.params,
                        Name::Other => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    *place = Some(map.next_value()?);
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Found)
    }
}

/// The name of a member of a request object.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Name {
    Id,
    Jsonrpc,
    Method,
    Params,
    #[serde(other)]
    Other,
}

/// The first elements of an array, and how many elements it has.
struct Elements<'a> {
    first: Vec<&'a RawValue>,
    count: usize,
}

fn elements(json: &str, most: usize) -> serde_json::Result<Elements<'_>> {
    struct Kept(usize);

    impl<'de> Visitor<'de> for Kept {
        type Value = Elements<'de>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
            let Self(most) = self;
            let mut elements = Elements { first: Vec::new(), count: 0 };
            while elements.count < most
                && let Some(element) = array.next_element()?
            {
                elements.first.push(element);
                elements.count += 1;
            }
            while array.next_element::<IgnoredAny>()?.is_some() {
                elements.count += 1;
            }
            Ok(elements)
        }
    }

    serde_json::Deserializer::from_str(json).deserialize_seq(Kept(most))
}

/// The message is not JSON.
pub(crate) const PARSE_ERROR: i32 = -32700;

/// The message is JSON, but not a valid request.
pub(crate) const INVALID_REQUEST: i32 = -32600;

/// The method is unknown.
pub(crate) const METHOD_NOT_FOUND: i32 = -32601;

/// The arguments do not fit the method.
pub(crate) const INVALID_PARAMS: i32 = -32602;

/// The method failed.
pub(crate) const FAILED: i32 = -32000;

/// The responses to a batch are too large.
pub(crate) const RESPONSE_TOO_LARGE: i32 = -32003;

/// A batch has too many requests.
pub(crate) const BATCH_TOO_LONG: i32 = -32010;

#[cfg(test)]
mod tests;
