//! JSON bodies: read with the tolerance that old clients need, written strictly.

use std::fmt;

use axum::extract::{FromRequest, Request};
use axum::response::IntoResponse;
use hyper::StatusCode;
use hyper::header::CONTENT_TYPE;
use serde::de::{DeserializeOwned, Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{ApiError, JSON, body};
use crate::messaging::base64;
use wormhole_http::Response;

/// A JSON body, in a request or in an answer. The content type of a request does not matter: old clients do not send it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Json<T>(pub(super) T);

/// The answer of most requests.
pub(super) type Answer<T> = Result<Json<T>, ApiError>;

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let body = body::read(request).await?;
        decode(&body).map(Self)
    }
}

/// Reads the body of a request.
///
/// # Errors
/// It is not a JSON object with the fields of `T`.
pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    // Without this check, an array of the values of an object would be the same as the object.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(ApiError::bad_json("expected a JSON object"));
    }
    // The text names the line, the column and the field; it contains no values.
    serde_json::from_slice(body).map_err(|error| ApiError::bad_json(describe(&error)))
}

/// Where the body is wrong, without its content.
fn describe(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Data => "a field is missing or has a wrong type",
        serde_json::error::Category::Eof => "the JSON ends too early",
        serde_json::error::Category::Io | serde_json::error::Category::Syntax => "invalid JSON",
    };
    format!("{what}, line {} column {}", error.line(), error.column())
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => ([(CONTENT_TYPE, JSON)], body).into_response(),
            Err(error) => {
                tracing::error!(%error, "an answer cannot be written as JSON");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}

/// The answer of requests that return nothing.
#[derive(Clone, Copy, Debug, Default, Serialize, utoipa::ToSchema)]
pub(super) struct Nothing {}

/// A number that some clients send as text, also in hexadecimal (`"0xFFFFFF"`, as clients of 2014 do).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Number(pub(super) u64);

impl Number {
    /// The number, if it fits.
    pub(super) fn to_u32(self) -> Option<u32> {
        u32::try_from(self.0).ok()
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberVisitor;

        impl Visitor<'_> for NumberVisitor {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Number, E> {
                Ok(Number(number))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Number, E> {
                // JavaScript writes 1e3 for some whole numbers.
                let text = format!("{number:.0}");
                match text.parse() {
                    Ok(whole) if number.fract() == 0.0 => Ok(Number(whole)),
                    _ => Err(E::custom("not a whole number")),
                }
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Number, E> {
                let text = text.trim();
                let digits =
                    |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit());
                let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
                    Some(hex) if digits(hex) => u64::from_str_radix(hex, 16),
                    None if digits(text) => text.parse(),
                    _ => return Err(E::custom("not a number")),
                };
                parsed.map(Number).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(NumberVisitor)
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

/// Bytes in base64: read in either alphabet and with or without padding, written without.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Base64(pub(super) Vec<u8>);

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl Visitor<'_> for TextVisitor {
            type Value = Base64;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text in base64")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Base64, E> {
                base64::decode(text).map(Base64).ok_or_else(|| E::custom("not base64"))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&base64::encode_key(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(json: &str) -> Option<u64> {
        serde_json::from_str(json).ok().map(|Number(number)| number)
    }

    #[test]
    fn numbers_may_be_text() {
        assert_eq!(number("16777215"), Some(16_777_215));
        assert_eq!(number("\"16777215\""), Some(16_777_215));
        assert_eq!(number("\"0xFFFFFF\""), Some(16_777_215));
        assert_eq!(number("1e3"), Some(1000));
        assert_eq!(number("18446744073709551615"), Some(u64::MAX));
        for bad in
            ["-1", "1.5", "\"\"", "\"-1\"", "\"0x\"", "\"1 2\"", "\"+5\"", "null", "1e30", "\"ff\""]
        {
            assert_eq!(number(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_error_does_not_repeat_the_body() {
        let error = serde_json::from_str::<Number>("\"+14155550123\"").unwrap_err();
        assert!(!describe(&error).contains("1415"), "{}", describe(&error));
    }
}
