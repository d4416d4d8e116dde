//! The JSON of messages, and the checks of its values.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wormhole_chat::{DeviceId, Envelope, EnvelopeKind, MAX_MESSAGE, Timestamp};

use super::ApiError;
use super::json::{Base64, Number};
use crate::messaging::base64;
use crate::messaging::store::{LeftOut, NewMessage};

/// A message to all devices of an account.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Submitted {
    messages: Vec<SubmittedMessage>,
    /// Milliseconds since 1970. From clients of 2014, each message has its own.
    #[schema(value_type = Option<u64>)]
    timestamp: Option<Number>,
    /// Whether only devices that are connected get the message.
    #[serde(default)]
    pub(super) online: bool,
    /// Whether devices without a message are left out on purpose. Otherwise the list must be complete.
    #[serde(default)]
    pub(super) partial: bool,
    /// Devices that are left out on purpose: those that the recipient has not signed.
    #[serde(default)]
    left_out: Option<LeftOutJson>,
    /// Whether the message may wake a device.
    #[serde(default = "yes")]
    pub(super) urgent: bool,
    /// Whether the sender wants answers: then messages of the recipient are no requests any more. False for what no person
    /// has written.
    #[serde(default = "yes")]
    pub(super) accept: bool,
    /// The server that the recipient uses. Only our own is supported.
    relay: Option<String>,
}

/// Devices that are not in the newest list of their account.
#[derive(Clone, Debug, Deserialize, ToSchema)]
struct LeftOutJson {
    /// The revision of this list. If the account has another one, the message must go to all devices.
    #[schema(value_type = u64)]
    revision: Number,
    #[schema(value_type = Vec<u32>)]
    devices: Vec<Number>,
}

/// A message to one device.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct SubmittedMessage {
    /// 1: a ratchet message, 3: the first of a session, 8: a report that a message could not be decrypted. With an access key,
    /// 6: a sealed message, and nothing else.
    #[serde(rename = "type")]
    #[schema(value_type = u32)]
    kind: Number,
    #[serde(default = "primary")]
    #[schema(value_type = u32)]
    destination_device_id: Number,
    /// Compared with the device's own, if it is not 0.
    #[schema(value_type = Option<u32>)]
    destination_registration_id: Option<Number>,
    /// Of clients of 2014: an encrypted data message.
    #[schema(value_type = Option<String>)]
    body: Option<Base64>,
    /// Encrypted content.
    #[schema(value_type = Option<String>)]
    content: Option<Base64>,
    #[schema(value_type = Option<u64>)]
    timestamp: Option<Number>,
}

/// The message is stored.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SentJson {
    /// Whether the sender has other devices, which should get a copy.
    pub(super) needs_sync: bool,
}

/// The devices of a message are not those of the account.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct MismatchedDevices {
    pub(super) missing_devices: Vec<u8>,
    pub(super) extra_devices: Vec<u8>,
}

/// Devices that were registered again.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct StaleDevices {
    pub(super) stale_devices: Vec<u8>,
}

/// The oldest messages of a queue.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Queue {
    pub(super) messages: Vec<QueuedMessage>,
    /// Whether the queue has more.
    pub(super) more: bool,
}

/// A message in a queue.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct QueuedMessage {
    guid: Option<String>,
    #[serde(rename = "type")]
    kind: u32,
    timestamp: u64,
    source: Option<String>,
    source_uuid: Option<String>,
    source_device: Option<u8>,
    /// The sender's app.
    source_app: Option<String>,
    /// Of clients of 2014: an encrypted data message.
    message: Option<String>,
    /// Encrypted content.
    content: Option<String>,
    server_timestamp: Option<u64>,
    /// Needed to report the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    report_spam_token: Option<String>,
}

impl Submitted {
    /// Whether the recipient is said to use another server.
    pub(super) fn names_relay(&self) -> bool {
        self.relay.as_ref().is_some_and(|relay| !relay.is_empty())
    }

    /// The time of the whole message, or else that of its first part.
    pub(super) fn timestamp(&self) -> Result<Timestamp, ApiError> {
        let of_parts = || self.messages.iter().find_map(|message| message.timestamp);
        let timestamp = self.timestamp.or_else(of_parts);
        let Number(timestamp) =
            timestamp.ok_or_else(|| ApiError::invalid("the timestamp is missing"))?;
        check_timestamp(timestamp)
    }

    /// The devices that are left out. No device has another number.
    pub(super) fn left_out(&self) -> Option<LeftOut> {
        let LeftOutJson { revision: Number(revision), devices } = self.left_out.as_ref()?;
        let numbers = devices.iter().filter_map(|number| number.to_u32());
        let devices = numbers.filter_map(DeviceId::new).collect();
        Some(LeftOut { revision: i64::try_from(*revision).ok()?, devices })
    }

    /// The parts, once each is checked. With an access key, all are sealed, and with credentials none.
    pub(super) fn messages(&self, are_sealed: bool) -> Result<Vec<NewMessage>, ApiError> {
        if self.messages.is_empty() || self.messages.len() > MAX_PARTS {
            return Err(ApiError::invalid("expected 1 to 1000 messages"));
        }
        self.messages.iter().map(|message| message.check(are_sealed)).collect()
    }
}

impl SubmittedMessage {
    fn check(&self, is_sealed: bool) -> Result<NewMessage, ApiError> {
        let kind = self.kind.to_u32().map(EnvelopeKind::from_number);
        let kind = kind.filter(|kind| is_sent_by_clients(*kind, is_sealed));
        let device = self.destination_device_id.to_u32().and_then(DeviceId::new);
        let registration_id = self.destination_registration_id.unwrap_or_default().to_u32();
        let present = |part: &Option<Base64>| {
            part.as_ref()
                .filter(|Base64(bytes)| !bytes.is_empty())
                .map(|Base64(bytes)| bytes.clone())
        };
        let (body, content) = (present(&self.body), present(&self.content));
        if body.is_none() && content.is_none() {
            return Err(ApiError::invalid("a message has neither content nor body"));
        }
        // Both together, because readers limit the envelope that contains them.
        if self.bytes() > MAX_MESSAGE {
            return Err(ApiError::invalid("a message is longer than 256 KiB"));
        }
        let invalid = |what| ApiError::invalid(what);
        Ok(NewMessage {
            kind: kind.ok_or_else(|| invalid("clients do not send messages of this type"))?,
            device: device.ok_or_else(|| invalid("a device is not between 1 and 127"))?,
            registration_id: registration_id
                .map(|id| Some(id).filter(|id| *id > 0))
                .ok_or_else(|| invalid("a registration id is too large"))?,
            body,
            content,
        })
    }

    fn bytes(&self) -> usize {
        let parts = [&self.body, &self.content];
        parts.into_iter().flatten().map(|Base64(bytes)| bytes.len()).sum()
    }
}

/// A time that can be stored: databases have signed numbers.
pub(super) fn check_timestamp(timestamp: u64) -> Result<Timestamp, ApiError> {
    let is_allowed = i64::try_from(timestamp).is_ok() && timestamp > 0;
    is_allowed.then_some(Timestamp(timestamp)).ok_or_else(|| ApiError::invalid("bad timestamp"))
}

/// Whether clients may send messages of this kind. Receipts come from the server, and plaintext is never delivered.
const fn is_sent_by_clients(kind: EnvelopeKind, is_sealed: bool) -> bool {
    match kind {
        EnvelopeKind::Ciphertext
        | EnvelopeKind::KeyExchange
        | EnvelopeKind::PlaintextContent
        | EnvelopeKind::PreKeyBundle
        | EnvelopeKind::SenderKey => !is_sealed,
        EnvelopeKind::UnidentifiedSender => is_sealed,
        EnvelopeKind::Plaintext | EnvelopeKind::Receipt | EnvelopeKind::Unknown(_) => false,
    }
}

impl From<Envelope> for QueuedMessage {
    fn from(envelope: Envelope) -> Self {
        let encode = |bytes: Vec<u8>| base64::encode(&bytes);
        let encode_key = |bytes: Vec<u8>| base64::encode_key(&bytes);
        Self {
            guid: envelope.guid,
            kind: envelope.kind.number(),
            timestamp: envelope.timestamp.0,
            source: envelope.source,
            source_uuid: envelope.source_account.map(|account| account.to_string()),
            source_device: envelope.source_device.map(DeviceId::number),
            source_app: envelope.source_app,
            message: envelope.body.map(encode),
            content: envelope.content.map(encode),
            server_timestamp: envelope.server_timestamp.map(|time| time.0),
            report_spam_token: envelope.report_token.map(encode_key),
        }
    }
}

const fn yes() -> bool {
    true
}

/// Clients of one device omit its number.
const fn primary() -> Number {
    Number(1)
}

/// Maximum number of parts of a message: more than an account has devices, so that a wrong list gets 409.
const MAX_PARTS: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Submitted {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn messages_of_clients_of_2014_have_text_for_numbers_and_a_timestamp_each() {
        let old = read(
            r#"{"messages":[{"type":"1","destinationDeviceId":"1","destinationRegistrationId":"5",
                "body":"AAAA","timestamp":"1600000000000"}]}"#,
        );
        assert_eq!(old.timestamp(), Ok(Timestamp(1_600_000_000_000)));
        let [message] = old.messages(false).unwrap().try_into().unwrap();
        assert_eq!((message.registration_id, message.body), (Some(5), Some(vec![0; 3])));
        assert!(old.urgent && !old.online);
    }

    #[test]
    fn an_empty_content_is_absent_and_the_list_has_the_timestamp() {
        let go = read(
            r#"{"messages":[{"type":3,"destinationDeviceId":1,"destinationRegistrationId":0,"body":"AAAA",
                "content":"","timestamp":2}],"timestamp":1}"#,
        );
        assert_eq!(go.timestamp(), Ok(Timestamp(1)));
        let [message] = go.messages(false).unwrap().try_into().unwrap();
        assert_eq!((message.registration_id, message.content), (None, None));
    }

    #[test]
    fn what_clients_do_not_send_is_refused() {
        let bad = [
            r#"{"messages":[],"timestamp":1}"#,
            r#"{"messages":[{"type":5,"content":"AAAA"}],"timestamp":1}"#,
            r#"{"messages":[{"type":1,"content":""}],"timestamp":1}"#,
            r#"{"messages":[{"type":1,"content":"AAAA","destinationDeviceId":128}],"timestamp":1}"#,
            r#"{"messages":[{"type":1,"content":"AAAA","destinationRegistrationId":4294967296}],"timestamp":1}"#,
        ];
        for json in bad {
            assert!(read(json).messages(false).is_err(), "{json}");
        }
        assert!(
            read(r#"{"messages":[{"type":1,"content":"AAAA"}],"timestamp":0}"#)
                .timestamp()
                .is_err()
        );
        assert!(read(r#"{"messages":[{"type":1,"content":"AAAA"}]}"#).timestamp().is_err());
    }
}
