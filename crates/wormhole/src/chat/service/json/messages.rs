//! Messages, and answers that name the devices of a recipient.

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use wormhole_chat::{
    CiphertextKind, DeviceCiphertext, DeviceId, EnvelopeKind, LeftOut, Response, Timestamp,
};

/// The devices of a message are not those of the account.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
pub(in crate::chat::service) struct Mismatched {
    missing_devices: Vec<u32>,
    extra_devices: Vec<u32>,
}

impl From<Mismatched> for Response {
    fn from(devices: Mismatched) -> Self {
        let Mismatched { missing_devices, extra_devices } = devices;
        Self::Mismatched { missing: known(missing_devices), extra: known(extra_devices) }
    }
}

/// Devices that were registered again.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::chat::service) struct Stale {
    stale_devices: Vec<u32>,
}

impl From<Stale> for Response {
    fn from(Stale { stale_devices }: Stale) -> Self {
        Self::Stale(known(stale_devices))
    }
}

/// Without numbers that no device can have.
fn known(devices: Vec<u32>) -> Vec<DeviceId> {
    devices.into_iter().filter_map(DeviceId::new).collect()
}

/// A message to all devices of an account.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::chat::service) struct MessageJson {
    messages: Vec<PartJson>,
    timestamp: u64,
    online: bool,
    /// Whether the message is not for all devices of the account.
    #[serde(skip_serializing_if = "is_false")]
    partial: bool,
    /// Devices that get nothing on purpose, although the message is for all others.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<LeftOutJson>,
    /// `Some(false)`: the message does not mean that the user wants answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    accept: Option<bool>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PartJson {
    #[serde(rename = "type")]
    kind: u32,
    destination_device_id: u8,
    destination_registration_id: u32,
    content: String,
}

impl MessageJson {
    pub(in crate::chat::service) fn new(
        timestamp: Timestamp,
        messages: &[DeviceCiphertext],
        left_out: Option<&LeftOut>,
        online: bool,
        wants_answers: bool,
    ) -> Self {
        let part = |message: &DeviceCiphertext| PartJson {
            kind: match message.ciphertext.kind {
                CiphertextKind::Signal => 1,
                CiphertextKind::PreKey => 3,
            },
            destination_device_id: message.device.number(),
            destination_registration_id: message.registration_id,
            content: BASE64.encode(&message.ciphertext.bytes),
        };
        let messages = messages.iter().map(part).collect();
        let accept = (!wants_answers).then_some(false);
        let left_out = left_out.map(LeftOutJson::from);
        Self { messages, timestamp: timestamp.0, online, partial: false, left_out, accept }
    }

    /// A message for one device. An unknown registration id is 0.
    pub(in crate::chat::service) fn to_device(
        timestamp: Timestamp,
        message: &DeviceMessage,
    ) -> Self {
        let part = PartJson {
            kind: message.kind.number(),
            destination_device_id: message.device.number(),
            destination_registration_id: message.registration_id.unwrap_or_default(),
            content: BASE64.encode(&message.bytes),
        };
        // The user has not written it, at least not now.
        let accept = Some(false);
        let messages = vec![part];
        let (timestamp, left_out) = (timestamp.0, None);
        Self { messages, timestamp, online: false, partial: true, left_out, accept }
    }
}

/// A message for one device of an account, whose other devices get nothing.
#[derive(Clone, Debug)]
pub(crate) struct DeviceMessage {
    pub(crate) device: DeviceId,
    /// The registration id that we expect it to have, if we have a session with it.
    pub(crate) registration_id: Option<u32>,
    pub(crate) kind: EnvelopeKind,
    pub(crate) bytes: Vec<u8>,
}

/// A sealed message to all devices of an account.
#[derive(Debug, Serialize)]
pub(in crate::chat::service) struct SealedJson(MessageJson);

impl SealedJson {
    /// The parts are devices, their registration ids, and what they get.
    pub(in crate::chat::service) fn new(
        timestamp: Timestamp,
        parts: &[(DeviceId, u32, Vec<u8>)],
        left_out: Option<&LeftOut>,
        online: bool,
    ) -> Self {
        let part = |(device, registration_id, sealed): &(DeviceId, u32, Vec<u8>)| PartJson {
            kind: SEALED,
            destination_device_id: device.number(),
            destination_registration_id: *registration_id,
            content: BASE64.encode(sealed),
        };
        let messages = parts.iter().map(part).collect();
        let timestamp = timestamp.0;
        let left_out = left_out.map(LeftOutJson::from);
        Self(MessageJson { messages, timestamp, online, partial: false, left_out, accept: None })
    }
}

/// Devices that are not in the list with this revision.
#[derive(Debug, Serialize)]
struct LeftOutJson {
    revision: u64,
    devices: Vec<u8>,
}

impl From<&LeftOut> for LeftOutJson {
    fn from(left_out: &LeftOut) -> Self {
        let devices = left_out.devices.iter().map(|device| device.number()).collect();
        Self { revision: left_out.revision, devices }
    }
}

/// The kind of a sealed message.
const SEALED: u32 = 6;
