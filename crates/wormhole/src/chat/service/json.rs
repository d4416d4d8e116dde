//! The JSON of requests and answers. (docs/chat-service.md "Requests")
//!
//! Unknown fields are ignored. Numbers out of range, malformed keys and malformed ids make an answer invalid.

mod forms;
mod keys;
mod lists;
mod messages;

use std::fmt;

use data_encoding::{BASE64, BASE64_NOPAD};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wormhole_chat::{AccessKey, AccountId, DeviceId};

use crate::chat::RequestError;
pub(crate) use forms::{Located, ResumableForm, UploadForm};
pub(crate) use keys::Resolved;
pub(super) use keys::{Bundles, KeysJson, PublishedKey};
pub(super) use lists::{NewList, OwnList};
pub(crate) use messages::DeviceMessage;
pub(super) use messages::{MessageJson, Mismatched, SealedJson, Stale};

/// The attributes of our device.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Attributes {
    pub(crate) registration_id: u32,
    pub(crate) fetches_messages: bool,
    /// Encrypted, in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// In base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unidentified_access_key: Option<String>,
}

impl Attributes {
    /// Those of a device that fetches its messages.
    pub(crate) const fn new(registration_id: u32) -> Self {
        let (name, unidentified_access_key) = (None, None);
        Self { registration_id, fetches_messages: true, name, unidentified_access_key }
    }

    /// Adds the key that permits sending to us without credentials.
    pub(crate) fn with_access(self, key: &AccessKey) -> Self {
        Self { unidentified_access_key: Some(BASE64.encode(key.expose())), ..self }
    }
}

/// Our account.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Registered {
    #[serde(deserialize_with = "parsed")]
    pub(crate) uuid: AccountId,
}

/// A device that was linked.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LinkedJson {
    #[serde(rename = "deviceId", deserialize_with = "device")]
    pub(crate) device: DeviceId,
    /// Servers of others leave it out.
    #[serde(default, deserialize_with = "parsed_option")]
    pub(crate) uuid: Option<AccountId>,
}

/// A code for another device.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeviceCode {
    pub(super) verification_code: String,
}

/// The devices of our account.
#[derive(Debug, Deserialize)]
pub(super) struct Devices {
    pub(super) devices: Vec<ListedDevice>,
}

/// A device of our account. Times are milliseconds since 1970.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListedDevice {
    #[serde(rename = "id", deserialize_with = "device")]
    pub(crate) device: DeviceId,
    /// Usually encrypted, in base64.
    #[serde(default)]
    pub(crate) name: Option<String>,
    #[serde(default)]
    pub(crate) created: u64,
    #[serde(default)]
    pub(crate) last_seen: u64,
}

/// A message for a device that waits to be linked.
#[derive(Debug, Serialize)]
pub(super) struct ProvisioningBody {
    pub(super) body: String,
}

/// The name of our device.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeviceName<'a> {
    pub(super) device_name: &'a str,
}

/// How many one-time prekeys the server has left.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct KeyCount {
    pub(crate) count: usize,
}

/// The server has done it. It says so with an object, whose fields do not matter.
pub(super) type Accepted = serde_json::Map<String, serde_json::Value>;

/// An error.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Failure {
    pub(super) error: String,
}

/// Bytes in base64: read with or without padding, written without.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Base64(Vec<u8>);

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl Visitor<'_> for TextVisitor {
            type Value = Base64;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text in base64")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Base64, E> {
                let digits = text.trim_end_matches('=');
                BASE64_NOPAD.decode(digits.as_bytes()).map(Base64).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_NOPAD.encode(&self.0))
    }
}

/// An account id.
fn parsed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<AccountId, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

fn parsed_option<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<AccountId>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse()).transpose().map_err(D::Error::custom)
}

fn device<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DeviceId, D::Error> {
    let number = u32::deserialize(deserializer)?;
    DeviceId::new(number).ok_or_else(|| D::Error::custom("not the number of a device"))
}

/// The body of a request.
pub(super) fn write<T: Serialize>(value: &T) -> Result<Vec<u8>, RequestError> {
    // Our types have only fields that JSON can represent.
    serde_json::to_vec(value).map_err(|_| RequestError::Internal)
}

#[cfg(test)]
mod tests;
